"""Downloads over HTTP: resumed after an interruption, verified, unpacked."""

from __future__ import annotations

import errno
import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ltmed.errors import UserError

_CHUNK = 1 << 20
_TIMEOUT = 30.0
_ATTEMPTS = 5
"""Consecutive connections that may fail without receiving a byte; received bytes reset the count."""
_LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)

Advance = Callable[[int, int | None], None]
"""`(bytes so far, total bytes if known)`, called during a download."""


@dataclass(frozen=True)
class Download:
    """One file of a data set that can be downloaded without an account."""

    url: str
    md5: str | None = None
    """Checksum of the file, where its publisher provides one."""

    @property
    def name(self) -> str:
        """The file's name."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2])


def download(item: Download, folder: Path, advance: Advance, *, wait: float = 1.0) -> Path:
    """Downloads one file into `folder` unless it exists; an unfinished `NAME.part` of the same file is resumed.

    The server decides whether it is, by the version (`NAME.part.version`) that it gave with the first bytes. Where it
    gave none, only a file with a checksum is resumed.

    Args:
        item: the file.
        folder: created if needed.
        advance: called with the progress.
        wait: seconds before the second attempt after a broken connection; doubled for each further one.

    Returns:
        the path of the complete file, verified where a checksum is known.

    Raises:
        UserError: no connection, an error of the server, a wrong checksum, a full disk.
    """
    complete, part = folder / item.name, folder / f"{item.name}.part"
    if complete.exists():
        _check(item, complete)
        return complete
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}", "Choose another --root.") from None
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _continue(item, part, advance)
            break
        except urllib.error.HTTPError as error:
            raise UserError(
                f"{item.url}: the server says {error.code} {error.reason}", _manual_hint(item, folder)
            ) from None
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in _LOCAL:
                raise UserError(f"{part} cannot be written: {error}", "Choose another --root, or make room.") from None
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            failures = 0 if part.exists() and part.stat().st_size > before else failures + 1
            if failures == _ATTEMPTS:
                progress = "The received part is saved; the same command resumes." if _offset(item, part) else ""
                raise UserError(
                    f"{item.url} cannot be reached: {reason}", f"{progress} {_manual_hint(item, folder)}".strip()
                ) from None
            time.sleep(wait * 2**failures if failures else 0)
    _version(part).unlink(missing_ok=True)
    _check(item, part)
    part.replace(complete)
    return complete


def unpack(archive: Path, folder: Path) -> int:
    """Unpacks a zip into `folder`, except files that exist with the same size.

    Returns:
        the number of files written.

    Raises:
        UserError: a damaged archive, or too little disk space.
    """
    written = 0
    try:
        with zipfile.ZipFile(archive) as opened:
            missing = [entry for entry in opened.infolist() if not entry.is_dir() and not _is_unpacked(folder, entry)]
            _require_room(sum(entry.file_size for entry in missing), folder, f"the files of {archive.name}")
            for entry in missing:
                opened.extract(entry, folder)
                written += 1
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{archive} is damaged: {error}", "Remove it and run the same command again.") from None
    return written


def _is_unpacked(folder: Path, entry: zipfile.ZipInfo) -> bool:
    path = folder / entry.filename
    return path.is_file() and path.stat().st_size == entry.file_size


def _version(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _offset(item: Download, part: Path) -> int:
    """Bytes of `part` that a download goes on from: 0 where it may be of another file than the server's."""
    known = item.md5 or (_version(part).exists() and _version(part).read_text())
    return part.stat().st_size if part.exists() and known else 0


def _continue(item: Download, part: Path, advance: Advance) -> None:
    """Appends the missing bytes to `part`; a server without range requests, or with another file, sends all of it."""
    version = _version(part).read_text() if _version(part).exists() else ""
    offset = _offset(item, part)
    headers = {"User-Agent": "ltmed", "Accept-Encoding": "identity"}
    if offset:
        headers |= {"Range": f"bytes={offset}-"} | ({"If-Range": version} if version else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(item.url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and offset and error.headers.get("Content-Range") == f"bytes */{offset}":
            return  # The file is complete: the process was stopped before the rename.
        if error.code == 416 and offset:
            part.unlink()
            _continue(item, part, advance)
            return
        raise
    with response:
        offset = offset if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = offset + int(length) if length else None
        if total:
            _require_room(total - offset, part.parent, item.name)
        with part.open("ab" if offset else "wb") as out:
            if not offset:  # Once the part is empty: a kill in between must not give earlier bytes this version.
                tag = response.headers.get("ETag", "")  # A weak one, W/"...", is not of the bytes.
                _version(part).write_text(tag if tag.startswith('"') else response.headers.get("Last-Modified", ""))
            advance(offset, total)
            while chunk := response.read(_CHUNK):
                out.write(chunk)
                offset += len(chunk)
                advance(offset, total)
    if total and offset < total:
        raise http.client.IncompleteRead(b"", total - offset)


def _check(item: Download, path: Path) -> None:
    if item.md5 is None:
        return
    with path.open("rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != item.md5:
        path.unlink()
        raise UserError(
            f"{item.name} has the checksum {digest.hexdigest()} instead of {item.md5}, and was removed",
            f"Fetch it again; if that does not help, {item.url} has changed.",
        )


def _require_room(needed: int, folder: Path, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{what} need{'' if what.startswith('the files') else 's'} {needed / 2**30:.1f} GiB in {folder}, where "
            f"{free / 2**30:.1f} GiB are free",
            "Make room there, or choose another --root.",
        )


def _manual_hint(item: Download, folder: Path) -> str:
    return f"Or fetch it elsewhere and put it into {folder}."
