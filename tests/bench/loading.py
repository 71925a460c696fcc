"""Our loaders against Pillow, torchvision's v1 transforms and a DataLoader, in turn: what these benchmarks share."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ltmed.data.batch import normalise
from ltmed.data.cache.images import ImageCache, open_cache
from ltmed.data.loading.loader import EvalLoader, TrainLoader
from ltmed.data.manifest import Manifest

IMAGES, BATCH, SIZE = 500, 50, 224
CACHED = round(SIZE * 8 / 7)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AUGMENT = Path(__file__).resolve().parents[2] / "conf/augment"

Views = tuple[Tensor, ...]
"""Float tensors [B, 3, H, W], one for each view."""


class Files(Dataset):
    """Views of each image file."""

    def __init__(self, files: list[Path], transform: Callable[[Image.Image], Any], views: int) -> None:
        self.files, self.transform, self.views = files, transform, views

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Views:
        image = Image.open(self.files[index]).convert("RGB")
        return tuple(torch.as_tensor(self.transform(image)) for _ in range(self.views))


def write_images(folder: Path, number: int) -> Manifest:
    """Skin-like images: a smooth background, a dark blob, some noise; quality 90."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:450, :600]
    for index in range(number):
        skin = cv2.resize(rng.uniform(150, 230, (5, 6, 3)), (600, 450), interpolation=cv2.INTER_CUBIC)
        x, y, radius = rng.uniform(200, 400), rng.uniform(150, 300), rng.uniform(50, 140)
        blob = 1 / (1 + np.exp((np.hypot(columns - x, rows - y) - radius) / 8))
        texture = cv2.resize(rng.normal(0, 14, (150, 200, 3)), (600, 450), interpolation=cv2.INTER_CUBIC)
        pixels = skin + texture - blob[..., None] * rng.uniform(40, 120, 3) + rng.normal(0, 3, skin.shape)
        write_image(folder / f"{index:04d}.jpg", pixels)
    return manifest_of(folder, number)


def write_image(file: Path, pixels: np.ndarray) -> None:
    """Writes a JPEG of quality 90."""
    cv2.imwrite(str(file), np.clip(pixels, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])


def manifest_of(folder: Path, number: int) -> Manifest:
    """The files 0000.jpg, 0001.jpg, ... of one class."""
    names = tuple(f"{index:04d}.jpg" for index in range(number))
    return Manifest("bench", folder, names, np.zeros(number, np.int64), ("a",), ("A",))


@contextmanager
def cached_images() -> Iterator[tuple[Manifest, ImageCache]]:
    """500 image files and their cache, in a temporary folder."""
    check_pillow()
    torch.set_num_threads(1)  # For the normalisation: in the baseline, DataLoader sets the same in its workers.
    with tempfile.TemporaryDirectory() as name:
        (folder := Path(name, "images")).mkdir()
        manifest = write_images(folder, IMAGES)
        started = time.perf_counter()
        cache = open_cache(manifest, CACHED, Path(name, "cache"), progress=False)
        print(f"cache of {IMAGES} images built in {time.perf_counter() - started:.2f} s")
        yield manifest, cache


def check_pillow() -> None:
    """Prints the versions; the baseline must not be a special one."""
    print(f"Pillow {PIL.__version__}, OpenCV {cv2.__version__}, torch {torch.__version__}, {os.cpu_count()} cores")
    if "post" in PIL.__version__ or "simd" in PIL.__version__.lower():
        raise SystemExit("This is Pillow-SIMD: the baseline must be Pillow as it is installed by default.")


def augmentation(name: str) -> Any:
    """The augmentation of conf/augment/<name>.yaml at 224 pixels."""
    return instantiate(
        OmegaConf.create({"image_size": SIZE, "augment": OmegaConf.load(AUGMENT / f"{name}.yaml")}).augment
    )


def pillow_loader(
    manifest: Manifest,
    transform: Callable[[Image.Image], Any],
    *,
    views: int,
    train: bool,
    batch_size: int = BATCH,
) -> DataLoader:
    """What published repositories do: a DataLoader with two persistent worker processes."""
    files = Files([manifest.root / image for image in manifest.images], transform, views)
    return DataLoader(files, batch_size, shuffle=train, num_workers=2, persistent_workers=True, drop_last=train)


