"""Merges listed rows into distinct images, sorted by path, with their labels and metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ltmed.data.readers._rows import Rows
from ltmed.errors import UserError


@dataclass
class Listed:
    """N distinct images sorted by path; columns that no table has are empty."""

    images: list[str]
    labels: list[int]
    parts: list[str]
    folds: list[str]
    sources: list[str]
    ids: dict[str, list[str]]
    """Name of a column of ids -> the ids of the images."""
    attributes: dict[str, list[str]]
    """Attribute (age, sex, ...) -> its cells, of the first row that names each image."""
    further_ids: dict[str, list[tuple[int, str]]]
    """Name of a column of ids -> pairs (image, id) of repeated rows, which also connect images."""
    repeated: int
    """Number of rows that repeat an image."""
    rows: Rows
    first: list[int]
    """The row that names each image first."""

    def where(self, image: int) -> str:
        """`file, line n` of an image, for messages."""
        return self.rows.where(self.first[image])


def merge(rows: Rows, paths: Sequence[str | None], labels: Sequence[int], classes: Sequence[str]) -> Listed:
    """Sorts the rows by path; rows of one file are one image (one row per box, or per finding that it has).

    Args:
        rows: M rows.
        paths: of every row; None for one that is left out.
        labels: class number of every row.
        classes: names, for messages.

    Raises:
        UserError: rows of one image differ in label, part or fold; how many images have several labels.
    """
    order = sorted((path, row) for row, path in enumerate(paths) if path is not None)
    first: list[int] = []
    further: list[tuple[int, int]] = []
    """(image, row) of every row that names an image again."""
    before = None
    for path, row in order:
        if path != before:
            first.append(row)
        else:
            further.append((len(first) - 1, row))
        before = path
    _refuse_several_labels(rows, labels, classes, first, further)
    for name, cells in (("part", rows.parts), ("fold", rows.folds)):
        for image, row in further if cells else ():
            if cells[row] != cells[first[image]]:
                raise UserError(
                    f"{rows.where(row)}: '{rows.images[row][:120]}' has the {name} '{cells[row][:80]}' here and "
                    f"'{cells[first[image]][:80]}' before ({rows.where(first[image])})",
                    "Correct or remove one of the rows.",
                )

    def of_images(cells: Sequence[str]) -> list[str]:
        return [cells[row] for row in first] if cells else []

    return Listed(
        images=list(dict.fromkeys(path for path, _ in order)),
        labels=[labels[row] for row in first],
        parts=of_images(rows.parts),
        folds=of_images(rows.folds),
        sources=of_images(rows.sources),
        ids={name: of_images(cells) for name, cells in rows.ids.items()},
        attributes={name: of_images(cells) for name, cells in rows.attributes.items()},
        further_ids={name: [(image, cells[row]) for image, row in further] for name, cells in rows.ids.items()},
        repeated=len(further),
        rows=rows,
        first=first,
    )


def _refuse_several_labels(
    rows: Rows, labels: Sequence[int], classes: Sequence[str], first: Sequence[int], further: Sequence[tuple[int, int]]
) -> None:
    differing = [(image, row) for image, row in further if labels[row] != labels[first[image]]]
    if differing:
        image, row = differing[0]
        raise UserError(
            f"{rows.where(row)}: '{rows.images[row][:120]}' is {classes[labels[row]]} here and "
            f"{classes[labels[first[image]]]} before ({rows.where(first[image])}); "
            f"{len({image for image, _ in differing}):,} of {len(first):,} images have several labels",
            "One label per image is needed: correct or remove rows.",
        )
