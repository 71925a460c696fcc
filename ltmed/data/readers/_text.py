"""Label files as text: decompressed, decoded, and cut into rows."""

from __future__ import annotations

import bz2
import csv
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from ltmed.errors import UserError

COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
SEPARATORS = ",;\t|"
SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)
"""The line that Excel puts above the header to say what separates cells."""

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_bytes(path: Path) -> bytes:
    """Content of a file; one that ends in `COMPRESSED` is decompressed.

    Raises:
        UserError: the file cannot be read or decompressed, or is an archive of several files.
    """
    try:
        data = path.read_bytes()
        suffix = path.suffix.lower()
        if suffix == ".gz":
            return gzip.decompress(data)
        if suffix == ".bz2":
            return bz2.decompress(data)
        if suffix == ".xz":
            return lzma.decompress(data)
        return _only_member(path, data) if suffix == ".zip" else data
    except (zlib.error, lzma.LZMAError, zipfile.BadZipFile, EOFError, gzip.BadGzipFile, ValueError) as error:
        raise UserError(f"{path} cannot be decompressed: {error}", "Get the file again.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}", "Check the path.") from None


def _only_member(path: Path, data: bytes) -> bytes:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
        if len(names) != 1:
            raise UserError(f"{path} holds {len(names)} files, not one table", "Unpack it.")
        return archive.read(names[0])


def decode_text(path: Path, data: bytes) -> str:
    """Text of a label file, without byte order mark; UTF-8, or UTF-16 with its mark (Excel's "Unicode text").

    Raises:
        UserError: the bytes are neither; the message names `path`.
    """
    try:
        return data.decode("utf-16" if data[:2] in _UTF16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start})", "Save it as UTF-8.") from None


def read_text(path: Path) -> str:
    """Content of a text file, without byte order mark.

    Raises:
        UserError: the file cannot be read or is not UTF-8 text.
    """
    return decode_text(path, read_bytes(path))


def separator_of(text: str) -> str:
    """The separator declared by `sep=`, or the most frequent of comma, semicolon, tab and bar in the first line."""
    if declared := SEPARATOR_LINE.fullmatch(re.split("[\r\n]", text[:100])[0]):
        return declared[1]
    first = next((line for line in re.split("\r\n|\r|\n", text[:1_000_000]) if line.strip(" \t,;|")), "")
    return max(SEPARATORS, key=re.sub('"[^"]*"', "", first).count)


def read_rows(path: Path) -> list[list[str]]:
    """Rows of a delimited text file, cells stripped and blank lines left out.

    The separator is that of `separator_of`. A byte order mark and any line ends are fine.

    Raises:
        UserError: the file is not UTF-8 text, or a quote in it is never closed.
    """
    return [row for _, row in numbered_rows(path, read_text(path))]


def numbered_rows(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """The rows in `text`, the content of `path`, each with the number of the line that it ends in."""
    lines = [*re.split("\r\n|\r|\n", text), ""]
    reader = csv.reader((line + "\n" for line in lines), delimiter=separator_of(text))
    rows, end = [], 0
    try:
        for row in reader:
            begin, end = end + 1, reader.line_num
            if begin == 1 and SEPARATOR_LINE.fullmatch(lines[0]):
                continue
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows.append((end, cells))
            if begin < end == len(lines):  # The empty line at the end became part of a cell.
                raise UserError(f"{path}, line {begin}: a quote is opened and never closed", "Correct that line.")
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}", "Correct that line.") from None
    return rows


def read_list(path: Path) -> list[tuple[str, int]]:
    """(image path, class number) from lines `path number`, without header; the path may hold spaces.

    Raises:
        UserError: a line has another form.
    """
    pairs = []
    for number, line in enumerate(re.split("\r\n|\r|\n", read_text(path)), start=1):
        if not line.strip():
            continue
        cells = line.rsplit(maxsplit=1)
        if len(cells) != 2 or not cells[1].isdecimal() or len(cells[1]) > 9:
            raise UserError(f"{path}, line {number}: '{line.strip()[:120]}' is not 'path number'", "Correct that line.")
        pairs.append((cells[0].strip(), int(cells[1])))
    return pairs


def shortened(names: Iterable[str], max_items: int = 5) -> str:
    """The first of some names, for a message: `'a', 'b', ...`."""
    listed = list(names)
    return ", ".join(f"'{name[:80]}'" for name in listed[:max_items]) + (", ..." if len(listed) > max_items else "")


def many(number: int, noun: str) -> str:
    """`1 image`, `1,200 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed_value(names: Iterable[str]) -> str:
    """Names as a list on the command line."""
    joined = ",".join(sorted(names)[:20])
    return f"[{joined}]" if re.fullmatch(r"[\w,.-]*", joined) else f"[{joined}] (with quotes around odd names)"


def path_value(path: Path) -> str:
    """A path as a value on the command line, for Hydra and a shell."""
    text = str(path)
    return text if re.fullmatch(r"[\w/.:~-]+", text) else f"\"'{text}'\""
