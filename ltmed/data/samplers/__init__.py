"""Samplers: the training images of each batch of an epoch."""
