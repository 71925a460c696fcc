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
    if file.is_dir():
        raise UserError(f"{file} is a folder", "Give the name of a file in it.")
    partial = file.with_name(f".{file.name}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(file)
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror or error}", "Choose another --output.") from error
    finally:
        with suppress(OSError):
            partial.unlink()
