"""Two ways to do the same work, timed in turn: what every benchmark of a kernel shares."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

Work = Callable[[], Sequence[Tensor]]
"""Does the work once and returns what must be equal: the loss, its gradients."""


def compare(name: str, ours: Work, theirs: Work, rounds: int, goal: float, repeat: tuple[int, int] = (20, 20)) -> None:
    """Prints the median ratio of interleaved rounds, and how far apart the two results are if there are any.

    Args:
        name: of the kernel and its size.
        ours: the implementation of this project.
        theirs: the straightforward one.
        rounds: of both, after one to warm up.
        goal: lowest ratio.
        repeat: how often ours and theirs are done in a round.
    """
    pairs, actual, expected = [], [], []
    for turn in range(rounds + 1):
        slow, expected = _seconds(theirs, repeat[1])
        fast, actual = _seconds(ours, repeat[0])
        if turn:
            pairs.append((fast, slow))
    fast, slow = (1e6 * statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(theirs / ours for ours, theirs in pairs)
    differences = [float((a - b).norm() / b.norm().clamp_min(1e-30)) for a, b in zip(actual, expected, strict=True)]
    print(
        f"B6 {name}: ours {fast:.0f} us, reference {slow:.0f} us, ratio {ratio:.2f} (goal >= {goal:g} "
        f"{'met' if ratio >= goal else 'MISSED'})"
        + (f"; relative difference of results {max(differences):.1e}" if differences else ""),
        flush=True,
    )


def loss_and_gradients(loss: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Work:
    """The work of one forward and one backward pass of `loss(*inputs)`."""
    expected = [tensor for tensor in inputs if tensor.requires_grad]

    def work() -> list[Tensor]:
        value = loss(*inputs)
        return [value.detach(), *torch.autograd.grad(value, expected)]

    return work


def in_a_fresh_process(function: Callable[..., float], *arguments: object) -> float:
    """What `function` returns in a new process, whose memory nothing has used and given back before."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def extra_memory(work: Callable[[], object]) -> float:
    """MiB by which the highest memory use of this process during `work` exceeds the one before it (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # Begins the high-water mark anew.
    before = memory("VmRSS")
    work()
    return (memory("VmHWM") - before) / 1024


def memory(field: str) -> int:
    """KiB of one kind of this process's memory, as /proc/self/status calls it: VmRSS, VmHWM, RssAnon (Linux)."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])


def _seconds(work: Work, repeat: int) -> tuple[float, Sequence[Tensor]]:
    started = time.perf_counter()
    for _ in range(repeat):
        result = work()
    return (time.perf_counter() - started) / repeat, result
