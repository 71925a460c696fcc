"""Cache of decoded images: a memory-mapped file of raw pixels, or JPEGs above a size budget.

`folder/<data set>-<key>/` holds the files of `ltmed.data.cache.store` and `meta.json`. The key is a hash of the names,
sizes and modification times of all image files and of the decoding and storage options: a change of any leads to
another folder. Content is not read, so that a file that is replaced by one of equal size and time is not noticed. Times
of changes of the inode would show it, but they differ between copies of a data set, which share a cache. A folder is
created atomically: it is written under a temporary name and then renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path

import numpy as np

from ltmed.data.cache.build import decode_all, read_square, silent_opencv
from ltmed.data.cache.decode import FITS, INTERPOLATIONS, Decoding
from ltmed.data.cache.intensity import AUTO, Intensity
from ltmed.data.cache.store import JPEG, RAW, Pixels, Store
from ltmed.data.manifest import Manifest
from ltmed.errors import UserError, suggest
from ltmed.utils.files import locked, sync_folder

FORMAT = 2
"""Version of the decoding; must be increased by every change of pixels."""
TIFF_FORMAT = 2
"""Likewise, of data sets with TIFF files alone."""

BUDGET_GB = 20.0
"""Default budget of raw pixels, in units of 10^9 bytes."""

META = "meta.json"
_SPARE = 1 << 20
_MAX_LISTED = 20
_MOVE = "Choose another folder with cache_dir=/path/to/folder (or the environment variable LTMED_CACHE_DIR)."


@dataclass(frozen=True)
class ImageCache:
    """N decoded images of one manifest, in its order."""

    pixels: Pixels
    """`pixels[row]` is uint8 [S, S, 3], RGB, read only."""
    bad: list[tuple[int, str]] = field(default_factory=list)
    """(row, reason) of the images that cannot be read; their pixels are zeros."""
    name: str = ""
    """Name of its folder, which depends on name, size and time of every file and on the decoding options."""
    store: Store = RAW
    """How the pixels are stored."""


def open_cache(
    manifest: Manifest,
    size: int,
    folder: str | Path,
    *,
    fit: str = "squash",
    interpolation: str = "bilinear",
    intensity: Intensity = AUTO,
    on_bad_image: str = "error",
    budget_gb: float = BUDGET_GB,
    threads: int | None = None,
    progress: bool | None = None,
) -> ImageCache:
    """Opens the cache of `manifest`, after decoding all its images if necessary.

    May be called by several processes at once: one decodes, the others wait and use the result. A process that is
    killed leaves only a temporary folder, which the next build removes. A complete cache is opened without writing, so
    that a cache on a read-only disk can be shared.

    Args:
        manifest: N images.
        size: S, side of the cached squares in pixels.
        folder: of the caches; created if needed.
        fit: `squash` or `crop`, see `ltmed.data.cache.decode.decode_square`.
        interpolation: `bilinear` or `bicubic`, likewise.
        intensity: scaling of images of more than eight bits, see `ltmed.data.cache.intensity`.
        on_bad_image: `error` stops when images cannot be read; `skip` warns and lists them in `ImageCache.bad`.
        budget_gb: gigabytes (10^9 bytes) of raw pixels above which JPEGs are stored instead; 0: always.
        threads: decoding threads; None takes one per usable core.
        progress: see `ltmed.utils.progress.bar`.

    Raises:
        UserError: images cannot be read (all of them are listed), the disk is full, the folder cannot be written, or
            an argument has an unknown value.
    """
    _require("fit", fit, FITS)
    _require("interpolation", interpolation, INTERPOLATIONS)
    _require("on_bad_image", on_bad_image, ("error", "skip"))
    if not isinstance(budget_gb, int | float) or not budget_gb >= 0:
        raise UserError(f"dataset.cache_budget_gb={budget_gb} is no amount", "Give a number of gigabytes, 0 or more.")
    folder = Path(folder).expanduser()
    shape = (len(manifest), size, size, 3)
    store = RAW if RAW.room(shape) <= budget_gb * 1e9 else JPEG
    how = Decoding(fit, interpolation, intensity)
    path = folder / f"{manifest.name}-{_key(manifest, size, how, store)}"
    cache = _open(path, shape, store)
    if cache is None or _recovered(cache, manifest, size, how):
        with _writing(folder, store.room(shape)):
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(path):
                cache = _open(path, shape, store)
                if cache is None or _recovered(cache, manifest, size, how):
                    _build(manifest, path, shape, store, how=how, threads=threads, progress=progress)
                    cache = _open(path, shape, store)
    assert cache is not None
    _report(cache, manifest, path, on_bad_image)
    return cache


def _require(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"dataset.{name}={value} is not known", suggest(value, allowed))


def _key(manifest: Manifest, size: int, how: Decoding, store: Store) -> str:
    """16 hex digits that depend on name, size and time of every file and on decoding, not on where the data set is."""
    settings = [FORMAT, size, *how.key_parts, *([store.key_part] if store.key_part else [])]
    if any(image.lower().endswith((".tif", ".tiff")) for image in manifest.images):
        settings.append(TIFF_FORMAT)
    digest = hashlib.blake2b(json.dumps(settings).encode(), digest_size=8)
    root = str(manifest.root)
    for image in manifest.images:
        try:
            status = os.stat(os.path.join(root, image))
            stamp = status.st_size, status.st_mtime_ns
        except OSError:
            stamp = -1, -1
        digest.update(f"\n{image}\0{stamp[0]}\0{stamp[1]}".encode())
    return digest.hexdigest()


def _open(path: Path, shape: tuple[int, ...], store: Store) -> ImageCache | None:
    """The complete cache at `path`, or None."""
    try:
        meta = json.loads((path / META).read_text())
        if tuple(meta["shape"]) != shape or (pixels := store.open(path, shape)) is None:
            return None
        bad = [(int(row), str(reason)) for row, reason in meta["bad"]]
        return ImageCache(pixels, bad, path.name, store)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _recovered(cache: ImageCache, manifest: Manifest, size: int, how: Decoding) -> bool:
    """Whether an image that could not be read can be read now, though its file did not change.

    That does not depend on the file alone: on permissions and mounts, and on the versions, codecs and limits of OpenCV
    and pydicom, which the message of the error may have said to change.
    """
    with silent_opencv():
        return any(isinstance(read_square(manifest, row, size, how), np.ndarray) for row, _ in cache.bad)


def _build(
    manifest: Manifest,
    path: Path,
    shape: tuple[int, ...],
    store: Store,
    *,
    how: Decoding,
    threads: int | None,
    progress: bool | None,
) -> None:
    """Decodes all images into `path`. The caller must hold the lock."""
    temporary = _temporary(path)
    _remove_leftovers(path.parent)
    shutil.rmtree(temporary, ignore_errors=True)
    if path.exists():
        if _open(path, shape, store) is None:
            warnings.warn(f"the image cache {path} is damaged and is built again", stacklevel=2)
        shutil.rmtree(path)
    needed, free = store.room(shape) + _SPARE, shutil.disk_usage(path.parent).free
    if free < needed:
        raise UserError(
            f"The image cache of '{manifest.name}' needs {_format_bytes(needed)} in {path.parent}, where "
            f"{_format_bytes(free)} "
            "are free",
            f"Make room there, lower dataset.image_size, or choose another folder. {_MOVE}",
        )
    temporary.mkdir()
    try:
        with store.writing(temporary, shape) as sink:
            bad = decode_all(manifest, shape[1], sink, how=how, threads=threads, progress=progress)
        meta = {"format": FORMAT, "root": str(manifest.root), "shape": shape, **how._asdict(), "bad": bad}
        meta["intensity"] = how.intensity.option
        with (temporary / META).open("w") as file:
            json.dump(meta, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(temporary)
        temporary.rename(path)
        sync_folder(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _report(cache: ImageCache, manifest: Manifest, path: Path, on_bad_image: str) -> None:
    if not cache.bad:
        return
    count = f"{len(cache.bad)} of {len(manifest)} images of '{manifest.name}' in {manifest.root} cannot be read"
    lines = [f"  {manifest.images[row]}: {reason}" for row, reason in cache.bad[:_MAX_LISTED]]
    if len(cache.bad) > _MAX_LISTED:
        lines.append(f"  ... and {len(cache.bad) - _MAX_LISTED} more, all in {path / META}")
    if on_bad_image == "error":
        hint = "Repair or fetch them again, or leave them out with dataset.on_bad_image=skip:"
        raise UserError(count, "\n".join([hint, *lines]))
    warnings.warn("\n".join([f"{count} and are left out:", *lines]), stacklevel=3)


@contextmanager
def _writing(folder: Path, needed: int) -> Iterator[None]:
    """Turns errors of the disk into UserError."""
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT, EFBIG):
            raise UserError(
                f"The disk of {folder} became full while the image cache ({_format_bytes(needed)}) was written; "
                "what was written is removed",
                f"Make room there, or choose another folder. {_MOVE}",
            ) from error
        raise UserError(f"The image cache cannot be written in {folder}: {error.strerror or error}", _MOVE) from error


def _locked(path: Path, *, wait: bool = True) -> AbstractContextManager[bool]:
    """The lock of the cache at `path`."""

    def waiting() -> None:
        print(f"Another process is decoding {path.name}; waiting for it.", file=sys.stderr, flush=True)

    return locked(path.with_name(f".{path.name}.lock"), wait=wait, busy=waiting)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _remove_leftovers(folder: Path) -> None:
    """Removes the temporary folders of killed builds of other caches: those that no process has locked."""
    for part in folder.glob(".*.part"):
        with suppress(OSError), _locked(folder / part.name[1 : -len(".part")], wait=False):
            shutil.rmtree(part, ignore_errors=True)


def _format_bytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
