"""A pass over all training images with frozen weights, for class means, covariances and the like."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ltmed.data.batch import Batch
from ltmed.stage import Stage


def over_training_part(stage: Stage) -> Iterator[Batch]:
    """Yields this rank's unpadded shard of the training images as evaluation sees them, normalised, on the device.

    While it runs, the whole stage is in evaluation mode and no graph is built; afterwards every module has the mode
    that it had before. The shards of all ranks together hold each image once; add up or gather what is found.
    """
    modes = {module: module.training for module in stage.modules()}
    stage.eval()
    try:
        with torch.no_grad(), stage.trainer.strategy.precision_plugin.forward_context():
            for batch in stage.trainer.datamodule.training_part_loader():  # pyright: ignore[reportAttributeAccessIssue]
                on_device = Batch(*(None if part is None else part.to(stage.device) for part in batch))
                yield stage.on_after_batch_transfer(on_device, 0)
    finally:
        for module, training in modes.items():
            module.training = training
