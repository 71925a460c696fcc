"""B8: what a training step costs beyond the bare PyTorch loop around the same network, loss, optimiser and batches.

The batches are resident, so that only the framework is measured. `stage` is what a run uses: Lightning's trainer with
our Stage, its loss watch, logger and checkpoints; `lightning` is a module of its own with `training_step` and
`configure_optimizers` only, in a trainer without logger, checkpoints and bar, the least that Lightning costs; `bare` is
the loop that one would write by hand. All normalise the uint8 pixels. Timed are the steps of an epoch with the loop
around them, from the start of the first to the end of the last.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
from lightning.pytorch import Callback, LightningModule
from omegaconf import OmegaConf
from torch import Tensor, nn

from ltmed.data.batch import Batch, normalise
from ltmed.logging.csv import CSVLogger
from ltmed.losses.classification import cross_entropy
from ltmed.methods.erm import ERM
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network
from ltmed.training.callbacks.checkpoints import EpochCheckpoints
from ltmed.training.context import StageContext
from ltmed.training.trainer import make_trainer

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
    """Times an epoch from the start of its first step to the end of its last."""

    def __init__(self) -> None:
        self.started = self.ended = 0.0

    def on_train_batch_start(self, *_: object) -> None:
        self.started = self.started or time.perf_counter()

    def on_train_batch_end(self, *_: object) -> None:
        self.ended = time.perf_counter()


class Plain(LightningModule):
    """The least that Lightning needs."""

    def __init__(self, stage: ERM) -> None:
        super().__init__()
        self.network, self.mean, self.std = stage.network, stage.pixel_mean, stage.pixel_std

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images = normalise(batch.images, self.mean, self.std)
        return torch.nn.functional.cross_entropy(self.network(images), batch.labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return _sgd(self.network.parameters())


def _sgd(parameters: Iterator[torch.nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


class Smallest(nn.Module):
    """An encoder that costs next to nothing, so that the loop around it shows."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images).mean((2, 3))


def _stage(backbone: str) -> ERM:
    torch.manual_seed(0)
    encoder = Smallest() if backbone == "smallest" else timm.create_model(backbone, num_classes=0)
    network = Network(encoder, Linear, CLASSES)
    context = StageContext(
        name="train", seed=0, epochs=1, classes=tuple("abcdefg"), counts=torch.ones(CLASSES, dtype=torch.long),
        tiers={"head": [0], "medium": [1], "tail": [2]}, mean=(0.5,) * 3, std=(0.2,) * 3, optimizer=_sgd,
    )  # fmt: skip
    return ERM(network.to(memory_format=torch.channels_last), context, loss=cross_entropy)  # pyright: ignore[reportCallIssue]


def with_stage(backbone: str, batch: Batch, steps: int, folder: Path) -> tuple[float, Tensor]:
    """Seconds per step as in a run, and the classifier's weights at the end."""
    clock, stage = Clock(), _stage(backbone)
    trainer = make_trainer(
        TRAINER, "cpu", 1, max_epochs=1, logger=CSVLogger(folder, RUN), default_root_dir=folder,
        callbacks=[clock, EpochCheckpoints(folder, "train/train/loss", "min")],
    )  # fmt: skip
    trainer.fit(stage, Resident(batch, steps))
    return (clock.ended - clock.started) / steps, next(stage.network.classifier.parameters()).detach()


def with_lightning(backbone: str, batch: Batch, steps: int, folder: Path) -> tuple[float, Tensor]:
    """Seconds per step of the quiet trainer, and the classifier's weights at the end."""
    clock, stage = Clock(), _stage(backbone)
    trainer = make_trainer(
        TRAINER, "cpu", 1, max_epochs=1, logger=False, enable_checkpointing=False, default_root_dir=folder,
        callbacks=[clock],
    )  # fmt: skip
    trainer.fit(Plain(stage), Resident(batch, steps))
    return (clock.ended - clock.started) / steps, next(stage.network.classifier.parameters()).detach()


def bare(backbone: str, batch: Batch, steps: int, folder: Path) -> tuple[float, Tensor]:
    """Seconds per step of the hand-written loop, and the classifier's weights at the end."""
    stage = _stage(backbone)
    network, optimizer = stage.network.train(), _sgd(stage.network.parameters())
    started = time.perf_counter()
    for _ in range(steps):
        images = normalise(batch.images, stage.pixel_mean, stage.pixel_std)
        loss = torch.nn.functional.cross_entropy(network(images), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.perf_counter() - started) / steps, next(network.classifier.parameters()).detach()


def main(rounds: int = 5) -> None:
    """Prints the tax per step for a tiny step (microseconds) and for ResNet-18 at 64 px, batch 64 (per cent)."""
    warnings.filterwarnings("ignore", module="lightning")  # It advises loaders and bars that are left out on purpose.
    threads = torch.get_num_threads()
    for backbone, size, steps in (("smallest", 2, 1000), ("resnet18", 64, 12)):
        torch.set_num_threads(1 if size == 2 else threads)  # Two threads wait for each other longer than they work.
        batch = Batch(
            torch.randint(0, 256, (size, PIXELS, PIXELS, 3), dtype=torch.uint8), torch.randint(0, CLASSES, (size,)),
            torch.arange(size),
        )  # fmt: skip
        variants, times, equal = (with_stage, with_lightning, bare), [], True
        for turn in range(rounds + 1):
            actual: dict[int, tuple[float, Tensor]] = {}
            for which in sorted(range(3), key=lambda index, first=turn: (index - first) % 3):
                with tempfile.TemporaryDirectory() as folder:
                    actual[which] = variants[which](backbone, batch, steps, Path(folder))
            equal &= all(torch.allclose(actual[which][1], actual[2][1], atol=1e-5) for which in range(2))
            if turn:  # The first round warms up.
                times.append([actual[which][0] for which in range(3)])
        _print(f"{backbone} batch {size}", times, equal)


def _print(what: str, times: list[list[float]], equal: bool) -> None:
    actual, lightning, step = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    tax, least = (1e6 * statistics.median(row[i] - row[2] for row in times) for i in range(2))
    ratio = 100 * (statistics.median(row[0] / row[2] for row in times) - 1)
    print(
        f"B8 {what}: bare step {step:.2f} ms, Lightning {lightning:.2f} ms, ours {actual:.2f} ms. Tax {tax:+.0f} us a "
        f"step (goal <= 400), of which Lightning {least:+.0f} us; {ratio:+.1f} % (goal <= 3 % at batch 64); "
        f"{tax / 200:.1f} % of a 20 ms step (goal <= 2 %). Equal weights: {equal}",
        flush=True,
    )


if __name__ == "__main__":
    main()
