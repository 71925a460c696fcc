from __future__ import annotations

import numpy as np
import pytest
import torch

from ltmed.data.loading.ring import Ring

SHAPE = (2, 3)


def test_an_array_is_reused_only_without_references():
    ring = Ring(SHAPE, limit=4)
    array = ring.take()
    address = array.ctypes.data
    part = torch.from_numpy(array)[0, :2]
    del array
    other = ring.take()
    assert other.ctypes.data != address
    view = part.numpy()
    del part
    assert ring.take().ctypes.data != address
    del view
    buffers = [ring.take() for _ in range(3)]
    assert address in [array.ctypes.data for array in buffers]


def test_beyond_the_limit_arrays_are_temporary():
    ring = Ring(SHAPE, limit=2)
    buffers = [ring.take() for _ in range(5)]
    assert len({array.ctypes.data for array in buffers}) == 5
    addresses = {array.ctypes.data for array in buffers[:2]}
    del buffers
    again = [ring.take(), ring.take()]
    assert {array.ctypes.data for array in again} == addresses


class FakeEvent:
    """A GPU that has done what was asked of it when the test says so."""

    made: list[FakeEvent]

    def __init__(self, blocking: bool) -> None:
        self.recorded = self.done = False
        self.waited = False
        type(self).made.append(self)

    def record(self) -> None:
        self.recorded = True

    def query(self) -> bool:
        assert self.recorded
        return self.done

    def synchronize(self) -> None:
        self.waited = self.done = True


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[FakeEvent]:
    empty = torch.empty
    FakeEvent.made = []
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch, "empty", lambda *shape, dtype, pin_memory: empty(*shape, dtype=dtype))
    return FakeEvent.made


def test_a_pinned_array_waits_for_the_gpu(gpu):
    ring = Ring(SHAPE, limit=3, pin_memory=True)
    address = ring.take().ctypes.data
    second = ring.take()
    assert second.ctypes.data != address
    assert len(gpu) == 1
    gpu[0].done = True
    assert ring.take().ctypes.data == address


def test_a_pinned_array_gets_its_event_only_when_it_is_released(gpu):
    ring = Ring(SHAPE, limit=2, pin_memory=True)
    buffer = ring.take()
    ring.take()
    assert not gpu
    buffer[:] = 7
    fresh = ring.take()  # The second waits for the GPU.
    assert [event.waited for event in gpu] == [True]
    assert fresh.ctypes.data != buffer.ctypes.data
    assert np.all(buffer == 7)


def test_with_all_pinned_arrays_in_flight_the_oldest_is_waited_for(gpu):
    ring = Ring(SHAPE, limit=3, pin_memory=True)
    addresses = [ring.take().ctypes.data for _ in range(3)]
    assert len(set(addresses)) == 3
    assert ring.take().ctypes.data == addresses[0]
    assert sum(event.waited for event in gpu) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_copies_to_a_gpu_are_not_overwritten():
    ring = Ring((1 << 24,), limit=2, pin_memory=True)
    copies = []
    for value in range(20):
        array = ring.take()
        array[:] = value
        tensor = torch.from_numpy(array)
        assert tensor.is_pinned()
        copies.append(tensor.to("cuda", non_blocking=True))
        del array, tensor
    assert [(int(copy.min()), int(copy.max())) for copy in copies] == [(value, value) for value in range(20)]
