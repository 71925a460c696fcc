"""The data sets, one file each, and what reading label tables and folders has in common (files with `_`)."""
