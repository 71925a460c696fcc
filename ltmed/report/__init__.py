"""Reports over runs and studies: one model, several renderings."""
