"""All files below a folder, with robust handling of names and links, and detection of images."""

from __future__ import annotations

import fnmatch
import os
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ltmed.data.readers._text import many
from ltmed.errors import UserError

DICOM = (".dcm", ".dicom", ".ima")
EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"),
    *(".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", *DICOM),
)
"""How the names of image files end, in any case. DICOM files often end in nothing: see `images_among`."""

_INVISIBLE: dict[int, None] = dict.fromkeys((0x00AD, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF))
"""Soft hyphen, zero width space, marks of direction, word joiner, byte order mark; not joiners of letters."""
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar")
"""Lower-case extensions of archives that may contain images."""

_LONGEST_HEADER = 132
_HEADERS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"GIF8")
_SYSTEM_FILES = ("thumbs.db", "desktop.ini", "ehthumbs.db")


def walk(root: Path, *, once: bool = True) -> Iterator[str]:
    """Paths of all files under `root`, relative to it, with '/', in sorted order.

    Follows links to folders; leaves out hidden files and folders and `__MACOSX`. A broken or circular link
    counts as a file: it is reported as unreadable when it is opened, and not skipped silently.

    Args:
        root: the folder.
        once: lists a folder that several links lead to once; False lists it in each of its places, but for a link to
            a folder that it lies in.

    Raises:
        UserError: a folder cannot be read, or the name of an image is not UTF-8 and could not be written into results.
    """
    seen: set[tuple[int, int]] = set()

    def below(folder: str, prefix: str) -> Iterator[str]:
        try:
            state = os.stat(folder)
            key = state.st_dev, state.st_ino
            if key in seen:
                return
            seen.add(key)
            with os.scandir(folder) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".") and entry.name != "__MACOSX"]
        except OSError as error:
            raise UserError(f"{folder} cannot be read: {error.strerror or error}", "Check its permissions.") from None
        for entry in sorted(visible, key=lambda entry: entry.name):
            if _leads_to_folder(entry):
                yield from below(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_symlink() or entry.is_file():
                if not entry.path.isascii():
                    _require_utf8(entry)
                yield prefix + entry.name
        if not once:
            seen.discard(key)

    yield from below(str(root), "")


def is_image_name(path: str) -> bool:
    """Whether a file name ends like that of an image."""
    return path.lower().endswith(EXTENSIONS)


def lacks_extension(path: str) -> bool:
    """Whether a file name has no extension, or one that is a part of a DICOM identifier (`1.2.840.10008`)."""
    extension = os.path.splitext(path)[1]
    return not extension or extension[1:].isdigit()


def images_among(root: Path, paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """Divides files below `root` into images and others.

    Files without an extension are opened: they are images if they begin like one. System files
    (Thumbs.db) are in neither list.

    Returns:
        the paths of the images and those of the other files, each in the given order.
    """
    images, others = [], []
    for path in paths:
        if is_image_name(path) or (lacks_extension(path) and _begins_like_an_image(root / path)):
            images.append(path)
        elif path.rpartition("/")[2].lower() not in _SYSTEM_FILES:
            others.append(path)
    return images, others


def composed(text: str) -> str:
    """`text` in Unicode's composed form (NFC), without characters that have no width.

    macOS writes an umlaut in file names as two characters; web pages and Office add invisible characters.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text.translate(_INVISIBLE))


def fits(path: str, include: Sequence[str]) -> bool:
    """Whether a path fits one of the patterns, in which `*` also stands for several folders."""
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in include)


def patterns(include: str | Sequence[str] | None) -> tuple[str, ...]:
    """`dataset.include` as a list."""
    return (include,) if isinstance(include, str) else tuple(map(str, include or ()))


def refuse_links_to_one_file(name: str, root: Path, images: Sequence[str], labels: Sequence[str]) -> None:
    """Refuses one file that is an image of two classes, by links; warns of the number of further links to one file.

    Args:
        name: the data set, for messages.
        root: what the paths are relative to.
        images: N paths.
        labels: N classes, or sets of labels as text.

    Raises:
        UserError: names the two images.
    """
    paths = [os.path.join(root, image) for image in images]  # Much faster than `root / image`.
    if not any(map(os.path.islink, paths)):
        return
    first: dict[str, int] = {}
    again = 0
    for row, image in enumerate(images):
        before = first.setdefault(os.path.realpath(paths[row]), row)
        again += before != row
        if labels[before] != labels[row]:
            raise UserError(
                f"{root}: {images[before]} ({labels[before]}) and {image} ({labels[row]}) are one file, by a link",
                "Remove one of them; dataset.include=PATTERN leaves files out.",
            )
    if again:
        warnings.warn(f"{name}: {many(again, 'image')} the same file as another one, by links", stacklevel=4)


def _begins_like_an_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_LONGEST_HEADER)
    except OSError:
        return False
    webp, bitmap = head[:4] == b"RIFF" and head[8:12] == b"WEBP", head[:2] == b"BM" and head[6:10] == bytes(4)
    return head.startswith(_HEADERS) or head[128:] == b"DICM" or webp or bitmap


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself.
        return False


def _require_utf8(entry: os.DirEntry[str]) -> None:
    if is_image_name(entry.name) and entry.path.encode(errors="replace") != os.fsencode(entry.path):
        raise UserError(
            f"The file name {os.fsencode(entry.path)!r} is not UTF-8", "Rename it, for example with convmv -t utf8."
        )
