"""The weights that a run's encoder began with: a repeated command continues with no others.

The configuration holds only their name or file, whose content may change (a later epoch of pretraining, an upgraded
package). Checkpoints lack a frozen encoder, so that a resumed run would train its heads on two of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ltmed.errors import UserError
from ltmed.runs import facts

if TYPE_CHECKING:
    from torch import nn

_CHUNK = 1 << 20


def digests(backbone: DictConfig, encoder: nn.Module) -> dict[str, str | None] | None:
    """What run.json says of the initial weights.

    Args:
        backbone: settings of the encoder.
        encoder: with its initial weights.

    Returns:
        `encoder`, 16 hex digits that depend on every weight; `file`, those of the content of `backbone.weights`, or
        None without a file. None for an encoder that is trained from random weights: the seed determines them.
    """
    from ltmed.data.cache.features import digest
    from ltmed.nn.frozen import Frozen

    if not (isinstance(encoder, Frozen) or backbone.get("pretrained") or backbone.get("weights")):
        return None
    file = _file(backbone)
    return {
        "encoder": digest(encoder.model if isinstance(encoder, Frozen) else encoder),
        "file": file and content_of(file),
    }


def require_same(run_dir: Path, backbone: DictConfig, now: Mapping[str, Any] | None) -> None:
    """Checks that the run in the folder, if it recorded its initial weights, began with these; writes nothing.

    Args:
        run_dir: of a run, begun or not.
        backbone: settings of the encoder.
        now: `digests` of the encoder that was just built.

    Raises:
        UserError: it began with others.
    """
    begun = recorded(run_dir)
    if begun is None or now is None or begun["encoder"] == now["encoder"]:
        return
    # Weights that are resized for the image size may differ in the last bits on another machine.
    if begun["file"] is not None and begun["file"] == now["file"]:
        return
    file = _file(backbone)
    source = f"backbone.weights={file} now holds" if file else "the backbone now has"
    raise UserError(
        f"{run_dir} was begun with the weights {begun['encoder']}, but {source} {now['encoder']}",
        f"Restore the earlier {'file' if file else 'version of the weights'}, or choose another run_dir.",
    )


def is_file_changed(run_dir: Path, backbone: DictConfig) -> bool:
    """Whether `backbone.weights` is a file with another content than when the run in the folder began.

    This takes a second for a gigabyte, and no network. It says nothing of downloads and packages.
    """
    begun, file = recorded(run_dir), _file(backbone)
    return begun is not None and begun["file"] is not None and file is not None and begun["file"] != content_of(file)


def recorded(run_dir: Path) -> dict[str, Any] | None:
    """What the run in a folder recorded; None for random weights, an older run, or none."""
    return facts.read(run_dir).get("weights") if (run_dir / facts.RUN).exists() else None


def content_of(file: Path) -> str:
    """16 hex digits of the content of a file."""
    hasher = hashlib.blake2b(digest_size=8)
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def _file(backbone: DictConfig) -> Path | None:
    """The file of `backbone.weights`; None if it does not exist, or the setting of another encoder is no file."""
    weights = backbone.get("weights")
    file = Path(weights).expanduser() if isinstance(weights, str) else None
    return file if file is not None and file.is_file() else None
