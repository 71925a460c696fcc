"""Batches of augmented images, or of features, from the cache."""
