"""B7: an epoch of ResNet-18 at 224 px, batch 32, from image files to updated weights.

`ours` is TrainLoader with conf/augment/mocov2.yaml (one view) from the cache, channels last, and bfloat16 where the
processor has instructions for it, as a run has it. `theirs` is Pillow, torchvision's v1 transforms, a DataLoader with
two persistent workers, float32 and channels first. `resident` is our step fed the same batch again and again: what it
costs without any loader. The same loop drives all three; what Lightning and Stage add to it is B8.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import timm
import torch
from torch import Tensor

from ltmed.config.resolve import resolve_precision
from ltmed.data.batch import Batch, normalise
from ltmed.data.loading.loader import TrainLoader
from ltmed.data.samplers.single import InstanceSampler
from ltmed.data.threads import usable_cores
from tests.bench.bench_data_path import moco
from tests.bench.loading import MEAN, SIZE, STD, Views, augmentation, cached_images, pillow_loader

BATCH, STEPS, CLASSES = 32, 8, 7
RESIDENT_GOAL = 0.9
Images = Iterable[Tensor]
"""Normalised batches [B, 3, H, W]."""


class Trained:
    """A network with its optimiser, trained one epoch after another.

    Args:
        fast: channels last, and bfloat16 where there is hardware for it.
    """

    def __init__(self, *, fast: bool) -> None:
        torch.manual_seed(0)
        network = timm.create_model("resnet18", num_classes=CLASSES)
        layout = torch.channels_last if fast else torch.contiguous_format
        self.network = network.to(memory_format=layout).train()  # pyright: ignore[reportCallIssue]
        self.optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
        self.bfloat16 = fast and has_bfloat16()

    def epoch(self, batches: Images) -> float:
        """Seconds per step, the waiting for batches included."""
        labels, steps = torch.zeros(BATCH, dtype=torch.long), 0
        started = time.perf_counter()
        for images in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                loss = torch.nn.functional.cross_entropy(self.network(images).float(), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            steps += 1
        assert steps == STEPS, steps
        return (time.perf_counter() - started) / steps


def has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16."""
    return resolve_precision("auto", "cpu") == "bf16-mixed"


def _normalised(batches: Iterable[Batch]) -> Iterator[Tensor]:
    mean, std = (255 * torch.tensor(values) for values in (MEAN, STD))
    for batch in batches:
        yield normalise(batch.images, mean, std)


def _first_views(batches: Iterable[Views]) -> Iterator[Tensor]:
    for (images,) in batches:
        yield images


def main(rounds: int = 5) -> None:
    """Prints B7."""
    goal = 2.0 if has_bfloat16() else 1.2
    with cached_images() as (manifest, cache):
        torch.set_num_threads(usable_cores())
        number = BATCH * STEPS
        part = replace(manifest, images=manifest.images[:number], labels=manifest.labels[:number])
        sampler = InstanceSampler(part.labels, batch_size=BATCH, epochs=rounds, seed=0)
        ours = TrainLoader(cache, np.arange(number), part.labels, sampler, augmentation("mocov2"), seed=0)
        reference = pillow_loader(part, moco(), views=1, train=True, batch_size=BATCH)
        (batch, *_) = ours
        fast, slow, fed = Trained(fast=True), Trained(fast=False), Trained(fast=True)
        variants: list[Callable[[], float]] = [
            lambda: fast.epoch(_normalised(ours)),
            lambda: slow.epoch(_first_views(reference)),
            lambda: fed.epoch(_normalised([batch] * STEPS)),
        ]
        times: list[list[float]] = []
        for turn in range(rounds + 1):
            ours.set_epoch(turn)
            actual = {which: variants[which]() for which in sorted(range(3), key=lambda i, first=turn: (i - first) % 3)}
            if turn:  # The first round warms up.
                times.append([actual[which] for which in range(3)])
    mine, peer, least = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    ratio, share = (statistics.median(row[which] / row[0] for row in times) for which in (1, 2))
    met = "met" if ratio >= goal and share >= RESIDENT_GOAL else "MISSED"
    print(
        f"B7 ResNet-18, {SIZE} px, batch {BATCH}: ours {mine:.0f} ms a step, Pillow + DataLoader(2) + "
        f"channels first {peer:.0f} ms, one resident batch {least:.0f} ms; ratio {ratio:.2f} (goal >= {goal:g}), "
        f"{share:.2f} of the speed with a resident batch (goal >= {RESIDENT_GOAL:g}) {met}; "
        f"bfloat16: {has_bfloat16()}; {torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of each variant")
    main(parser.parse_args().rounds)
