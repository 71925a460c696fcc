from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from ltmed.data.cache.images import ImageCache
from ltmed.data.loading import loader as module
from ltmed.data.loading.loader import EvalLoader, TrainLoader
from ltmed.data.samplers.single import InstanceSampler
from ltmed.errors import UserError
from ltmed.utils.seeding import derive

N, S, H = 200, 8, 6
PIXELS = np.random.default_rng(0).integers(0, 256, (N, S, S, 3), dtype=np.uint8)
CACHE = ImageCache(PIXELS)
ROWS = np.arange(3, N, 2)
LABELS = np.arange(len(ROWS)) % 5


class Crop:
    """A random crop and a number into the first pixel, so that every draw shows."""

    size = H

    def __call__(self, image, rng, out):
        top, left = rng.integers(0, S - H + 1, 2)
        out[:] = image[top : top + H, left : left + H]
        out[0, 0] = rng.integers(0, 256, 3, dtype=np.uint8)


class Whole:
    size = None

    def __call__(self, image, rng, out):
        np.copyto(out, image)


def train(augment: Any = None, batch_size: int = 12, **options) -> TrainLoader:
    sampler = InstanceSampler(labels=LABELS, batch_size=batch_size, epochs=3, seed=1)
    return TrainLoader(CACHE, ROWS, LABELS, sampler, augment or Crop(), **{"seed": 5, "threads": 2, **options})


def workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ltmed-loader")]


@pytest.fixture(autouse=True)
def _no_thread_survives():
    yield
    assert not workers()


def joined(loader) -> tuple[torch.Tensor, ...]:
    batches = list(loader)
    return tuple(torch.cat([getattr(batch, name) for batch in batches]) for name in ("images", "labels", "indices"))


def joined_views(loader) -> tuple[torch.Tensor, ...]:
    batches = list(loader)
    return torch.cat([batch.images for batch in batches]), torch.cat([batch.views for batch in batches])


@pytest.mark.parametrize("views", [1, 2])
def test_batches_are_what_a_plain_loop_makes(views):
    loader = train(views=views)
    loader.set_epoch(2)
    expected = InstanceSampler(labels=LABELS, batch_size=12, epochs=3, seed=1).batches(2)
    batches = list(loader)
    assert len(batches) == len(loader) == len(expected)
    for step, (batch, positions) in enumerate(zip(batches, expected, strict=True)):
        assert batch.images.shape == (12, H, H, 3)
        assert batch.images.dtype == torch.uint8
        assert batch.labels.dtype == batch.indices.dtype == torch.int64
        np.testing.assert_array_equal(batch.labels, LABELS[positions])
        np.testing.assert_array_equal(batch.indices, ROWS[positions])
        made = [batch.images, batch.views]
        assert (batch.views is None) == (views == 1)
        for view in range(views):
            for i, position in enumerate(positions):
                index = 2 * (12 * step + i) + view
                key = np.array([derive(5, "augment", 2), index], dtype=np.uint64)
                out = np.empty((H, H, 3), np.uint8)
                Crop()(PIXELS[ROWS[position]], np.random.Generator(np.random.Philox(key=key)), out)
                np.testing.assert_array_equal(made[view][i], out)


def test_each_view_may_have_an_augmentation_of_its_own():
    class Dark(Crop):
        def __call__(self, image, rng, out):
            out[:] = 7

    both = joined_views(train([Crop(), Dark()], views=2))
    assert (both[1] == 7).all()
    np.testing.assert_array_equal(both[0], joined(train())[0])
    with pytest.raises(UserError, match="1 augmentations for 2 views"):
        train([Crop()], views=2)
    with pytest.raises(UserError, match=r"\[6, 8\] pixels a side"):
        train([Crop(), Whole()], views=2)


@pytest.mark.parametrize("chunk", [1, 5])
def test_pixels_do_not_depend_on_the_number_of_threads(monkeypatch, chunk):
    one = joined(train(threads=1))
    monkeypatch.setattr(module, "_CHUNK", chunk)
    for actual, reference in zip(joined(train(threads=3)), one, strict=True):
        assert torch.equal(actual, reference)


def test_two_processes_make_the_halves_of_every_batch():
    whole = [batch.images for batch in train()]
    halves = [[batch.images for batch in train(rank=rank, world=2)] for rank in range(2)]
    assert len(whole) == len(halves[0]) == len(halves[1])
    for batch, *parts in zip(whole, *halves, strict=True):
        assert torch.equal(batch, torch.cat(parts))


def test_a_batch_that_cannot_be_divided_is_refused_at_once():
    with pytest.raises(UserError, match="12 cannot be divided evenly among 5"):
        train(rank=0, world=5)


def test_epochs_and_seeds_differ_and_repeat():
    loader = train()
    first = joined(loader)
    assert all(torch.equal(a, b) for a, b in zip(joined(loader), first, strict=True))
    loader.sampler.set_epoch(1)
    second = joined(loader)
    assert not torch.equal(first[2], second[2])
    loader.sampler.set_epoch(0)
    assert torch.equal(joined(loader)[0], first[0])
    other = joined(train(seed=6))
    assert torch.equal(other[2], first[2])
    assert not torch.equal(other[0], first[0])


