"""B1: two-view MoCo-v2 batches of 224 px from 500 JPEGs of 600 x 450, from the second epoch on.

The baseline is what the published repositories of these methods do: Pillow, torchvision's v1 transforms and a
DataLoader with two persistent worker processes. Ours is TrainLoader with conf/augment/mocov2.yaml from the cache, and
the normalisation that Stage does. Both end in two float tensors [B, 3, 224, 224]. What is not the same: crops are cut
from the cached 256 x 256 pixels instead of the original 600 x 450.
"""

from __future__ import annotations

import argparse
import random

import numpy as np
from PIL import Image, ImageFilter
from torchvision import transforms

from ltmed.data.loading.loader import TrainLoader
from ltmed.data.samplers.single import InstanceSampler
from tests.bench.loading import BATCH, IMAGES, MEAN, SIZE, STD, augmentation, cached_images, pillow_loader, race

GOAL = 6.0


class Blur:
    """Pillow's Gaussian blur with a random radius, as in MoCo v2's released code."""

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


def moco() -> transforms.Compose:
    """MoCo v2's view."""
    return transforms.Compose(
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


def main(rounds: int = 5) -> None:
    """Prints B1."""
    with cached_images() as (manifest, cache):
        sampler = InstanceSampler(manifest.labels, batch_size=BATCH, epochs=rounds, seed=0)
        rows = np.arange(IMAGES)
        actual = TrainLoader(cache, rows, manifest.labels, sampler, augmentation("mocov2"), views=2, seed=0)
        race("B1", actual, pillow_loader(manifest, moco(), views=2, train=True), rounds=rounds, goal=GOAL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of each variant")
    main(parser.parse_args().rounds)
