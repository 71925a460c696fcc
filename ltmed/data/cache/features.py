"""Cache of the features of a frozen encoder, computed once for all heads that are trained on it.

`cache_dir/features/<image cache>-<key>.npy` holds the features of all images of a data set under one view, [N, D], for
every split of it; `<key>.json` beside it has the content of the key. The key is a hash of the encoder's weights and
options, of the image cache (and so of every image file) and its unreadable images, of the view, of the normalisation
and of the number format: any change leads to another file. The computation itself (the code of an encoder, the version
of timm) is compared by its result: of every file, two images are computed again. A random view is cached as several
passes, each in a file. Files are created atomically, and opened without writing, so that they can be shared on a
read-only disk. `encoder-<weights>-<pixels>.pt` holds the weights, and the pixels that they expect; runs link to it.

Letters: N images of the data set, B of a batch, D width of the encoder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ltmed.data.augment import Augmentation
from ltmed.data.batch import normalise
from ltmed.data.cache.build import bar
from ltmed.data.cache.images import ImageCache
from ltmed.data.loading.loader import EvalLoader
from ltmed.errors import UserError
from ltmed.nn.pixels import RUN_KEY, Pixels
from ltmed.utils.allocator import keep_freed_memory
from ltmed.utils.files import locked, replacing
from ltmed.utils.seeding import derive

FORMAT = 1
"""Version of the computation; a change of the features must raise it."""
_TOLERANCE = 0.01
"""Relative difference of features on other devices and with other numbers of threads: below a thousandth."""
DTYPES = ("float32", "float16")
ENCODER = "encoder.pt"
"""File name of the weights of a run's frozen encoder."""


@dataclass(frozen=True)
class View:
    """One view of the images."""

    augment: Augmentation
    described: str
    """Its configuration as text, part of the key of its features."""