def cpu_seconds(processes: Sequence[int] = ()) -> float:
    """Processor time that this process, its threads and the given other processes have used."""
    ticks = 0
    for process in [os.getpid(), *processes]:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def timed(work: Callable[[], object], processes: Callable[[], Sequence[int]] = tuple) -> tuple[float, float]:
    """Wall and processor seconds of some work, that of the given other processes included."""
    started, used = time.perf_counter(), cpu_seconds(processes())
    work()
    return time.perf_counter() - started, cpu_seconds(processes()) - used


class Statistics:
    """Mean and standard deviation of each channel over a few batches; costs next to nothing per batch."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []

    def add(self, view: Tensor) -> None:
        """Takes one batch, [B, 3, H, W]."""
        pixels = view[:, :, ::16, ::16].transpose(0, 1).flatten(1)
        self.values.append(torch.cat([pixels.mean(1), pixels.std(1)]))

    def mean(self) -> Tensor:
        """[6], over all batches."""
        return torch.stack(self.values).mean(0)


def race(
    name: str,
    ours: TrainLoader | EvalLoader,
    theirs: DataLoader,
    *,
    rounds: int,
    goal: float,
    tolerance: float = 0.05,
) -> None:
    """Prints the median ratio of interleaved epochs, after one to warm up, and how far apart the pixels are.

    Args:
        name: of the benchmark.
        ours: our loader; its batches are normalised here, as a stage does it.
        theirs: of `pillow_loader`; its batches are tuples of views.
        rounds: epochs of both.
        goal: lowest ratio of wall and of processor seconds.
        tolerance: largest difference of the channels' means and deviations.
    """
    mean, std = (255 * torch.tensor(values) for values in (MEAN, STD))

    def our_batches() -> Iterable[Views]:
        for batch in ours:
            views = (batch.images,) if batch.views is None else (batch.images, batch.views)
            yield tuple(normalise(view, mean, std) for view in views)

    def workers() -> list[int]:
        return [worker.pid for worker in getattr(theirs._iterator, "_workers", [])]

    def epoch(batches: Iterable[Views], found: Statistics) -> None:
        images = 0
        for views in batches:
            assert all(view.shape == (BATCH, 3, SIZE, SIZE) for view in views)
            found.add(views[0])
            images += len(views[0])
        assert images == IMAGES

    observed, times = (Statistics(), Statistics()), []
    for turn in range(rounds + 1):
        if isinstance(ours, TrainLoader):
            ours.set_epoch(turn)
        if turn == 0:
            epoch(our_batches(), Statistics())
            epoch(theirs, Statistics())
            continue
        fast = timed(lambda: epoch(our_batches(), observed[0]))
        times.append((fast, timed(lambda: epoch(theirs, observed[1]), workers)))
    del theirs._iterator
    difference = (observed[0].mean() - observed[1].mean()).abs().max().item()
    print(
        f"same pixels? largest difference of channel means and deviations {difference:.3f} (of 1; at most {tolerance})"
    )
    report(name, times, IMAGES, "Pillow + DataLoader(2)", wall=goal, cpu=goal, same=difference <= tolerance)


def report(
    name: str,
    times: Sequence[tuple[tuple[float, float], tuple[float, float]]],
    images: int,
    peer: str,
    *,
    cpu: float,
    wall: float | None = None,
    same: bool = True,
) -> None:
    """Prints both sides and the median ratios.

    Args:
        name: of the benchmark.
        times: ((wall, CPU) of ours, (wall, CPU) of the baseline) in seconds, for every round.
        images: how many each of them processes.
        peer: name of the baseline.
        cpu: lowest ratio of processor seconds.
        wall: lowest ratio of wall seconds; None where it depends on how many threads the baseline is given.
        same: whether the two results agree.
    """
    for side, mine in (("ours", 0), (peer, 1)):
        spent, used = (statistics.median(turn[mine][kind] for turn in times) for kind in range(2))
        print(f"{side:24s} {images / spent:6.0f} images/s, wall {spent:.3f} s, CPU {1e3 * used / images:.2f} ms/image")
    ratios = [
        statistics.median(reference[kind] / max(actual[kind], 0.01) for actual, reference in times) for kind in range(2)
    ]
    met = "met" if same and ratios[1] >= cpu and (wall is None or ratios[0] >= wall) else "MISSED"
    goal = f"CPU >= {cpu:g}x" if wall is None else f">= {cpu:g}x"
    print(
        f"{name} ratio: wall {ratios[0]:.1f}x, CPU {ratios[1]:.1f}x (medians of {len(times)} rounds); goal {goal} {met}"
    )
