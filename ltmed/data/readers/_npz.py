"""Unpacks MedMNIST archives once into a folder of PNG files, atomically and safely for several processes."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import cv2
import numpy as np

from ltmed.data.threads import usable_cores
from ltmed.errors import UserError
from ltmed.utils.files import locked

PARTS = ("train", "val", "test")
MANIFEST, META = "manifest.csv", "npz.json"
_BATCH = 1024
_AGAIN = "Download it again."


def extract(npz: Path, folder: Path, *, n_labels: int = 0) -> Path:
    """Unpacks `npz` into `folder` if necessary; returns the `manifest.csv` (image, label, part) there.

    Images are processed in batches, so that memory does not grow with the archive. They are written to a temporary
    folder, which is renamed at the end, so that a killed process leaves no incomplete data set. Afterwards the archive
    may be removed.

    Args:
        npz: `{train,val,test}_images`, uint8 `[N, H, W]` or `[N, H, W, 3]`, and `{train,val,test}_labels`, integers
            `[N, 1]` or `[N]`; of a set with several labels per image 0 or 1 `[N, several]`.
        folder: of this archive alone.
        n_labels: labels of a multi-label set, whose column `label` has those that are present, joined by `|`; 0 for one
            class per image.

    Raises:
        UserError: a damaged archive, arrays of another kind (another number of labels per image, volumes), a folder
            that came from another archive or cannot be written.
    """
    table = folder / MANIFEST
    if table.is_file() and not npz.is_file():
        return table
    contents = _fingerprint(npz)
    try:
        if not table.is_file():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with locked(folder.with_name(f".{folder.name}.lock")):
                if not table.is_file():
                    _extract_new(npz, folder, contents, n_labels)
        if json.loads((folder / META).read_text())["contents"] != contents:
            raise UserError(
                f"{folder} was made from another archive than {npz}", f"Remove {folder} to unpack the archive again."
            )
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{npz} is damaged: {error}", _AGAIN) from None
    except OSError as error:
        message = f"{npz} cannot be unpacked into {folder}: {error.strerror or error}"
        raise UserError(message, "Make room there, or choose another folder with dataset.extract_to.") from error
    return table


def _fingerprint(npz: Path) -> str:
    """A hash of the checksums stored in the archive, which avoids reading its content."""
    try:
        with zipfile.ZipFile(npz) as archive:
            entries = sorted((item.filename, item.CRC, item.file_size) for item in archive.infolist())
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{npz} cannot be opened as an npz archive: {error}", _AGAIN) from None
    return hashlib.blake2b(json.dumps(entries).encode(), digest_size=8).hexdigest()


def _extract_new(npz: Path, folder: Path, contents: str, n_labels: int) -> None:
    if folder.exists():
        raise UserError(f"{folder} is in use for something else: it has no {MANIFEST}", "Remove it, or rename it.")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with (
            zipfile.ZipFile(npz) as archive,
            ThreadPoolExecutor(usable_cores()) as pool,
        ):
            labels = {part: _labels(archive, npz, part, n_labels) for part in PARTS}
            rows = []
            for part in PARTS:
                (partial / part).mkdir(parents=True)
                names = [f"{part}/{part}_{number:06d}.png" for number in range(len(labels[part]))]
                done = 0
                for images in _images(archive, npz, part, len(names)):
                    list(pool.map(_write, [partial / name for name in names[done : done + len(images)]], images))
                    done += len(images)
                rows += [(name, label, part) for name, label in zip(names, labels[part], strict=True)]
        with (partial / MANIFEST).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("image", "label", "part"))
            writer.writerows(sorted(rows))
        (partial / META).write_text(json.dumps({"npz": npz.name, "contents": contents}) + "\n")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _labels(archive: zipfile.ZipFile, npz: Path, part: str, n_labels: int) -> list[str]:
    """The label of each image; of several those that are present, joined by `|`."""
    key = f"{part}_labels"
    with _member(archive, npz, key) as stream:
        shape, kind = _header(stream, npz, key)
        width = shape[1] if len(shape) == 2 else 1
        if n_labels and (width != n_labels or kind.kind not in "iu"):
            raise UserError(f"{npz}: {key} is {kind} {list(shape)}, not 0 or 1 for {n_labels} labels", _AGAIN)
        if width > 1 and not n_labels:
            raise UserError(
                f"{npz} has {width} labels per image ({key} is {list(shape)}): it is a multi-label set",
                "Only sets with one class per image can be used; dataset=chestmnist reads ChestMNIST.",
            )
        if kind.kind not in "iu" or len(shape) not in (1, 2):
            raise UserError(f"{npz}: {key} is {kind} {list(shape)}, not one integer per image", _AGAIN)
        labels = np.frombuffer(stream.read(), kind)
    if len(labels) != shape[0] * width or not len(labels) or labels.min() < 0 or (n_labels and labels.max() > 1):
        wrong = "empty, truncated or negative" if not n_labels else "empty, truncated or not 0 and 1"
        raise UserError(f"{npz}: {key} is {wrong}", _AGAIN)
    if n_labels:
        return ["|".join(map(str, np.flatnonzero(row))) for row in labels.reshape(-1, n_labels)]
    return [str(label) for label in labels]


def _images(archive: zipfile.ZipFile, npz: Path, part: str, number: int) -> Iterator[np.ndarray]:
    """Pieces of uint8 `[n, H, W]` or `[n, H, W, 3]`, `number` images in all."""
    key = f"{part}_images"
    with _member(archive, npz, key) as stream:
        shape, kind = _header(stream, npz, key)
        if len(shape) == 4 and shape[3] not in (1, 3):
            raise UserError(f"{npz} holds volumes ({key} is {list(shape)})", "Only sets of images can be used.")
        if kind != np.uint8 or len(shape) not in (3, 4) or shape[0] != number:
            message = f"{npz}: {key} is {kind} {list(shape)}, not {number} images of uint8"
            raise UserError(message, _AGAIN)
        for start in range(0, number, _BATCH):
            size = min(_BATCH, number - start)
            data = stream.read(size * int(np.prod(shape[1:])))
            if len(data) < size * int(np.prod(shape[1:])):
                raise UserError(f"{npz}: {key} is truncated", _AGAIN)
            yield np.frombuffer(data, np.uint8).reshape(size, *shape[1:])


def _member(archive: zipfile.ZipFile, npz: Path, key: str) -> IO[bytes]:
    try:
        return archive.open(f"{key}.npy")
    except KeyError:
        have = ", ".join(sorted(name.removesuffix(".npy") for name in archive.namelist()))
        raise UserError(f"{npz} has no array {key}, only {have}", "It is no MedMNIST archive.") from None


def _header(stream: IO[bytes], npz: Path, key: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the array that begins in `stream`."""
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, kind = read_header(stream)
    except ValueError as error:
        raise UserError(f"{npz}: {key} is no NumPy array: {error}", _AGAIN) from None
    if fortran_order and sum(side > 1 for side in shape) > 1:
        raise UserError(f"{npz}: {key} is stored by columns", "Save it with numpy.ascontiguousarray.")
    return shape, kind


def _write(path: Path, image: np.ndarray) -> None:
    coloured = image.ndim == 3 and image.shape[2] == 3
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if coloured else image)
    path.write_bytes(encoded.tobytes())
