"""Callbacks of a stage: checkpoints, progress, records, averages of the weights, pruned trials."""