def test_the_epoch_may_be_named_after_the_iterator_was_made():
    loader = train()
    iterator = iter(loader)
    loader.set_epoch(1)
    late = torch.cat([batch.indices for batch in iterator])
    assert torch.equal(late, joined(loader)[2])


def test_two_views_of_an_image_differ():
    batch = next(iter(train(views=2)))
    assert batch.views is not None
    assert all(not torch.equal(one, other) for one, other in zip(batch.images, batch.views, strict=True))


def test_referenced_batches_are_not_overwritten_and_others_are_reused():
    selected, copies, addresses = [], [], []
    loader = train(batch_size=3)
    for epoch in range(2):
        loader.set_epoch(epoch)
        for step, batch in enumerate(loader):
            addresses.append(batch.images.data_ptr())
            copies.append(batch.images.clone())
            selected.append(batch.images[1:] if step % 3 == 0 else None)
            del batch
    assert len(set(addresses)) < len(addresses)
    for part, copy in zip(selected, copies, strict=True):
        assert part is None or torch.equal(part, copy[1:])


def test_a_loop_that_keeps_nothing_needs_few_buffers():
    addresses = {batch.images.data_ptr() for batch in train(batch_size=2)}
    assert len(addresses) <= 4


def test_an_augmentation_without_a_size_keeps_that_of_the_cache():
    images, _, indices = joined(train(Whole()))
    np.testing.assert_array_equal(images, PIXELS[indices.numpy()])


def test_the_last_batch_leaves_no_threads_without_another_request():
    loader = train()
    iterator = iter(loader)
    for _ in range(len(loader)):
        next(iterator)
    assert not workers()


class Slow(Crop):
    """16 images, what a thread takes at a time, take half a second."""

    def __call__(self, image, rng, out):
        time.sleep(0.03)
        super().__call__(image, rng, out)


def _end_early(loader: TrainLoader, error: type[BaseException] | None, ended: list[float]) -> None:
    for _ in loader:
        assert workers()
        ended.append(time.perf_counter())
        if error:
            raise error
        break


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_an_early_end_stops_the_threads_at_once_and_the_loader_works_again(error):
    loader, ended = train(Slow(), batch_size=32), []
    with pytest.raises(error) if error else nullcontext():
        _end_early(loader, error, ended)
    assert not workers()
    assert time.perf_counter() - ended[0] < 0.25
    assert next(iter(loader)).images.shape == (32, H, H, 3)


class Failing(Crop):
    def __call__(self, image, rng, out):
        if np.array_equal(image, PIXELS[ROWS[17]]):
            raise ValueError("row 17")
        super().__call__(image, rng, out)


def test_an_error_in_a_thread_reaches_the_consumer():
    with pytest.raises(ValueError, match="row 17"):
        list(train(Failing(), batch_size=len(ROWS)))


def test_an_augmentation_cannot_change_the_cache(tmp_path):
    class Careless(Whole):
        def __call__(self, image, rng, out):
            image[:] = 0

    PIXELS.tofile(tmp_path / "pixels")
    mapped = ImageCache(np.memmap(tmp_path / "pixels", np.uint8, "r", shape=PIXELS.shape))
    with pytest.raises(ValueError, match="read-only"):
        list(EvalLoader(mapped, ROWS, LABELS, Careless(), threads=1))


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("threads", [1, 3])
def test_evaluation_sees_every_image_once(world, threads):
    loaders = [
        EvalLoader(CACHE, ROWS, LABELS, Whole(), batch_size=16, rank=rank, world=world, threads=threads)
        for rank in range(world)
    ]
    for _ in range(2):
        batches = [list(loader) for loader in loaders]
        assert [len(part) for part in batches] == [len(loader) for loader in loaders]
        indices = torch.cat([batch.indices for part in batches for batch in part])
        assert sorted(indices.tolist()) == ROWS.tolist()
        for batch in (batch for part in batches for batch in part):
            np.testing.assert_array_equal(batch.images, PIXELS[batch.indices.numpy()])
            np.testing.assert_array_equal(batch.labels, LABELS[np.searchsorted(ROWS, batch.indices.numpy())])


def test_a_rank_without_images_yields_nothing():
    loaders = [EvalLoader(CACHE, ROWS[:2], LABELS[:2], Whole(), rank=rank, world=3, threads=1) for rank in range(3)]
    assert [len(loader) for loader in loaders] == [1, 1, 0]
    assert [len(list(loader)) for loader in loaders] == [1, 1, 0]


def test_changing_a_batch_changes_nothing_else():
    loader = EvalLoader(CACHE, ROWS, LABELS, Whole(), threads=1)
    for batch in loader:
        batch.labels.fill_(9)
        batch.indices.fill_(9)
        batch.images.fill_(9)
    assert LABELS.max() == 4
    assert joined(loader)[2].tolist() == ROWS.tolist()
