"""A finished run loaded for use: its network, its classes, and the preprocessing of its test part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ltmed.config.instantiate import build
from ltmed.data.augment import Augmentation
from ltmed.data.cache.decode import decode_square
from ltmed.data.cache.intensity import Intensity
from ltmed.data.cache.store import JPEG, from_jpeg, to_jpeg
from ltmed.inference.restore import finished_run, load_network
from ltmed.runs.reader import Run

if TYPE_CHECKING:
    from ltmed.nn.network import Network


@dataclass(frozen=True)
class Preprocessing:
    """From the bytes of an image file to the input of a run's network. S: side of that input, in pixels."""

    cache_size: int
    """Side of the square that the whole image, or its centre, becomes first."""
    fit: str
    """How it becomes one: `squash` or `crop`, see `ltmed.data.cache.decode.decode_square`."""
    intensity: Intensity
    """Maps more than eight bits to eight."""
    jpeg: bool
    """Whether the run cached that square as a JPEG, so that its network was trained on compressed images."""
    view: Augmentation
    """Makes the test view of the square."""
    interpolation: str
    """Of the resize to that square: `bilinear` or `bicubic`."""
    mean: tuple[float, float, float]
    """Per channel, of pixels scaled to [0, 1]."""
    std: tuple[float, float, float]

    @property
    def size(self) -> int:
        """S."""
        return self.view.size or self.cache_size

    def __call__(self, data: bytes) -> np.ndarray:
        """The content of an image file -> uint8 [S, S, 3], RGB, not yet normalised; safe in several threads.

        Raises:
            BadImageError: not an image, or truncated.
            UserError: DICOM, and pydicom is not installed.
        """
        image = decode_square(data, self.cache_size, self.fit, self.interpolation, self.intensity)
        if self.jpeg:
            decoded = from_jpeg(to_jpeg(image))
            assert decoded is not None
            image = decoded
        output = np.empty((self.size, self.size, 3), np.uint8)
        self.view(image, np.random.default_rng(0), output)
        return output


@dataclass(frozen=True)
class LoadedRun:
    """A finished run with its network loaded. K classes."""

    run: Run
    network: Network
    """In evaluation mode, on the CPU: normalised images -> logits [B, K]."""
    classes: list[str]
    """K codes, in the order of the logits."""
    names: list[str]
    """K full names."""
    preprocessing: Preprocessing

    @property
    def thresholds(self) -> list[float] | None:
        """Thresholds of several labels, K in the order of the logits, from the validation part; None of one label."""
        thresholds = self.run.metrics["test"].get("thresholds")
        return None if thresholds is None else [thresholds[code] for code in self.classes]


def open_run(run_dir: str | Path | Run) -> LoadedRun:
    """Loads a run for use: from its folder alone, without its data.

    Args:
        run_dir: folder of a finished run, or the run.

    Raises:
        UserError: not the folder of a run; the run is not finished; a file of it is missing or damaged.
    """
    run = finished_run(run_dir)
    network = load_network(run)
    names = [row["name"] for row in run.metrics["test"]["per_class"]]
    return LoadedRun(run, network, run.classes, names, _preprocessing(run))


def _preprocessing(run: Run) -> Preprocessing:
    cached, pixels = run.facts["pixels"], run.config.pixels
    return Preprocessing(
        cache_size=cached["side"],
        fit=cached["fit"],
        intensity=Intensity(**cached["intensity"]),
        jpeg=cached["store"] == JPEG.name,
        view=build(run.config.evaluation),
        interpolation=pixels.interpolation,
        mean=tuple(pixels.mean),
        std=tuple(pixels.std),
    )
