"""What Weights & Biases shows of a run besides its curves: tags to filter runs by, and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ltmed.runs.job import RunName


def tags(name: RunName) -> list[str]:
    """Data set, method and split: what runs are filtered by."""
    # W&B allows 64 characters, and a tag only once: a data set may have the name of a method.
    return list(dict.fromkeys(tag[:64] for tag in (name.dataset, name.method, name.split)))


def images(folder: Path) -> dict[str, Any]:
    """`figures/<name>` -> W&B image for each PNG in the folder; none if there is no such folder."""
    import wandb

    return {f"figures/{file.stem}": wandb.Image(str(file)) for file in sorted(folder.glob("*.png"))}
