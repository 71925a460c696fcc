"""What Weights & Biases shows of a run besides its curves: tags that runs are found by, and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ltmed.runs.job import RunName


def tags(name: RunName) -> list[str]:
    """Data set, method and split: what runs are filtered by."""
    # Short of W&B's limit of 64 letters, and each once: a data set may be called like a method.
    return list(dict.fromkeys(tag[:64] for tag in (name.dataset, name.method, name.split)))


def images(folder: Path) -> dict[str, Any]:
    """`figures/<name>` -> W&B image for each PNG in the folder; none if there is no such folder."""
    import wandb

    return {f"figures/{file.stem}": wandb.Image(str(file)) for file in sorted(folder.glob("*.png"))}
