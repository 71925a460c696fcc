"""B8: what a training step costs beyond the bare PyTorch loop around the same network, loss, optimiser and batches.

The batches are resident, so that only the framework is measured. `stage` is what a run uses: Lightning's trainer with
our Stage, its loss watch, logging and epoch end; `bare` is the loop that one would write by hand, normalisation of the
uint8 pixels included, since that is part of either.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
from lightning.pytorch import Callback
from omegaconf import OmegaConf
from torch import Tensor

from ltmed.context import StageContext
from ltmed.data.batch import Batch
from ltmed.fit import make_trainer
from ltmed.loggers import CSVLogger
from ltmed.losses.classification import cross_entropy
from ltmed.methods.erm import ERM
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network

CLASSES, PIXELS = 7, 64
RUN = {"dataset": {"_target_": "ltmed.data.readers.phantom.Phantom"}, "method": {"name": "erm"}, "fold": 0, "seed": 0}
TRAINER = OmegaConf.load(Path(__file__).resolve().parents[2] / "conf/trainer/default.yaml")
TRAINER.enable_progress_bar = False


class Resident:
    """An epoch of `steps` times the same batch."""

    def __init__(self, batch: Batch, steps: int) -> None:
        self.batch, self.steps = batch, steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        return iter([self.batch] * self.steps)


class Clock(Callback):
    """Times the steps of an epoch, the loop around them included, its start and end hooks excluded."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on_train_epoch_start(self, *_: object) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.started


def _sgd(parameters: Iterator[torch.nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


def _stage(backbone: str) -> ERM:
    torch.manual_seed(0)
    network = Network(timm.create_model(backbone, num_classes=0), Linear, CLASSES)
    context = StageContext(
        name="train", seed=0, epochs=1, classes=tuple("abcdefg"), counts=torch.ones(CLASSES, dtype=torch.long),
        tiers={"head": [0], "medium": [1], "tail": [2]}, mean=(0.5,) * 3, std=(0.2,) * 3, optimizer=_sgd,
    )  # fmt: skip
    return ERM(network.to(memory_format=torch.channels_last), context, loss=cross_entropy)  # pyright: ignore[reportCallIssue]


def with_stage(backbone: str, batch: Batch, steps: int, folder: Path) -> tuple[float, Tensor]:
    """Seconds per step through the trainer, and the classifier's weights at the end."""
    clock, stage = Clock(), _stage(backbone)
    logger = CSVLogger(folder, RUN)
    trainer = make_trainer(
        TRAINER, "cpu", 1, max_epochs=1, logger=logger, callbacks=[clock], enable_checkpointing=False,  # pyright: ignore
        default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(stage, Resident(batch, steps))
    return clock.seconds / steps, next(stage.network.classifier.parameters()).detach()


def bare(backbone: str, batch: Batch, steps: int) -> tuple[float, Tensor]:
    """Seconds per step of the hand-written loop, and the classifier's weights at the end."""
    stage = _stage(backbone)
    network, optimizer = stage.network.train(), _sgd(stage.network.parameters())
    mean, std = stage.pixel_mean, stage.pixel_std
    started = time.perf_counter()
    for _ in range(steps):
        images = (batch.images.permute(0, 3, 1, 2).float() - mean).div_(std)
        loss = torch.nn.functional.cross_entropy(network(images), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.perf_counter() - started) / steps, next(network.classifier.parameters()).detach()


def main(rounds: int = 5) -> None:
    """Prints the tax per step for a tiny step (microseconds) and for ResNet-18 at 64 px, batch 64 (per cent)."""
    for backbone, size, steps in (("test_resnet", 2, 150), ("resnet18", 64, 4)):
        batch = Batch(
            torch.randint(0, 256, (size, PIXELS, PIXELS, 3), dtype=torch.uint8), torch.randint(0, CLASSES, (size,)),
            torch.arange(size),
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            pairs = []
            for turn in range(rounds + 1):
                (ours, weights), (theirs, expected) = (
                    with_stage(backbone, batch, steps, Path(folder)),
                    bare(backbone, batch, steps),
                )
                if turn:  # The first round warms up.
                    pairs.append((ours, theirs))
        tax = statistics.median(ours - theirs for ours, theirs in pairs)
        step = statistics.median(theirs for _, theirs in pairs)
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        print(
            f"B8 {backbone} batch {size}: bare step {1e3 * step:.2f} ms, framework {1e6 * tax:+.0f} us a step "
            f"(goal <= 400), {100 * (ratio - 1):+.1f} % of it (goal <= 3 % at 64), {100 * tax / 20e-3:.1f} % of a "
            f"20 ms step (goal <= 2 %); equal weights: {torch.allclose(weights, expected, atol=1e-5)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
