"""What memory kept by the C library is worth: a training step and a forward pass on a CPU, with and without.

Two processes, since the setting cannot be taken back, work in turn on the same network, tf_efficientnet_lite0 with
random weights, at 112 px, batch 128, channels last, one thread: the defaults of a run on one core.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import timm
import torch

from ltmed.utils.allocator import keep_freed_memory

BATCH, SIDE, CLASSES, GOAL = 128, 112, 7, 1.2
_works: dict[str, Callable[[], object]] = {}


def prepare(keep: bool) -> None:
    """Makes both works in this process."""
    if keep:
        assert keep_freed_memory(), "another C library than glibc, or MALLOC_... in the environment"
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", num_classes=CLASSES).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    images = torch.rand(BATCH, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % CLASSES
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)

    def train() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network.train()(images), labels).backward()
        optimizer.step()

    def forward() -> None:
        with torch.inference_mode():
            network.eval()(images)

    _works.update({"training step": train, "forward pass": forward})


def seconds(name: str) -> float:
    """Of one of the works, in this process."""
    started = time.perf_counter()
    _works[name]()
    return time.perf_counter() - started


def main(rounds: int = 5) -> None:
    """Prints the ratio for both works."""
    context = multiprocessing.get_context("spawn")
    pools = [ProcessPoolExecutor(1, context, prepare, (keep,)) for keep in (False, True)]
    for name in ("training step", "forward pass"):
        turns = [[pool.submit(seconds, name).result() for pool in pools] for _ in range(rounds + 1)][1:]
        plain, retained = (statistics.median(column) for column in zip(*turns, strict=True))
        ratio = statistics.median(one / other for one, other in turns)
        print(
            f"allocator, {name}: {1e3 * plain / BATCH:.1f} ms an image, with kept memory {1e3 * retained / BATCH:.1f}, "
            f"ratio {ratio:.2f} (goal >= {GOAL:g})",
            flush=True,
        )
    for pool in pools:
        pool.shutdown()


if __name__ == "__main__":
    main()
