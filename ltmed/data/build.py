"""All images of a manifest, decoded by threads into one file."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ltmed.data.decode import BadImageError, decode_square
from ltmed.data.manifest import Manifest
from ltmed.data.threads import keep_opencv_sequential, usable_cores

UNREADABLE = "cannot be opened"
"""How the reason begins when the machine is to blame and not the content of the file."""

_CHUNK = 16


def read_square(manifest: Manifest, row: int, size: int, fit: str) -> np.ndarray | str:
    """The image of one row as a square, uint8 [size, size, 3] RGB, or in a few words why it cannot be read."""
    try:
        return decode_square((manifest.root / manifest.images[row]).read_bytes(), size, fit)
    except OSError as error:
        return f"{UNREADABLE}: {error.strerror or type(error).__name__}"
    except BadImageError as error:
        return str(error)


def write_pixels(
    manifest: Manifest, file: Path, shape: tuple[int, ...], fit: str, threads: int | None, progress: bool | None
) -> list[tuple[int, str]]:
    """Writes the squares of all N rows into the new `file`, safely on the disk when it returns.

    Args:
        manifest: N images.
        file: where to; written piecewise and not through a memory map, which would end the process without a word
            when the disk is full.
        shape: (N, S, S, 3).
        fit: see `decode_square`.
        threads: None takes one per usable core.
        progress: whether to show a progress bar; None shows one on a terminal.

    Returns:
        (row, reason) of the images that cannot be read, in row order; their pixels are zeros.

    Raises:
        OSError: the file cannot be written.
    """
    number, size = shape[0], shape[1]
    bad: list[tuple[int, str]] = []
    stop = threading.Event()
    keep_opencv_sequential()
    with file.open("wb") as out, silent_opencv():
        out.truncate(number * size * size * 3)

        def write(start: int) -> int:
            end = min(start + _CHUNK, number)
            for row in range(start, end):
                if stop.is_set():
                    break
                image = read_square(manifest, row, size, fit)
                if isinstance(image, str):
                    bad.append((row, image))
                else:
                    _write_all(out.fileno(), image.data.cast("B"), row * image.nbytes)
            return end - start

        pool = ThreadPoolExecutor(threads or usable_cores(), thread_name_prefix="ltmed-decode")
        try:
            tasks = [pool.submit(write, start) for start in range(0, number, _CHUNK)]
            with bar(f"decoding {manifest.name}", number, progress) as advance:
                for task in as_completed(tasks):
                    advance(task.result())
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
        os.fsync(out.fileno())
    return sorted(bad)


def _write_all(number: int, data: memoryview, offset: int) -> None:
    """Writes everything: a disk that becomes full takes a part and refuses only the next piece."""
    while data:
        written = os.pwrite(number, data, offset)
        data, offset = data[written:], offset + written


@contextmanager
def bar(title: str, total: int, wanted: bool | None):
    """A progress bar on stderr, or nothing; gives the function that advances it."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def silent_opencv() -> Iterator[None]:
    """Keeps OpenCV from writing lines about damaged files: they are listed together at the end."""
    logging: Any = getattr(cv2.utils, "logging", cv2)  # In OpenCV 4 they are in cv2 itself.
    level = logging.getLogLevel()
    logging.setLogLevel(0)
    try:
        yield
    finally:
        logging.setLogLevel(level)
