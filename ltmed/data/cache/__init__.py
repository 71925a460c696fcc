"""Caches of decoded images, and of the features of a frozen encoder."""
