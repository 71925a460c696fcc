"""Files that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ltmed.errors import UserError


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """Gives a path beside `file` to write to; it takes the place of `file` at the end, or is removed if that is bad.

    Args:
        file: a path whose folder is made if needed; what is there stays until the new file is complete.

    Raises:
        UserError: it is a folder, or cannot be written.
    """
    partial = _partial(file)
    try:
        if file.is_dir():
            raise UserError(f"{file} is a folder", "Give the name of a file in it.")
        file.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(file)
    except OSError as error:
        raise _cannot(file, error) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def require_writable(file: Path) -> None:
    """Finds out, before the work is done, whether `whole_file` can write a file in a folder that exists.

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


def _partial(file: Path) -> Path:
    return file.with_name(f".{file.name}.partial")


def _cannot(file: Path, error: OSError) -> UserError:
    return UserError(f"{file} cannot be written: {error.strerror or error}", "Choose another --output.")
