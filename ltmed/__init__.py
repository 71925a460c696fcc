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
        run_dir: folder of a run.

    Returns:
        A module mapping normalised images `[B, 3, H, W]` to logits `[B, K]`.

    Raises:
        UserError: the folder has no finished run.
    """
    from ltmed.restore import load_network  # Torch and Lightning are imported only when they are needed.

    return load_network(Path(run_dir))
