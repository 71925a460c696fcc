"""Where the configuration files and the studies are: in the installed package, or at the top of a checkout."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def conf() -> Path:
    """The folder of Hydra's configuration files."""
    return _shipped("conf")


def experiments() -> Path:
    """The folder of studies: `$LTMED_EXPERIMENTS`, or the one that comes with the package."""
    return Path(os.environ.get("LTMED_EXPERIMENTS") or _shipped("experiments"))


def _shipped(name: str) -> Path:
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
