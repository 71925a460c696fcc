"""Makes the phantom data set: which images there are, and a folder of them that is either whole or absent."""

from __future__ import annotations

import csv
import shutil
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ltmed.data.phantom.recipes import RECIPES, draw_lesion
from ltmed.data.phantom.render import paint, photograph
from ltmed.data.threads import usable_cores
from ltmed.errors import UserError
from ltmed.utils.files import locked
from ltmed.utils.progress import bar
from ltmed.utils.seeding import derive

MANIFEST = "manifest.csv"
COLUMNS = ("image", "label", "lesion", "part")
CODES = tuple(RECIPES)
COUNTS: Mapping[str, tuple[int, ...]] = {
    "train": tuple(round(1500 * 100 ** (-index / (len(CODES) - 1))) for index in range(len(CODES))),
    "val": (24,) * len(CODES),
    "test": (60,) * len(CODES),
}
"""Part -> images of every class: a long tail with imbalance 100 to learn from, balanced parts to measure on."""
VIEWS = (0.35, 0.30, 0.20, 0.15)
"""Chances that a lesion has 1, 2, 3 or 4 images."""
_SET = "phantom-v1"


class Case(NamedTuple):
    """A lesion and how many images it has."""

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
        for code, wanted in zip(CODES, numbers, strict=True):
            number, rng = 0, np.random.default_rng(derive(_SET, part, code))
            while wanted > 0:
                views = min(1 + int(rng.choice(len(VIEWS), p=VIEWS)), wanted)
                yield Case(part, code, number, views)
                number, wanted = number + 1, wanted - views


def draw(case: Case) -> list[np.ndarray]:
    """The images of a lesion, each uint8 `[S, S, 3]` RGB; a function of `case` alone."""
    place = (_SET, case.part, case.code, case.number)
    lesion = draw_lesion(case.code, case.number, np.random.default_rng(derive(*place, "lesion")))
    painted = paint(lesion)
    seeds = (derive(*place, "view", view) for view in range(case.views))
    return [photograph(painted, lesion.skin, np.random.default_rng(seed)) for seed in seeds]


def write_phantom(folder: Path, *, counts: Mapping[str, tuple[int, ...]] = COUNTS, threads: int | None = None) -> None:
    """Makes the data set in `folder` unless it is there: PNG files, and `manifest.csv` that lists them.

    Everything is written to a temporary folder beside `folder`, which is renamed at the end: whoever is killed
    in the middle leaves nothing that could be taken for a data set. Of several processes one makes it and the
    others wait.

    Args:
        folder: where; its parents are made too.
        counts: part -> number of images of every class, in the order of `CODES`.
        threads: drawing threads; None takes one per core that this process may use. The images do not depend on it.

    Raises:
        UserError: `folder` holds something else, or cannot be written.
    """
    folder = folder.absolute()
    if (folder / MANIFEST).is_file():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f".{folder.name}.lock")) as alone:
            for left in folder.parent.glob(f".{folder.name}.*.partial") if alone else ():  # By killed processes.
                shutil.rmtree(left, ignore_errors=True)
            if not (folder / MANIFEST).is_file():
                _write_new(folder, counts, threads or usable_cores())
    except OSError as error:
        raise UserError(
            f"the data set phantom cannot be made in {folder}: {error.strerror or error}",
            "Set dataset.root (or cache_dir) to a folder that can be written.",
        ) from error


def _write_new(folder: Path, counts: Mapping[str, tuple[int, ...]], threads: int) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder} is in use for something else: it has no {MANIFEST}",
            "Set dataset.root to a new folder, or remove that one to have the data set made there.",
        )
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    try:
        for part in counts:
            for code in CODES:
                (partial / part / code).mkdir(parents=True)
        planned = list(cases(counts))

        def write_images(case: Case) -> None:
            for view, pixels in enumerate(draw(case)):
                _, encoded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
                (partial / case.image(view)).write_bytes(encoded.tobytes())

        with ThreadPoolExecutor(threads) as pool, bar("drawing phantom", len(planned)) as advance:
            for _ in pool.map(write_images, planned):
                advance(1)
        with (partial / MANIFEST).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for case in planned:
                writer.writerows((case.image(view), case.code, case.lesion, case.part) for view in range(case.views))
        try:
            partial.rename(folder)
        except OSError:
            # Where files cannot be locked, another process may have been first; its images are the same.
            if not (folder / MANIFEST).is_file():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