class FeatureCache:
    """The features of all images of one data set under any view.

    Args:
        encoder: in evaluation mode: normalised images `[B, 3, H, W] -> [B, D]`.
        options: further settings that determine its output (its name, the image size).
        mean: per channel, of pixels scaled to [0, 1].
        std: likewise.
        folder: of caches; created if needed.
        dtype: `float32`, or `float16` for half the disk.
        device: where the encoder computes.
        threads: for augmentation; None takes one per usable core.
    """

    def __init__(
        self,
        encoder: nn.Module,
        options: Mapping[str, Any],
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        folder: Path,
        dtype: str = "float32",
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        self.encoder, self.device, self.threads, self.dtype = encoder, torch.device(device), threads, dtype
        self.folder, self.mean, self.std = folder / "features", mean, std
        self.weights = digest(encoder)
        self._metadata = {
            "format": FORMAT, "weights": self.weights, "options": dict(options), "mean": list(mean), "std": list(std),
            "dtype": dtype,
        }  # fmt: skip
        self.images: ImageCache | None = None
        """Set once the images are decoded."""
        self._open: dict[Path, Tensor] = {}

    def get(self, view: View, number: int = 0) -> Tensor:
        """The features of every image `[N, D]`, computed if they are not cached; those of bad images are zeros.

        Args:
            view: of the images.
            number: the pass, for a random view.

        Raises:
            UserError: a feature is not finite, a file does not match its key, or the disk is full.
        """
        file, metadata = self._file(view, number)
        if file not in self._open:
            if not self._is_current(file, metadata, view, number):
                try:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    with locked(file.with_suffix(".lock")):
                        if not self._is_current(file, metadata, view, number):
                            self._compute(file, metadata, view, number)
                except OSError as error:
                    raise UserError(
                        f"{self.folder} cannot be written: {error.strerror or error}", "Choose another cache_dir."
                    ) from error
            self._open[file] = self._read(file, metadata)
        return self._open[file]

    def _is_current(self, file: Path, metadata: dict[str, Any], view: View, number: int) -> bool:
        """Whether the file exists and the encoder computes what it holds."""
        if not file.exists():
            return False
        rows = self._readable()[[0, -1]]
        stored = self._read(file, metadata)[rows].float().numpy()
        computed = np.concatenate([features for _, features in self._batches(rows, view, number)])
        norm = np.linalg.norm
        return bool((norm(computed - stored, axis=1) <= _TOLERANCE * norm(stored, axis=1)).all())

    def _file(self, view: View, number: int) -> tuple[Path, dict[str, Any]]:
        assert self.images is not None
        metadata = {
            **self._metadata, "images": self.images.name, "bad": [row for row, _ in self.images.bad],
            "view": view.described, "pass": number,
        }  # fmt: skip
        text = json.dumps(metadata, sort_keys=True)
        key = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        return self.folder / f"{self.images.name}-{key}.npy", metadata

    def _read(self, file: Path, metadata: dict[str, Any]) -> Tensor:
        """The memory-mapped file; raises UserError if it was computed with other settings."""
        assert self.images is not None
        try:
            stored = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
            features = np.load(file, mmap_mode="c")
        except (OSError, ValueError) as error:
            raise UserError(f"{file} is damaged ({error})", "Delete it; it will be computed again.") from error
        stale = sorted(key for key in {*stored, *metadata} if stored.get(key) != metadata.get(key))
        if stale or features.dtype != self.dtype or len(features) != self.images.pixels.shape[0]:
            raise UserError(
                f"{file} holds features of something else ({', '.join(stale) or 'another shape'})",
                "Delete it; it will be computed again.",
            )
        return torch.from_numpy(features)

    def _compute(self, file: Path, metadata: dict[str, Any], view: View, number: int) -> None:
        assert self.images is not None
        if file.exists():
            print(f"features: the encoder computes others than {file}, which is computed again", flush=True)
        started, rows = time.perf_counter(), self._readable()
        shape = self.images.pixels.shape[0], int(self.encoder.num_features)  # pyright: ignore[reportArgumentType]
        features = np.zeros(shape, self.dtype)
        with bar(f"features of {self.images.name}", len(rows), None) as advance:
            for indices, outputs in self._batches(rows, view, number):
                with np.errstate(over="ignore"):  # Overflow of float16 is refused below.
                    features[indices] = outputs
                advance(len(indices))
        _require_finite(features, self.dtype)
        with replacing(file.with_suffix(".json")) as partial:
            partial.write_text(json.dumps(metadata, indent=1), encoding="utf-8")
        with replacing(file) as partial, partial.open("wb") as opened:
            np.save(opened, features)
        print(f"features: {len(rows):,} images in {time.perf_counter() - started:.0f} s, cached in {file}", flush=True)

    def _readable(self) -> np.ndarray:
        """Rows of the images that can be read, in order."""
        assert self.images is not None
        bad = [row for row, _ in self.images.bad]
        return np.setdiff1d(np.arange(self.images.pixels.shape[0]), bad)

    @torch.inference_mode()
    def _batches(self, rows: np.ndarray, view: View, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(rows of a batch, their features float32 `[B, D]`)."""
        assert self.images is not None
        loader = EvalLoader(
            self.images, rows, np.zeros(len(rows), np.int64), view.augment, threads=self.threads,
            key=derive("features", view.described, number),  # Two views of an image have numbers of their own.
        )  # fmt: skip
        mean, std = (255 * torch.tensor(values, device=self.device) for values in (self.mean, self.std))
        if self.device.type == "cpu":
            keep_freed_memory()
        encoder = self.encoder.to(self.device)
        for batch in loader:
            outputs = encoder(normalise(batch.images.to(self.device), mean, std))
            yield batch.indices.numpy(), outputs.float().cpu().numpy()


def save_encoder(encoder: nn.Module, pixels: Pixels, cache_dir: Path, run_dir: Path) -> None:
    """Links a frozen encoder's weights into the folder of a run, so that all runs share one file if possible.

    Where `cache_dir` cannot be written, the run gets a file of its own.

    Args:
        encoder: the encoder, whose weights are not in the checkpoints.
        pixels: what the encoder expects, stored beside the weights as in a checkpoint.
        cache_dir: shared by all runs.
        run_dir: folder of the run; an earlier file in it is replaced.

    Raises:
        OSError: `run_dir` cannot be written.
    """
    described = asdict(pixels)
    key = hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=4).hexdigest()
    shared, target = cache_dir / "features" / f"encoder-{digest(encoder)}-{key}.pt", run_dir / ENCODER

    def save(file: Path) -> None:
        state = {key: value.cpu() for key, value in encoder.state_dict().items()}
        with replacing(file) as partial:
            torch.save({"state_dict": state, RUN_KEY: described}, partial)

    try:
        if not shared.exists():
            shared.parent.mkdir(parents=True, exist_ok=True)
            with locked(shared.with_suffix(".lock")):
                if not shared.exists():
                    save(shared)
    except OSError:
        save(target)
        return
    with suppress(FileNotFoundError):
        target.unlink()
    try:
        os.link(shared, target)
    except OSError:  # Another file system, or one without hard links.
        with replacing(target) as partial:
            shutil.copyfile(shared, partial)


def digest(encoder: nn.Module) -> str:
    """16 hex digits that depend on every weight of an encoder."""
    hasher = hashlib.blake2b(digest_size=8)
    for key, value in encoder.state_dict().items():
        hasher.update(f"{key} {value.dtype} {list(value.shape)}".encode())
        hasher.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def is_random(augment: Augmentation, side: int) -> bool:
    """Whether a view is random, so that it differs between epochs; for images of `side` pixels."""
    generator = _RecordingGenerator()
    size = augment.size or side
    augment(np.zeros((side, side, 3), np.uint8), generator, np.empty((size, size, 3), np.uint8))  # pyright: ignore
    return generator.used


class _RecordingGenerator:
    """A random generator that records whether it was used."""

    def __init__(self) -> None:
        self.used = False
        self._generator = np.random.default_rng(0)

    def __getattr__(self, name: str) -> Any:
        self.used = True
        return getattr(self._generator, name)


def _require_finite(features: np.ndarray, dtype: str) -> None:
    bad = np.flatnonzero(~np.isfinite(features).all(1))
    if not len(bad):
        return
    rows = ", ".join(map(str, bad[:5].tolist())) + (", ..." if len(bad) > 5 else "")
    raise UserError(
        f"The features of {len(bad)} images are NaN or infinite (rows {rows})",
        "Use features.dtype=float32." if dtype == "float16" else "Check the weights of the backbone.",
    )
