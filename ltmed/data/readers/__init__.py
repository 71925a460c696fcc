"""Readers of the data sets, one file each, and common code for label tables and folders (files with `_`)."""
