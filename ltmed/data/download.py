"""Files fetched over HTTP: continued after a stop, checked, unpacked."""

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
"""Connections that may break one after another without a byte received; each that brings some starts the count anew."""
_LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)

Advance = Callable[[int, int | None], None]
"""`(bytes so far, bytes in all if known)`, called while a file comes in."""


@dataclass(frozen=True)
class Download:
    """One file of a data set that anybody may fetch without an account."""

    url: str
    md5: str | None = None
    """Of the file, where its publisher gives one."""

    @property
    def name(self) -> str:
        """The file's name."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2])


def download(item: Download, folder: Path, advance: Advance, *, wait: float = 1.0) -> Path:
    """Fetches one file into `folder`, or finds it there; an unfinished `NAME.part` is continued.

    Args:
        item: what to fetch.
        folder: made if needed.
        advance: called with the progress.
        wait: seconds before the second attempt after a broken connection; doubled for each further one.

    Returns:
        the path of the complete file, checked where a checksum is known.

    Raises:
        UserError: no connection, a refusal by the server, a wrong checksum, a disk that is full.
    """
    done, part = folder / item.name, folder / f"{item.name}.part"
    if done.exists():
        _check(item, done)
        return done
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
                f"{item.url}: the server says {error.code} {error.reason}", _by_hand(item, folder)
            ) from None
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in _LOCAL:
                raise UserError(f"{part} cannot be written: {error}", "Choose another --root, or make room.") from None
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            failures = 0 if part.exists() and part.stat().st_size > before else failures + 1
            if failures == _ATTEMPTS:
                kept = "What came in is kept; the same command continues." if part.exists() else ""
                raise UserError(
                    f"{item.url} cannot be reached: {reason}", f"{kept} {_by_hand(item, folder)}".strip()
                ) from None
            time.sleep(wait * 2**failures if failures else 0)
    _check(item, part)
    part.replace(done)
    return done


def unpack(archive: Path, folder: Path) -> int:
    """Unpacks a zip into `folder`, leaving out what is there already in the same size.

    Returns:
        the number of files written.

    Raises:
        UserError: a damaged archive, or a disk with too little room.
    """
    written = 0
    try:
        with zipfile.ZipFile(archive) as opened:
            missing = [entry for entry in opened.infolist() if not entry.is_dir() and not _is_there(folder, entry)]
            _require_room(sum(entry.file_size for entry in missing), folder, f"the files of {archive.name}")
            for entry in missing:
                opened.extract(entry, folder)
                written += 1
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{archive} is damaged: {error}", "Remove it and run the same command again.") from None
    return written


def _is_there(folder: Path, entry: zipfile.ZipInfo) -> bool:
    path = folder / entry.filename
    return path.is_file() and path.stat().st_size == entry.file_size


def _continue(item: Download, part: Path, advance: Advance) -> None:
    """Appends what is missing to `part`; a server that cannot continue sends everything again."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "ltmed", "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(urllib.request.Request(item.url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # Nothing is missing: it was stopped between the last byte and the new name.
        if error.code == 416:
            part.unlink()
            _continue(item, part, advance)
            return
        raise
    with answer:
        have = have if answer.status == 206 else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        if total:
            _require_room(total - have, part.parent, item.name)
        with part.open("ab" if have else "wb") as out:
            advance(have, total)
            while chunk := answer.read(_CHUNK):
                out.write(chunk)
                have += len(chunk)
                advance(have, total)
    if total and have < total:
        raise http.client.IncompleteRead(b"", total - have)


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


def _by_hand(item: Download, folder: Path) -> str:
    return f"Or fetch it elsewhere and put it into {folder}."
