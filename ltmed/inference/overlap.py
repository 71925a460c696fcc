"""Which images of another data set a run was trained or chosen on: by content, and by appearance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ltmed.data.audit.contents import Contents, read_contents
from ltmed.data.audit.copies import find_duplicates
from ltmed.data.manifest import Manifest
from ltmed.errors import UserError
from ltmed.inference.parts import own_config
from ltmed.runs.dataset import digest_of_all, open_dataset
from ltmed.runs.reader import Run
from ltmed.utils.progress import bar

if TYPE_CHECKING:
    from ltmed.data.datamodule import DataModule


@dataclass(frozen=True)
class Overlap:
    """Of n images, which have a copy in the training or validation part of a run."""

    equal: np.ndarray
    """bool `[n]`: the same file."""
    alike: np.ndarray
    """bool `[n]`: no equal file, but an image that looks the same (`ltmed.data.audit.copies`)."""
    unknown: str = ""
    """The reason if the run's own images could not all be read; copies of those that could not are then not found."""

    @property
    def any(self) -> np.ndarray:
        """Either of the two, bool `[n]`."""
        return self.equal | self.alike


def trained_on(run: Run, manifest: Manifest, rows: np.ndarray, overrides: Sequence[str] = ()) -> Overlap:
    """Compares images with those that a run was trained on or chose its checkpoint with.

    Args:
        run: a finished run; its images must still be in their folder.
        manifest: of the images in question.
        rows: int64 `[n]` of them.
        overrides: where the data of the manifest are, see `ltmed.inference.parts.own_config`; so are the run's, if
            it was trained on the same data set.

    Raises:
        UserError: the data set is the run's own, and its training images cannot be compared.
    """
    none, own = np.zeros(len(rows), bool), _is_own(run, manifest)
    try:
        data = _opened(run, [tuple(overrides), ()] if own else [()])
    except UserError as error:
        return _unknown(run, own, Overlap(none, none, error.message.splitlines()[0]))
    seen = np.sort(np.concatenate([data.split.train, data.split.val]))
    other_contents = _contents(manifest, rows, "comparing")
    own_contents = _contents(data.manifest, seen, "comparing with what the run was trained on:")
    copies = find_duplicates(
        [*other_contents.digests, *own_contents.digests],
        np.concatenate([other_contents.thumbnails, own_contents.thumbnails]),
    )
    indices = np.arange(len(rows))
    overlap = Overlap(*copies.partners(indices, np.arange(len(rows), len(rows) + len(seen))))
    # Images that were unreadable in training too are missing from the recorded number.
    number = sum(run.metrics["split"]["images"][part] for part in ("train", "val"))
    missing = number - (len(seen) - len(own_contents.bad))
    if missing > 0:
        reason = f"{missing:,} of the {number:,} images that it knows cannot be read under {data.manifest.root}"
        return _unknown(run, own, replace(overlap, unknown=reason))
    return overlap


def _is_own(run: Run, manifest: Manifest) -> bool:
    """Whether the manifest is the data set that the run was trained on, wherever it is now."""
    recorded = run.facts["split"].get("data")
    return run.metrics["run"]["dataset"] == manifest.name if recorded is None else recorded == digest_of_all(manifest)


def _opened(run: Run, places: Sequence[Sequence[str]]) -> DataModule:
    """The run's data set at the first place, given as overrides, that has it."""
    errors: list[UserError] = []
    for place in dict.fromkeys(places):
        try:
            return open_dataset(own_config(run, place), run.path)
        except UserError as error:
            errors.append(error)
    raise errors[0]


def _unknown(run: Run, own: bool, overlap: Overlap) -> Overlap:
    if own:
        raise UserError(
            f"It cannot be checked whether {run.path} was trained on these images of its own data set: "
            f"{overlap.unknown}",
            "Give dataset.root=DIR with all images that the run was trained on, or for other data of the same name "
            "dataset.name=NAME.",
        )
    return overlap


def _contents(manifest: Manifest, rows: np.ndarray, title: str) -> Contents:
    part = replace(
        manifest, images=tuple(manifest.images[row] for row in rows.tolist()), labels=manifest.labels[rows],
        groups=None, parts=None, folds=None, sources=None, attributes=None,
    )  # fmt: skip
    with bar(f"{title} {manifest.name}", len(part), None) as advance:
        return read_contents(part, advance=advance)
