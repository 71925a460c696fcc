"""B1: two-view MoCo-v2 batches of 224 px from 500 JPEGs of 600 x 450, from the second epoch on.

The baseline is what the published repositories of these methods do: Pillow, torchvision's v1 transforms and a
DataLoader with two persistent worker processes. Ours is TrainLoader with conf/augment/mocov2.yaml from the cache, and
the normalisation that Stage does. Both end in two float tensors [B, 3, 224, 224]. What is not the same: crops are cut
from the cached 256 x 256 pixels instead of the original 600 x 450.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import PIL
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image, ImageFilter
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ltmed.data.batch import normalise
from ltmed.data.cache import open_cache
from ltmed.data.loader import TrainLoader
from ltmed.data.manifest import Manifest
from ltmed.data.samplers import InstanceSampler

IMAGES, BATCH, SIZE, GOAL = 500, 50, 224, 6.0
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AUGMENT = Path(__file__).resolve().parents[2] / "conf/augment/mocov2.yaml"


class Blur:
    """Pillow's Gaussian blur with a random radius, as in MoCo v2's released code."""

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


class Files(Dataset):
    """Two views of each image file."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(SIZE, scale=(0.2, 1.0)),
                transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
                transforms.RandomGrayscale(p=0.2),
                transforms.RandomApply([Blur()], p=0.5),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        image = Image.open(self.files[index]).convert("RGB")
        return tuple(torch.as_tensor(self.transform(image)) for _ in range(2))


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
        quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
        cv2.imwrite(str(folder / f"{index:04d}.jpg"), np.clip(pixels, 0, 255).astype(np.uint8), quality)
    names = tuple(f"{index:04d}.jpg" for index in range(number))
    return Manifest("bench", folder, names, np.zeros(number, np.int64), ("a",), ("A",))


def cpu_seconds(processes: list[int]) -> float:
    """Processor time that this process, its threads and the given other processes have used."""
    ticks = 0
    for process in [os.getpid(), *processes]:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Statistics:
    """Mean and standard deviation of each channel over a few batches; costs next to nothing per batch."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []

    def add(self, view: Tensor) -> None:
        pixels = view[:, :, ::16, ::16].transpose(0, 1).flatten(1)
        self.values.append(torch.cat([pixels.mean(1), pixels.std(1)]))

    def mean(self) -> Tensor:
        return torch.stack(self.values).mean(0)


def epoch(
    batches: Iterable[tuple[Tensor, Tensor]], found: Statistics, processes: Callable[[], list[int]]
) -> tuple[float, float]:
    """Wall and processor seconds of one pass."""
    started, used = time.perf_counter(), cpu_seconds(processes())
    images = 0
    for one, other in batches:
        assert one.shape == other.shape == (BATCH, 3, SIZE, SIZE)
        found.add(one)
        images += len(one)
    assert images == IMAGES
    return time.perf_counter() - started, cpu_seconds(processes()) - used


def main(rounds: int = 5) -> None:
    """Prints B1."""
    print(f"Pillow {PIL.__version__}, OpenCV {cv2.__version__}, torch {torch.__version__}, {os.cpu_count()} cores")
    if "post" in PIL.__version__ or "simd" in PIL.__version__.lower():
        raise SystemExit("This is Pillow-SIMD: the baseline must be Pillow as it is installed by default.")
    torch.set_num_threads(1)  # For the normalisation: in the baseline, DataLoader sets the same in its workers.
    mean, std = (255 * torch.tensor(values) for values in (MEAN, STD))
    with tempfile.TemporaryDirectory() as name:
        (folder := Path(name, "images")).mkdir()
        manifest = write_images(folder, IMAGES)
        started = time.perf_counter()
        cache = open_cache(manifest, round(SIZE * 8 / 7), Path(name, "cache"), progress=False)
        print(f"cache of {IMAGES} images built in {time.perf_counter() - started:.2f} s")
        config = OmegaConf.create({"image_size": SIZE, "augment": OmegaConf.load(AUGMENT)})
        rows = np.arange(IMAGES)
        sampler = InstanceSampler(manifest.labels, batch_size=BATCH, epochs=rounds, seed=0)
        ours = TrainLoader(cache, rows, manifest.labels, sampler, instantiate(config.augment), views=2, seed=0)
        files = Files([folder / image for image in manifest.images])
        theirs = DataLoader(files, BATCH, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True)

        def our_batches() -> Iterable[tuple[Tensor, Tensor]]:
            for batch in ours:
                assert batch.views is not None
                yield normalise(batch.images, mean, std), normalise(batch.views, mean, std)

        def their_batches() -> Iterable[tuple[Tensor, Tensor]]:
            return ((one, other) for one, other in theirs)

        def workers() -> list[int]:
            return [worker.pid for worker in getattr(theirs._iterator, "_workers", [])]

        epoch(our_batches(), Statistics(), list)
        epoch(their_batches(), Statistics(), list)
        seen, times = (Statistics(), Statistics()), []
        for turn in range(rounds):
            ours.set_epoch(turn + 1)
            times.append((epoch(our_batches(), seen[0], list), epoch(their_batches(), seen[1], workers)))
        del theirs._iterator
    _print(times, seen)


def _print(times: list[tuple[tuple[float, float], tuple[float, float]]], seen: tuple[Statistics, Statistics]) -> None:
    for name, mine in (("ours", 0), ("Pillow + DataLoader(2)", 1)):
        wall, cpu = (statistics.median(turn[mine][kind] for turn in times) for kind in range(2))
        print(f"{name:24s} {IMAGES / wall:6.0f} images/s, wall {wall:.3f} s, CPU {1e3 * cpu / IMAGES:.2f} ms/image")
    wall, cpu = (statistics.median(theirs[kind] / ours[kind] for ours, theirs in times) for kind in range(2))
    difference = (seen[0].mean() - seen[1].mean()).abs().max().item()
    print(f"same pixels? largest difference of channel means and deviations {difference:.3f} (of 1; at most 0.05)")
    met = "met" if min(wall, cpu) >= GOAL and difference <= 0.05 else "MISSED"
    print(f"B1 ratio: wall {wall:.1f}x, CPU {cpu:.1f}x (medians of {len(times)} rounds); goal >= {GOAL:.0f}x {met}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of each variant")
    main(parser.parse_args().rounds)
