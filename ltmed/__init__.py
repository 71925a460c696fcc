"""ltmed: long-tailed medical image classification with PyTorch Lightning and Hydra."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ltmed.nn.network import Network


def load(run_dir: str | Path) -> Network:
    """Returns the trained network of a finished run, in evaluation mode on the CPU.

    It is rebuilt from the run's config and reads its weights with `weights_only=True`: no pickled code is run.

    Args:
        run_dir: folder of a run, in which `~` is the home folder.

    Returns:
        A module mapping normalised images `[B, 3, H, W]` to logits `[B, K]`.

    Raises:
        UserError: the folder has no finished run, or a file of it is missing or damaged.
    """
    from ltmed.inference.restore import finished_run, load_network  # Imported only when they are needed.

    return load_network(finished_run(run_dir))
