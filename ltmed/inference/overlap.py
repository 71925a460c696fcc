"""Which images of another data set a run was trained or chosen on: by content, and by appearance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ltmed.data.audit.contents import Contents, read_contents
from ltmed.data.audit.copies import find_copies
from ltmed.data.manifest import Manifest
from ltmed.errors import UserError
from ltmed.runs.dataset import open_dataset
from ltmed.runs.reader import Run
from ltmed.utils.progress import bar


@dataclass(frozen=True)
class Overlap:
    """Of n images, which have a copy in the training or validation part of a run."""

    equal: np.ndarray
    """bool `[n]`: the same file."""
    alike: np.ndarray
    """bool `[n]`: no equal file, but an image that looks the same (`ltmed.data.audit.copies`)."""
    unknown: str = ""
    """The reason if the run's own images could not be read; both arrays are then False throughout."""

    @property
    def any(self) -> np.ndarray:
        """Either of the two, bool `[n]`."""
        return self.equal | self.alike


def trained_on(run: Run, manifest: Manifest, rows: np.ndarray) -> Overlap:
    """Compares images with those that a run was trained on or chose its checkpoint with.

    Args:
        run: a finished run; its images must still be in their folder.
        manifest: of the other data set.
        rows: int64 `[n]` of the images in question.
    """
    none = np.zeros(len(rows), bool)
    try:
        data = open_dataset(run.config, run.path)
    except UserError as error:
        return Overlap(none, none, str(error).splitlines()[0])
    seen = np.sort(np.concatenate([data.split.train, data.split.val]))
    other_contents = _contents(manifest, rows, "comparing")
    own_contents = _contents(data.manifest, seen, "comparing with what the run was trained on:")
    if len(own_contents.bad) == len(seen):
        return Overlap(none, none, f"no image under {data.manifest.root} can be read")
    copies = find_copies(
        [*other_contents.digests, *own_contents.digests], np.concatenate([other_contents.looks, own_contents.looks])
    )
    indices = np.arange(len(rows))
    equal, alike = copies.partners(indices, np.arange(len(rows), len(rows) + len(seen)))
    return Overlap(equal, alike)


def _contents(manifest: Manifest, rows: np.ndarray, title: str) -> Contents:
    part = replace(
        manifest, images=tuple(manifest.images[row] for row in rows.tolist()), labels=manifest.labels[rows],
        groups=None, parts=None, folds=None, sources=None, attributes=None,
    )  # fmt: skip
    with bar(f"{title} {manifest.name}", len(part), None) as advance:
        return read_contents(part, advance=advance)
