"""Features of a frozen encoder, computed once: what its images are to every head that is trained on it.

`cache_dir/features/<image cache>-<key>.npy` holds the features of all images of a data set under one view, [N, D], for
every split of it; `<key>.json` says beside it what the key was made from. The key is a hash of the encoder's weights
and options, of the image cache (so of every image file), of the view, of the normalisation and of the number format:
whatever changes leads to another file. A view that draws random numbers is kept as several passes, each a file. A file
appears complete or not at all. `encoder-<weights>.pt` holds the weights, which runs link to.

Letters: N images of the data set, B of a batch, D width of the encoder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
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
from ltmed.utils.allocator import keep_freed_memory
from ltmed.utils.files import locked, replacing
from ltmed.utils.seeding import derive

FORMAT = 1
"""Version of the computation; a change of the features must raise it."""
DTYPES = ("float32", "float16")
ENCODER = "encoder.pt"
"""Of a run: the weights of its frozen encoder."""


@dataclass(frozen=True)
class View:
    """One way to look at the images."""

    augment: Augmentation
    described: str
    """Its configuration as text, which its features are found by."""


class FeatureCache:
    """The features of all images of one data set under any view.

    Args:
        encoder: in evaluation mode: normalised images `[B, 3, H, W] -> [B, D]`.
        options: what else says what the encoder computes (its name, the image size).
        mean: per channel, of pixels scaled to [0, 1].
        std: likewise.
        folder: of caches; made if needed.
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
        self._about = {
            "format": FORMAT, "weights": self.weights, "options": dict(options), "mean": list(mean), "std": list(std),
            "dtype": dtype,
        }  # fmt: skip
        self.images: ImageCache | None = None
        """To be set once the images are decoded."""
        self._open: dict[Path, Tensor] = {}

    def get(self, view: View, number: int = 0) -> Tensor:
        """The features of every image `[N, D]`, computed if they are not there; those of bad images are zeros.

        Args:
            view: of the images.
            number: which pass, where the view draws random numbers.

        Raises:
            UserError: a feature is not finite, a file is not what its name says, or the disk is full.
        """
        file, about = self._file(view, number)
        if file not in self._open:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                with locked(file.with_suffix(".lock")):
                    if not file.exists():
                        self._compute(file, about, view, number)
            except OSError as error:
                raise UserError(
                    f"{self.folder} cannot be written: {error.strerror or error}", "Choose another cache_dir."
                ) from error
            self._open[file] = self._read(file, about)
        return self._open[file]

    def _file(self, view: View, number: int) -> tuple[Path, dict[str, Any]]:
        assert self.images is not None
        about = {**self._about, "images": self.images.name, "view": view.described, "pass": number}
        text = json.dumps(about, sort_keys=True)
        key = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        return self.folder / f"{self.images.name}-{key}.npy", about

    def _read(self, file: Path, about: dict[str, Any]) -> Tensor:
        """The file, mapped into memory; refused if it was computed from something else."""
        assert self.images is not None
        try:
            known = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
            found = np.load(file, mmap_mode="c")
        except (OSError, ValueError) as error:
            raise UserError(f"{file} is damaged ({error})", "Delete it; it will be computed again.") from error
        stale = sorted(key for key in {*known, *about} if known.get(key) != about.get(key))
        if stale or found.dtype != self.dtype or len(found) != self.images.pixels.shape[0]:
            raise UserError(
                f"{file} holds features of something else ({', '.join(stale) or 'another shape'})",
                "Delete it; it will be computed again.",
            )
        return torch.from_numpy(found)

    def _compute(self, file: Path, about: dict[str, Any], view: View, number: int) -> None:
        assert self.images is not None
        started, total = time.perf_counter(), self.images.pixels.shape[0]
        bad = {row for row, _ in self.images.bad}
        rows = np.array([row for row in range(total) if row not in bad])
        loader = EvalLoader(
            self.images, rows, np.zeros(len(rows), np.int64), view.augment, threads=self.threads,
            key=derive("features", number),
        )  # fmt: skip
        mean, std = (255 * torch.tensor(values, device=self.device) for values in (self.mean, self.std))
        if self.device.type == "cpu":
            keep_freed_memory()
        encoder = self.encoder.to(self.device)
        found = np.zeros((total, int(encoder.num_features)), self.dtype)  # pyright: ignore[reportArgumentType]
        with torch.inference_mode(), bar(f"features of {self.images.name}", len(rows), None) as advance:
            for batch in loader:
                made = encoder(normalise(batch.images.to(self.device), mean, std)).float().cpu().numpy()
                with np.errstate(over="ignore"):  # Too large for float16: refused below.
                    found[batch.indices.numpy()] = made
                advance(len(batch.indices))
        _require_finite(found, self.dtype)
        with replacing(file.with_suffix(".json")) as partial:
            partial.write_text(json.dumps(about, indent=1), encoding="utf-8")
        with replacing(file) as partial, partial.open("wb") as opened:
            np.save(opened, found)
        print(f"features: {len(rows):,} images in {time.perf_counter() - started:.0f} s, kept in {file}", flush=True)


def link_encoder(encoder: nn.Module, cache_dir: Path, run_dir: Path) -> None:
    """Puts a frozen encoder's weights into the folder of a run: one file on the disk for all runs, where it can be.

    Args:
        encoder: whose checkpoints lack its weights.
        cache_dir: of all runs.
        run_dir: of the run.
    """
    source, target = cache_dir / "features" / f"encoder-{digest(encoder)}.pt", run_dir / ENCODER
    source.parent.mkdir(parents=True, exist_ok=True)
    with locked(source.with_suffix(".lock")):
        if not source.exists():
            state = {key: value.cpu() for key, value in encoder.state_dict().items()}
            with replacing(source) as partial:
                torch.save({"state_dict": state}, partial)
    with suppress(FileNotFoundError):
        target.unlink()
    try:
        os.link(source, target)
    except OSError:  # Another disk, or a file system without links.
        with replacing(target) as partial:
            shutil.copyfile(source, partial)


def digest(encoder: nn.Module) -> str:
    """16 hex digits that depend on every weight of an encoder."""
    found = hashlib.blake2b(digest_size=8)
    for key, value in encoder.state_dict().items():
        found.update(f"{key} {value.dtype} {list(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def draws(augment: Augmentation, side: int) -> bool:
    """Whether a view draws random numbers, so that it differs from epoch to epoch; for images of `side` pixels."""
    watch = _Watch()
    size = augment.size or side
    augment(np.zeros((side, side, 3), np.uint8), watch, np.empty((size, size, 3), np.uint8))  # pyright: ignore
    return watch.used


class _Watch:
    """A random generator that remembers whether anybody used it."""

    def __init__(self) -> None:
        self.used = False
        self._generator = np.random.default_rng(0)

    def __getattr__(self, name: str) -> Any:
        self.used = True
        return getattr(self._generator, name)


def _require_finite(features: np.ndarray, dtype: str) -> None:
    broken = np.flatnonzero(~np.isfinite(features).all(1))
    if not len(broken):
        return
    shown = ", ".join(map(str, broken[:5].tolist())) + (", ..." if len(broken) > 5 else "")
    raise UserError(
        f"The features of {len(broken)} images are NaN or infinite (rows {shown})",
        "Use features.dtype=float32." if dtype == "float16" else "Check the weights of the backbone.",
    )
