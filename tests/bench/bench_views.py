"""B2: AdUni's training view and the evaluation view, 224 px from 500 JPEGs of 600 x 450, from the second epoch on.

The baseline is as in B1: Pillow, torchvision's v1 transforms and a DataLoader with two persistent worker processes.
Ours are TrainLoader with conf/augment/aduni.yaml and EvalLoader with conf/augment/none.yaml, from the cache. All end in
a normalised float tensor [B, 3, 224, 224]. What is not the same: AdUni's 224 x 224 are made of the cached 256 x 256
pixels instead of the original 600 x 450.
"""

from __future__ import annotations

import argparse

import numpy as np
from torchvision import transforms

from ltmed.data.loading.loader import EvalLoader, TrainLoader
from ltmed.data.samplers.single import InstanceSampler
from tests.bench.loading import BATCH, CACHED, IMAGES, MEAN, SIZE, STD, augmentation, cached_images, pillow_loader, race

ADUNI_GOAL, EVALUATION_GOAL = 5.0, 10.0


def aduni() -> transforms.Compose:
    """AdUni's training view."""
    return transforms.Compose(
        [
            transforms.Resize((SIZE, SIZE)),
            transforms.RandomAffine((-180, 180), scale=(0.8, 1.2), shear=(0.8, 1.2)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.ColorJitter(0.2, 0.2, 0.2, 0.1),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def evaluation() -> transforms.Compose:
    """The usual evaluation view."""
    return transforms.Compose(
        [
            transforms.Resize((CACHED, CACHED)),
            transforms.CenterCrop(SIZE),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def main(rounds: int = 5) -> None:
    """Prints B2."""
    with cached_images() as (manifest, cache):
        rows, labels = np.arange(IMAGES), manifest.labels
        sampler = InstanceSampler(labels, batch_size=BATCH, epochs=rounds, seed=0)
        train = TrainLoader(cache, rows, labels, sampler, augmentation("aduni"), seed=0)
        race(
            "B2 AdUni view", train, pillow_loader(manifest, aduni(), views=1, train=True),
            rounds=rounds, goal=ADUNI_GOAL,
        )  # fmt: skip
        test = EvalLoader(cache, rows, labels, augmentation("none"), batch_size=BATCH)
        race(
            "B2 evaluation view", test, pillow_loader(manifest, evaluation(), views=1, train=False),
            rounds=rounds, goal=EVALUATION_GOAL, tolerance=0.005,
        )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of each variant")
    main(parser.parse_args().rounds)
