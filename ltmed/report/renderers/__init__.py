"""A report's document, laid out for each place where it is read."""
