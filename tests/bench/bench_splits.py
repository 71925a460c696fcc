"""B9: a table of a million images, divided and drawn from: processor seconds and memory of each step.

15 classes, each 0.6 times as large as the one before it, in groups of 4 images on average that mix classes (the hard
case: groups of one class are placed without a loop). Goal: a few seconds each, and the same places as the rule followed
group by group (on a twentieth of the table, where that takes seconds too). The peak of memory is that of the whole
process, of which PyTorch is most.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.data.manifest import Manifest
from ltmed.data.samplers.class_batches import ClassBatchSampler
from ltmed.data.samplers.single import InstanceSampler, PowerSampler
from ltmed.data.splits.apportion import apportion
from ltmed.data.splits.protocols import grouped, random
from tests.data.splits.test_apportion import loop

IMAGES, CLASSES = 1_000_000, 15


def table(images: int = IMAGES, classes: int = CLASSES) -> Manifest:
    """The labels and groups."""
    rng = np.random.default_rng(0)
    share = 0.6 ** np.arange(classes)
    codes = tuple(f"c{label}" for label in range(classes))
    return Manifest(
        "big", Path("/big"), tuple(f"images/{row // 10000:03d}/{row:08d}.png" for row in range(images)),
        rng.choice(classes, images, p=share / share.sum()), codes, codes,
        groups=np.sort(rng.integers(0, images // 4, images)), group_name="patient",
    )  # fmt: skip


def main(rounds: int = 1) -> None:
    """Prints a line for each step; the best of `rounds`."""
    manifest = table()
    split = grouped(manifest, 0)
    labels = manifest.labels[split.train]
    batches: dict[str, Callable[..., Any]] = {
        "instance": InstanceSampler, "class-balanced": lambda **settings: PowerSampler(**settings, q=0),
        "per-class": ClassBatchSampler,
    }  # fmt: skip
    steps: dict[str, Callable[[], Any]] = {
        "split=grouped": lambda: grouped(manifest, 0),
        "split=random": lambda: random(manifest, 0),
        "digest": lambda: split.digest(manifest),
        "leakage": lambda: split.leakage(manifest),
    }
    for name, kind in batches.items():
        steps[f"an epoch of {name} batches"] = lambda kind=kind: kind(
            labels=labels, batch_size=300, epochs=1, seed=0
        ).batches(0)
    for name, step in steps.items():
        times = []
        for _ in range(rounds):
            begin = time.process_time()
            step()
            times.append(time.process_time() - begin)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"B9 {IMAGES:,} images, {name}: {min(times):.2f} s, peak of the process {peak:.0f} MiB")
    small = table(IMAGES // 20)
    assert small.groups is not None
    for shares in ([0.2] * 5, [0.9, 0.1]):
        actual, rule = (how(small.labels, small.groups, shares, 0) for how in (apportion, loop))
        print(f"B9 places of {len(shares)} parts as the rule's: {np.array_equal(actual, rule)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    main(parser.parse_args().rounds)
