"""What Weights & Biases shows of a run besides its curves: tags that runs are found by, and pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def tags(config: Mapping[str, Any], dataset: str, method: str) -> list[str]:
    """Data set, method and split: what runs are filtered by.

    Args:
        config: the resolved config of the run.
        dataset: its data set's name.
        method: its method's name.
    """
    split = str(config.get("split", {}).get("_target_", "")).rpartition(".")[2]
    # Short of W&B's limit of 64 letters, and each once: a data set may be called like a method.
    return list(dict.fromkeys(tag[:64] for tag in (dataset, method, split) if tag))


def row_name(run_dir: Path, method: str) -> str:
    """What the repetitions of a run (its other folds and seeds) have in common: its method, and its settings.

    Args:
        run_dir: the run's folder; one that the user named is a row of its own, since its name says no settings.
        method: its method's name.
    """
    derived = re.fullmatch(r"fold-?\d+-seed-?\d+", run_dir.name) and run_dir.parent.parent.name == method
    settings = run_dir.parent.name if derived else run_dir.name
    return method if settings == "default" else f"{method} ({settings})"


def images(folder: Path) -> dict[str, Any]:
    """`figures/<name>` -> W&B image for each PNG in the folder; none if there is no such folder."""
    import wandb

    return {f"figures/{file.stem}": wandb.Image(str(file)) for file in sorted(folder.glob("*.png"))}
