"""Refuses a data set's folder that does not exist, before anything is imported that takes seconds to import."""

from __future__ import annotations

import difflib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ltmed.config.paths import choices
from ltmed.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def require_root(dataset: DictConfig) -> None:
    """Makes sure that `dataset.root` is a folder, if it is set.

    What has to be in the folder is checked by the data set's reader, and so is a root that is not set. A data set whose
    yaml has a root of its own (the phantom, which is made there) need not have one yet.

    Args:
        dataset: that node of the composed configuration.

    Raises:
        UserError: it is empty or a number, or does not exist (names the nearest existing folder and similar names in
            it), or cannot be read (says why).
    """
    root = dataset.get("root")
    if isinstance(root, int | float):  # Hydra reads 2026 as a number.
        raise UserError(f"dataset.root={root} is a number", f"Write ./{root} for a folder of that name.")
    if not isinstance(root, str) or not _needs_root(dataset.get("_target_")):
        return
    if not root.strip():  # It would be the folder that the command runs in.
        raise UserError("dataset.root is empty (an unset variable of the shell?)", "Name the folder of the data set.")
    path = Path(os.path.expanduser(root))
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            with os.scandir(path):
                return
    except (FileNotFoundError, NotADirectoryError, ValueError):
        pass  # It does not exist: see below.
    except OSError as error:
        raise UserError(
            f"dataset.root={root} cannot be read: {error.strerror or error}",
            "It needs permission to be read, and the folders above it permission to be entered.",
        ) from None
    if path.exists():
        raise UserError(f"dataset.root={root} is not a folder", "Name the folder that holds the data set.")
    path = path.absolute()
    above = next(parent for parent in path.parents if parent.is_dir())
    missing, *below = path.relative_to(above).parts
    try:
        names = sorted(entry.name for entry in above.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        names = []
    close = difflib.get_close_matches(missing, names, n=3, cutoff=0.5)
    suggestions = [above.joinpath(name, *below) for name in close]
    suggestions = [folder for folder in suggestions if folder.is_dir()] or [above / name for name in close]
    hint = f"Did you mean {' or '.join(map(str, suggestions))}?" if close else f"{above} exists."
    raise UserError(
        f"dataset.root={root} does not exist",
        f"{hint} What a data set's folder has to hold: `ltmed check dataset=NAME`.",
    )


def _needs_root(target: str | None) -> bool:
    """Whether the yaml of a data set leaves its root to the user."""
    for file in choices("dataset").values():
        text = file.read_text(encoding="utf-8")
        if re.search(rf"^_target_: *{re.escape(str(target))}\s*$", text, re.MULTILINE):
            return re.search(r"^root: *null\b", text, re.MULTILINE) is not None
    return False
