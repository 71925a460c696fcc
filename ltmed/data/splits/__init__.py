"""Training, validation and test parts, and long-tailed versions of a data set."""
