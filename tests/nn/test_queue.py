"""The queue against `collections.deque`."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltmed.nn.queue import FeatureQueue, QueueItems


def batch(start: int, size: int, width: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Keys that hold their own number, so that every item can be told from every other."""
    numbers = torch.arange(start, start + size)
    return numbers[:, None].float() + torch.zeros(width), numbers % 5, numbers % 3


def content(items: QueueItems) -> list[tuple[float, int, int]]:
    filled = items.labels >= 0
    columns = (items.keys[filled][:, 0], items.labels[filled], items.predicted[filled])
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 9), batches=st.lists(st.integers(0, 20), max_size=12))
def test_holds_the_newest_items_whatever_the_batch_sizes(size: int, batches: list[int]) -> None:
    queue, oracle, start = FeatureQueue(size, 3), deque(maxlen=size), 0
    for number in batches:
        keys, labels, predicted = batch(start, number)
        items = queue.enqueue(keys, labels, predicted)
        oracle.extend(zip(keys[:, 0].tolist(), labels.tolist(), predicted.tolist(), strict=True))
        start += number
        assert content(items) == sorted(oracle)


def test_empty_slots_are_marked_and_zero() -> None:
    items = FeatureQueue(5, 2).enqueue(torch.ones(2, 2), torch.tensor([1, 0]), torch.tensor([1, 1]))
    assert items.labels.tolist() == [1, 0, -1, -1, -1]
    assert items.predicted.tolist() == [1, 1, -1, -1, -1]
    assert (items.keys[2:] == 0).all()


def test_a_restored_queue_goes_on_in_the_same_slot() -> None:
    queue = FeatureQueue(7, 3)
    queue.enqueue(*batch(0, 10))
    restored = FeatureQueue(7, 3)
    restored.load_state_dict(queue.state_dict())
    for one, other in zip(queue.enqueue(*batch(10, 4)), restored.enqueue(*batch(10, 4)), strict=True):
        assert torch.equal(one, other)


def test_a_graph_survives_the_next_enqueue() -> None:
    queue, query = FeatureQueue(4, 3), torch.ones(3, requires_grad=True)
    losses = [(queue.enqueue(*batch(i, 2)).keys @ query).square().sum() for i in range(3)]
    torch.stack(losses).sum().backward()
    assert query.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_keys_of_another_type_are_kept_in_float32(dtype: torch.dtype) -> None:
    keys, labels, predicted = batch(0, 2)
    assert FeatureQueue(4, 3).enqueue(keys.to(dtype).requires_grad_(), labels, predicted).keys.dtype == torch.float32
