"""Writes the phantom data set: plan of the images, and atomic creation of its folder."""

from __future__ import annotations

import csv
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np

from ltmed.data.phantom.recipes import RECIPES, draw_lesion
from ltmed.data.phantom.render import paint, photograph
from ltmed.data.threads import usable_cores
from ltmed.errors import UserError
from ltmed.utils.files import locked
from ltmed.utils.progress import bar
from ltmed.utils.seeding import derive

T = TypeVar("T")
MANIFEST = "manifest.csv"
COLUMNS = ("image", "label", "lesion", "part")
CODES = tuple(RECIPES)
COUNTS: Mapping[str, tuple[int, ...]] = {
    "train": tuple(round(1500 * 100 ** (-index / (len(CODES) - 1))) for index in range(len(CODES))),
    "val": (24,) * len(CODES),
    "test": (60,) * len(CODES),
}
"""Part -> images of every class: a training part with imbalance 100, balanced validation and test parts."""
VIEWS = (0.35, 0.30, 0.20, 0.15)
"""Probabilities of 1, 2, 3 or 4 images per lesion."""
_SET = "phantom-v1"


class Case(NamedTuple):
    """A lesion and its number of images."""

    part: str
    code: str
    number: int
    """Of the lesion, within its class and part."""
    views: int

    @property
    def lesion(self) -> str:
        """Its id."""
        return f"{self.code}-{self.part}-{self.number:04d}"

    def image(self, view: int) -> str:
        """File of one of its images, relative to the data set's folder."""
        return f"{self.part}/{self.code}/{self.lesion}-{view}.png"


def cases(counts: Mapping[str, tuple[int, ...]] = COUNTS) -> Iterator[Case]:
    """All lesions, in a fixed order. Those of a smaller set are the first of each class and part of a larger one.

    Args:
        counts: part -> number of images of every class, in the order of `CODES`.
    """
    for part, numbers in counts.items():
        for code, remaining in zip(CODES, numbers, strict=True):
            number, rng = 0, np.random.default_rng(derive(_SET, part, code))
            while remaining > 0:
                views = min(1 + int(rng.choice(len(VIEWS), p=VIEWS)), remaining)
                yield Case(part, code, number, views)
                number, remaining = number + 1, remaining - views


def draw(case: Case) -> list[np.ndarray]:
    """The images of a lesion, each uint8 `[S, S, 3]` RGB; a function of `case` alone."""
    key = (_SET, case.part, case.code, case.number)
    lesion = draw_lesion(case.code, case.number, np.random.default_rng(derive(*key, "lesion")))
    painted = paint(lesion)
    seeds = (derive(*key, "view", view) for view in range(case.views))
    return [photograph(painted, lesion.skin, np.random.default_rng(seed)) for seed in seeds]


def write_phantom(folder: Path, *, counts: Mapping[str, tuple[int, ...]] = COUNTS, threads: int | None = None) -> None:
    """Makes the data set in `folder` unless it is there (`make_once`): PNG files, and `manifest.csv` that lists them.

    Args:
        folder: where; its parents are made too.
        counts: part -> number of images of every class, in the order of `CODES`.
        threads: drawing threads; None takes one per core that this process may use. The images do not depend on it.

    Raises:
        UserError: `folder` holds something else, or cannot be written.
    """

    def make(partial: Path) -> None:
        for part in counts:
            for code in CODES:
                (partial / part / code).mkdir(parents=True)
        planned = list(cases(counts))

        def images(case: Case) -> Iterator[tuple[str, np.ndarray]]:
            yield from ((case.image(view), pixels) for view, pixels in enumerate(draw(case)))

        draw_files(planned, images, partial, "phantom", threads)
        rows = ((case.image(view), case.code, case.lesion, case.part) for case in planned for view in range(case.views))
        write_manifest(partial, COLUMNS, rows)

    make_once(folder, "phantom", make)


def make_once(folder: Path, name: str, make: Callable[[Path], None]) -> None:
    """Creates a data set in `folder` unless it exists.

    All files are written to a temporary folder beside `folder`, which is renamed at the end, so that a killed process
    leaves no incomplete data set. Of several processes, one creates it and the others wait.

    Args:
        folder: where; its parents are made too.
        name: of the data set, for messages.
        make: writes it into an existing empty folder, with a `MANIFEST`.

    Raises:
        UserError: `folder` holds something else, or cannot be written.
    """
    folder = folder.absolute()
    if (folder / MANIFEST).is_file():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f".{folder.name}.lock")) as is_sole_owner:
            for leftover in (
                folder.parent.glob(f".{folder.name}.*.partial") if is_sole_owner else ()
            ):  # From killed processes.
                shutil.rmtree(leftover, ignore_errors=True)
            if not (folder / MANIFEST).is_file():
                _make_new(folder, make)
    except OSError as error:
        raise UserError(
            f"the data set {name} cannot be made in {folder}: {error.strerror or error}",
            "Set dataset.root (or cache_dir) to a folder that can be written.",
        ) from error


def _make_new(folder: Path, make: Callable[[Path], None]) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder} is in use for something else: it has no {MANIFEST}",
            "Set dataset.root to a new folder, or remove that one to have the data set made there.",
        )
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.mkdir(parents=True)
        make(partial)
        try:
            partial.rename(folder)
        except OSError:
            # Where files cannot be locked, another process may have been first; its images are the same.
            if not (folder / MANIFEST).is_file():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def draw_files(
    planned: Sequence[T],
    draw: Callable[[T], Iterable[tuple[str, np.ndarray]]],
    folder: Path,
    name: str,
    threads: int | None,
) -> None:
    """Draws all images and stores them as PNG.

    Args:
        planned: what there is to draw.
        draw: path relative to `folder` and pixels, uint8 `[S, S, 3]` RGB or `[S, S]`, of the images of one of them.
        folder: where; the folders in it are there.
        name: of the data set, for the progress bar.
        threads: None takes one per core that this process may use.
    """

    def write(one: T) -> None:
        for path, pixels in draw(one):
            stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
            (folder / path).write_bytes(cv2.imencode(".png", stored)[1].tobytes())

    with ThreadPoolExecutor(threads or usable_cores()) as pool, bar(f"drawing {name}", len(planned)) as advance:
        for _ in pool.map(write, planned):
            advance(1)


def write_manifest(folder: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes the table that lists the images."""
    with (folder / MANIFEST).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
