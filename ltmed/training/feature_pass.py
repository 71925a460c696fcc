"""A pass over all training images with frozen weights, for class means, covariances and the like."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ltmed.data.batch import Batch
from ltmed.training.stage import Stage


def over_training_part(stage: Stage) -> Iterator[Batch]:
    """Yields this rank's unpadded shard of the training images as evaluation sees them, normalised, on the device.

    While it runs, the whole stage is in evaluation mode and no graph is built; afterwards every module has the mode
    that it had before. The shards of all ranks together hold each image once; sum or gather the results.
    """
    modes = {module: module.training for module in stage.modules()}
    stage.eval()
    strategy, data = stage.trainer.strategy, stage.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
    try:
        with torch.no_grad(), strategy.precision_plugin.forward_context():
            for batch in data.training_part_loader():
                yield strategy.batch_to_device(batch)
    finally:
        for module, training in modes.items():
            module.training = training
