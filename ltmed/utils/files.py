"""Files that appear whole or not at all, and the one lock between processes. Works on Linux, macOS and Windows."""

from __future__ import annotations

import errno
import importlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ltmed.errors import UserError

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
"""Errors of file systems without locks (some network file systems)."""
_POLL_SECONDS = 0.2


def read_json_map(file: Path) -> dict[str, Any] | None:
    """The map in a JSON file; None if there is no such file, or if it holds something else."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yields a path beside `file` to write to; at the end it takes the place of `file`, after an error it is removed.

    A reader, and a run that continues after a kill or a power cut, sees the whole old file or the whole new one.

    Args:
        file: in a folder that exists.

    Raises:
        OSError: it cannot be written; `filename` is `file`.
    """
    partial = _partial(file)
    try:
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(file)
        sync_folder(file.parent)
    except OSError as error:
        if error.errno is None or error.filename not in (None, partial, str(partial)):
            raise
        # A failed write names no file, and a failed rename the partial one: the message shall name the right disk.
        raise OSError(error.errno, error.strerror, str(file)) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def write_atomic(file: Path, text: str) -> None:
    """Writes a text file as `replacing` does.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(file) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """As `replacing`, for a file that the user named.

    Args:
        file: a path whose folder is made if needed.

    Raises:
        UserError: it is a folder, or cannot be written.
    """
    try:
        if file.is_dir():
            raise UserError(f"{file} is a folder", "Give the name of a file in it.")
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as partial:
            yield partial
    except OSError as error:
        raise _cannot(file, error) from error


def require_writable(file: Path) -> None:
    """Checks, before the work is done, that `whole_file` can write a file in a folder that exists.

    Raises:
        UserError: it cannot.
    """
    partial = _partial(file)
    try:
        if file.is_dir():
            raise UserError(f"{file} cannot be written: it is a folder", "Give the name of a file in it.")
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise _cannot(file, error) from error


@contextmanager
def locked(file: Path, *, wait: bool = True, busy: Callable[[], object] | None = None) -> Iterator[bool]:
    """Holds a lock between processes for the body. The operating system releases it however the process ends.

    Yields True; or False, after a warning, on a file system without locks, where the body runs unprotected.

    Args:
        file: the lock's own file, which holds nothing and stays; its folder must exist.
        wait: False raises `Timeout` where another process holds the lock.
        busy: called once before waiting for another process.

    Raises:
        filelock.Timeout: another process holds the lock and `wait` is False; a kind of OSError.
        OSError: the file cannot be made.
    """
    # Where the file cannot be created, filelock would retry for ever.
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    lock = FileLock(file, poll_interval=_POLL_SECONDS)
    try:
        _require_locks(descriptor)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise
            if busy is not None:
                busy()
            lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        warnings.warn(f"{file} cannot be locked ({error}): start no second process beside this one", stacklevel=3)
    try:
        yield lock.is_locked
    finally:
        lock.release()  # Does nothing where there is no lock.


def _require_locks(descriptor: int) -> None:
    """Closes the open lock file; raises OSError on a file system that has no locks at all (Lustre without `flock`).

    There filelock would take the existence of the file for the lock: it exists already, and would stay after a kill.
    """
    try:
        fcntl = importlib.import_module("fcntl")
    except ImportError:  # Windows.
        os.close(descriptor)
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # Changes nothing, and keeps no other process waiting.
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Makes new names in `folder` outlive a power cut; Windows does so by itself and opens no folders."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # Some network file systems cannot.
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _partial(file: Path) -> Path:
    return file.with_name(f".{file.name}.partial")


def _cannot(file: Path, error: OSError) -> UserError:
    return UserError(f"{file} cannot be written: {error.strerror or error}", "Choose another --output.")
