"""Batches made by processes are those made by threads."""

from __future__ import annotations

import multiprocessing
import os

import numpy as np
import pytest
import torch

from ltmed.data.batch import Batch
from ltmed.data.cache.images import ImageCache
from ltmed.data.loading.loader import EvalLoader, TrainLoader
from ltmed.data.samplers.single import InstanceSampler
from ltmed.errors import UserError

pytestmark = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
PIXELS = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
CACHE, ROWS, LABELS = ImageCache(PIXELS), np.arange(3, 60), np.arange(57) % 5


class Noisy:
    """Adds a random number, in plain Python, and may note in which process."""

    size = None

    def __init__(self, note: bool = False) -> None:
        self.note = note

    def __call__(self, image: np.ndarray, rng: np.random.Generator, out: np.ndarray) -> None:
        out[:] = image + rng.integers(0, 9, dtype=np.uint8)
        if self.note:
            out[0, 0] = np.frombuffer(os.getpid().to_bytes(3, "little"), np.uint8)


class Broken(Noisy):
    def __call__(self, image: np.ndarray, rng: np.random.Generator, out: np.ndarray) -> None:
        raise ValueError("an augmentation of your own is wrong")


def train(augment: Noisy, workers: int, views: int = 1, epoch: int = 0) -> list[Batch]:
    sampler = InstanceSampler(labels=LABELS, batch_size=12, epochs=3, seed=1)
    loader = TrainLoader(CACHE, ROWS, LABELS, sampler, augment, views=views, seed=5, threads=2, workers=workers)
    loader.set_epoch(epoch)
    return list(loader)


def assert_same(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other) > 0
    for mine, reference in zip(one, other, strict=True):
        for a, b in zip(mine, reference, strict=True):
            assert (a is None and b is None) or torch.equal(a, b)


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("epoch", [0, 2])
def test_training_batches_are_those_of_threads(views: int, epoch: int) -> None:
    assert_same(train(Noisy(), 2, views, epoch), train(Noisy(), 0, views, epoch))


def test_evaluation_batches_are_those_of_threads() -> None:
    loaders = (EvalLoader(CACHE, ROWS, LABELS, Noisy(), batch_size=16, threads=2, workers=n) for n in (2, 0))
    assert_same(*map(list, loaders))


def test_other_processes_make_them() -> None:
    pixels = torch.cat([batch.images[:, 0, 0] for batch in train(Noisy(note=True), 2)]).numpy()
    processes = {int.from_bytes(pixel.tobytes(), "little") for pixel in pixels}
    assert len(processes) == 2
    assert os.getpid() % 2**24 not in processes


def test_an_error_in_a_worker_arrives_with_its_traceback() -> None:
    with pytest.raises(ValueError, match="^an augmentation of your own is wrong$") as caught:
        train(Broken(), 2)
    assert "in __call__" in str(caught.value.__cause__)


class Unsendable(Broken):
    def __call__(self, image: np.ndarray, rng: np.random.Generator, out: np.ndarray) -> None:
        class LocalError(Exception):
            pass

        raise LocalError("no other process knows my class")


def test_an_error_that_cannot_be_sent_arrives_as_its_text() -> None:
    with pytest.raises(RuntimeError, match="^LocalError: no other process knows my class$"):
        train(Unsendable(), 2)


def test_a_system_without_fork_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(UserError, match="dataset.workers=0"):
        train(Noisy(), 2)
