"""ltmed: long-tailed medical image classification with PyTorch Lightning and Hydra."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ltmed.config.paths import experiments

if TYPE_CHECKING:
    from ltmed.nn.network import Network

# Hydra's search path (conf/config.yaml) names it, in submitted jobs too.
os.environ.setdefault("LTMED_EXPERIMENTS", str(experiments()))


def load(run_dir: str | Path, *, trust: bool = False) -> Network:
    """Returns the trained network of a finished run, in evaluation mode on the CPU.

    It is rebuilt from the run's config and reads its weights with `weights_only=True`: no pickled code is run.

    Args:
        run_dir: folder of a run, in which `~` is the home folder.
        trust: also builds classes that are not part of ltmed, which runs code that the run's author has chosen.

    Returns:
        A module mapping normalised images `[B, 3, H, W]` to logits `[B, K]`.

    Raises:
        UserError: the folder has no finished run, or a file of it is missing or damaged.
        UntrustedTargetError: the run names a class that is not part of ltmed, and `trust` is False.
    """
    from ltmed.config.targets import trusted
    from ltmed.inference.restore import finished_run, load_network  # Imported only when they are needed.

    with trusted(trust):
        return load_network(finished_run(run_dir))
