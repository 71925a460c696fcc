"""Which training images make up each batch of an epoch."""
