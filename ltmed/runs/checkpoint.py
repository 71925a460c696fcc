"""Checkpoints on disk: written whole or not at all, read without running code, and the newest one to resume from."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltmed.errors import UserError
from ltmed.utils.files import replacing

LAST, BEST = "last.ckpt", "best.ckpt"
_READ_AGAIN = "Copy the run again, or delete its folder and run its command again."
_DAMAGE = (
    OSError, RuntimeError, EOFError, ValueError, TypeError, LookupError, AttributeError, pickle.UnpicklingError,
    zipfile.BadZipFile,
)  # fmt: skip
"""Raised by torch and zipfile for a file that `write` did not write."""


class DamagedCheckpointError(UserError):
    """A checkpoint is truncated, empty or something else.

    Args:
        file: the checkpoint.
        hint: what to do about it.
    """

    def __init__(self, file: Path, hint: str = _READ_AGAIN) -> None:
        self.file = file
        super().__init__(f"{file} is damaged", hint)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.file, self.hint)


def write(file: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint to a temporary file beside it, waits until it is on disk, and renames it.

    Until the rename the previous file stays as it was, so that a kill or a full disk at any moment leaves one whole
    checkpoint. Nothing goes through another file system: a rename across two would be a copy, which can be torn.

    Args:
        file: of the checkpoint; its folder is made if needed.
        state: what `torch.save` takes.

    Raises:
        OSError: it cannot be written; `filename` is `file`.
    """
    import torch

    # torch.save into a file hides the reason of a failed write; into memory it cannot fail that way.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as partial, partial.open("wb") as opened:
        opened.write(buffer.getbuffer())


def read(file: Path, hint: str = _READ_AGAIN) -> dict[str, Any]:
    """Reads a checkpoint after comparing its checksums; its tensors are mapped. No pickled code is run.

    Args:
        file: a file that exists.
        hint: what the user shall do if the file is damaged.

    Raises:
        DamagedCheckpointError: it is truncated, empty or no checkpoint.
        UserError: it may not be read.
    """
    import torch

    try:
        with zipfile.ZipFile(
            file
        ) as archive:  # torch does not compare checksums: zeros in place of weights would load.
            if archive.testzip() is not None:
                raise zipfile.BadZipFile
        saved = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        saved["state_dict"].keys()
    except PermissionError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}", "Change its permissions.") from error
    except _DAMAGE as error:
        raise DamagedCheckpointError(file, hint) from error
    return saved


@dataclass(frozen=True)
class ResumePoint:
    """Where the training of a stage continues."""

    file: Path | None = None
    """The checkpoint; None starts the stage from the beginning."""
    epochs: int = 0
    """Whole epochs that the checkpoint has seen."""
    callbacks: dict[str, Any] = field(default_factory=dict)
    """States of Lightning's callbacks in the checkpoint, by their `state_key`."""


def resume_point(folder: Path) -> ResumePoint:
    """The newest usable checkpoint of a stage: `last.ckpt`, or `best.ckpt` if that one is damaged.

    Both hold the whole state of training at the end of an epoch, so resuming from an older one repeats epochs and ends
    with the same weights.

    Args:
        folder: of the stage; need not exist.

    Raises:
        DamagedCheckpointError: there are checkpoints, and none can be used.
    """
    # Left by a process that was killed while it wrote. Only those of checkpoints, which no rank writes now: one that is
    # late here must not remove the file with which the first one marks the stage as finished.
    for partial in folder.glob(".*.ckpt.partial"):
        partial.unlink(missing_ok=True)
    damaged: list[Path] = []
    for name in (LAST, BEST):
        file = folder / name
        if not file.is_file():
            continue
        try:
            saved = read(file)
            point = ResumePoint(file, int(saved["epoch"]) + 1, saved.get("callbacks", {}))
        except (DamagedCheckpointError, LookupError, TypeError):
            damaged.append(file)
            continue
        if damaged:
            warnings.warn(
                f"{damaged[0]} is damaged: training continues from {name}, epoch {point.epochs}", stacklevel=2
            )
        return point
    if damaged:
        raise DamagedCheckpointError(
            damaged[0], f"No other checkpoint of this stage can be read. Delete {folder} to train the stage anew."
        )
    return ResumePoint()
