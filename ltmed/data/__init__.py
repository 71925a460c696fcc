"""From label files to batches: manifests, splits, samplers, the image cache, augmentation, loaders."""
