"""Checks of the content of a data set before training."""
