"""Progress of long work: a bar on a terminal, a line now and then in a log file or a pipe."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

EVERY_SECONDS = 20.0
"""Between two lines: a log file should show progress at least every half minute."""


def duration(seconds: float) -> str:
    """A rounded amount of time, for instance `45 s`, `12 min` or `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def time_left(elapsed: float, done: float, total: float) -> str:
    """`, about 12 min left`, if the rest goes on at the same speed; nothing before there is a speed.

    Args:
        elapsed: seconds that `done` took.
        done: amount of work.
        total: amount of work in all.
    """
    return f", about {duration(elapsed * (total - done) / done)} left" if 0 < done < total and elapsed > 0 else ""


@contextmanager
def heartbeat(
    describe: Callable[[], str], *, every: float = EVERY_SECONDS, to: TextIO | None = None
) -> Iterator[Callable[[], None]]:
    """Prints a line every few seconds while the body runs, from a thread, so that the body cannot delay it.

    Yields a function to call when the body has printed a line itself: the next one then waits its full time.

    Args:
        describe: gives the line.
        every: seconds.
        to: None is stderr.
    """
    ended, last = threading.Event(), [time.monotonic()]

    def beat() -> None:
        while not ended.wait(max(0.01, last[0] + every - time.monotonic())):
            if time.monotonic() >= last[0] + every:
                last[0] = time.monotonic()
                stream = to or sys.stderr
                stream.write(describe() + "\n")  # One call: the line stays whole beside those of the body.
                stream.flush()

    def printed() -> None:
        last[0] = time.monotonic()

    thread = threading.Thread(target=beat, name="ltmed-progress", daemon=True)
    thread.start()
    try:
        yield printed
    finally:
        ended.set()
        thread.join()


@contextmanager
def bar(title: str, total: int, show: bool | None = None) -> Iterator[Callable[[int], None]]:
    """Progress over `total` items on stderr; yields the function that advances it.

    Args:
        title: what is being done.
        total: number of items.
        show: True always shows a bar, None a bar on a terminal and lines elsewhere, False nothing.
    """
    if show is False:
        yield lambda count: None
    elif show or sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=Console(stderr=True), transient=sys.stderr.isatty()) as progress:
            task = progress.add_task(title, total=total)
            yield lambda count: progress.advance(task, count)
    else:
        done, started = 0, time.monotonic()

        def describe() -> str:
            return f"{title}: {done:,} of {total:,}{time_left(time.monotonic() - started, done, total)}"

        def advance(count: int) -> None:
            nonlocal done
            done += count

        with heartbeat(describe):
            yield advance
