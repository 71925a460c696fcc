"""Writes the multi-label phantom data set: plan of patients, images and labels, and files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ltmed.data.phantom.chest import FINDINGS, radiograph
from ltmed.data.phantom.write import draw_files, make_once, write_manifest
from ltmed.utils.seeding import derive

LABELS = tuple(FINDINGS)
IMAGES: Mapping[str, int] = {"train": 2100, "val": 300, "test": 600}


def _falling(first: float, last: float) -> tuple[int, ...]:
    steps = len(LABELS) - 1
    return tuple(round(first * (last / first) ** (place / steps)) for place in range(len(LABELS)))


POSITIVES: Mapping[str, tuple[int, ...]] = {
    "train": _falling(700, 7),
    "val": _falling(75, 12),
    "test": _falling(180, 30),
}
"""Part -> images that have each label: imbalance 100 for training; in the other parts enough of each for evaluation."""
VIEWS = (0.45, 0.30, 0.15, 0.10)
"""Probabilities of 1, 2, 3 or 4 images per patient."""
CO_OCCURRING = (
    ("infiltration", "consolidation"),
    ("effusion", "atelectasis"),
    ("effusion", "cardiomegaly"),
    ("cardiomegaly", "edema"),
    ("effusion", "edema"),
    ("nodule", "mass"),
    ("pneumothorax", "emphysema"),
    ("fibrosis", "thickening"),
    ("effusion", "thickening"),
)
"""Findings that occur together more often than by chance."""
_TOGETHER_TIMES, _AGAIN_TIMES = 4.0, 12.0
_SET = "phantom-multi-v1"


class Image(NamedTuple):
    """A radiograph and its findings."""

    part: str
    patient: int
    """Number within the part."""
    view: int
    findings: tuple[str, ...]

    @property
    def patient_id(self) -> str:
        """Unique over all parts."""
        return f"{self.part}-{self.patient:04d}"

    @property
    def path(self) -> str:
        """Relative to the data set's folder."""
        return f"{self.part}/{self.patient_id}-{self.view}.png"


def plan(images: Mapping[str, int] = IMAGES, positives: Mapping[str, tuple[int, ...]] = POSITIVES) -> list[Image]:
    """All images with their findings, in a fixed order.

    Labels are assigned from the most to the least common, each to exactly as many images as in `positives`, sampled one
    after another: the odds of an image rise by 4 for each co-occurring finding (`CO_OCCURRING`), and by 12 if
    another image of its patient has the label already.

    Args:
        images: part -> number of images.
        positives: part -> images that have each label, in the order of `LABELS`.
    """
    planned = []
    for part, number in images.items():
        rng = np.random.default_rng(derive(_SET, part))
        sizes: list[int] = []
        while sum(sizes) < number:
            sizes.append(min(1 + int(rng.choice(len(VIEWS), p=VIEWS)), number - sum(sizes)))
        patients = np.repeat(np.arange(len(sizes)), sizes)
        present = np.zeros((number, len(LABELS)), bool)
        for label, n_positives in enumerate(positives[part]):
            co_occurring = [LABELS.index(name) for pair in CO_OCCURRING if LABELS[label] in pair for name in pair]
            weights = _TOGETHER_TIMES ** present[:, [k for k in co_occurring if k != label]].sum(axis=1)
            for _ in range(n_positives):
                row = int(rng.choice(number, p=weights / weights.sum()))
                present[row, label] = True
                same = patients == patients[row]
                if present[same, label].sum() == 1:
                    weights[same] *= _AGAIN_TIMES
                weights[present[:, label]] = 0
        starts = np.cumsum(sizes) - sizes
        for row, patient in enumerate(patients.tolist()):
            findings = tuple(name for name, has in zip(LABELS, present[row].tolist(), strict=True) if has)
            planned.append(Image(part, patient, row - int(starts[patient]), findings))
    return planned


def draw(image: Image) -> np.ndarray:
    """The pixels, uint8 `[S, S]`; a function of `image` alone."""
    patient = derive(_SET, image.part, image.patient)
    return radiograph(image.findings, patient, derive(_SET, image.part, image.patient, "view", image.view))


def write_phantom_multi(
    folder: Path,
    *,
    images: Mapping[str, int] = IMAGES,
    positives: Mapping[str, tuple[int, ...]] = POSITIVES,
    threads: int | None = None,
) -> None:
    """Makes the data set in `folder` unless it is there: PNG files, and `manifest.csv` with a column for each label.

    Args:
        folder: where; its parents are made too.
        images: part -> number of images.
        positives: part -> images that have each label, in the order of `LABELS`.
        threads: drawing threads; None takes one per core that this process may use. The images do not depend on it.

    Raises:
        UserError: `folder` holds something else, or cannot be written.
    """

    def make(partial: Path) -> None:
        for part in images:
            (partial / part).mkdir()
        planned = plan(images, positives)
        draw_files(planned, lambda image: [(image.path, draw(image))], partial, "phantom_multi", threads)
        rows = (
            [image.path, image.patient_id, image.part, *(int(name in image.findings) for name in LABELS)]
            for image in planned
        )
        write_manifest(partial, ("image", "patient", "part", *LABELS), rows)

    make_once(folder, "phantom_multi", make)
