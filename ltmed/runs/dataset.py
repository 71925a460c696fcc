"""The data set of a run, checked against the split that the run began with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from ltmed.config.instantiate import build
from ltmed.data.splits.protocols import Split
from ltmed.errors import UserError
from ltmed.runs import facts

if TYPE_CHECKING:
    from ltmed.data.datamodule import DataModule
    from ltmed.data.manifest import Manifest


def open_dataset(cfg: DictConfig, run_dir: Path) -> DataModule:
    """Reads the label files and checks that the split is the one that this run began with; writes nothing.

    Raises:
        UserError: the data under `dataset.root` are not those that the run began with.
    """
    data: DataModule = build(
        cfg.dataset, image_size=cfg.image_size, fold=cfg.fold, split=build(cfg.split),
        evaluation=build(cfg.evaluation), cache_dir=cfg.cache_dir, interpolation=cfg.pixels.interpolation,
    )  # fmt: skip
    begun = _begun(run_dir)
    listed = begun.get("listed", begun["hash"]) if begun else data.listed_digest
    if listed != data.listed_digest:
        raise UserError(
            f"{run_dir} was begun with the split {listed}, but {cfg.dataset.root} now gives {data.listed_digest}",
            "The images, labels or groups under dataset.root changed. Restore them, or choose another run_dir.",
        )
    return data


def open_images(data: DataModule, run_dir: Path) -> None:
    """Decodes the images and checks that those that can be read are the ones that this run began with.

    Args:
        data: from `open_dataset`.
        run_dir: folder of the run.

    Raises:
        UserError: as `DataModule.open`; more or fewer images can be read than when the run began.
    """
    data.open()
    begun = _begun(run_dir)
    if begun and "listed" in begun and begun["hash"] != data.digest:
        raise UserError(
            f"{run_dir} was begun with the split {begun['hash']}, but the images that can be read under "
            f"{data.manifest.root} now give {data.digest}",
            "Other images are unreadable (dataset.on_bad_image=skip). Restore the files, or choose another run_dir.",
        )


def _begun(run_dir: Path) -> dict[str, Any] | None:
    """What the run recorded of its split; None if it has not begun, or stopped before its images were decoded."""
    return facts.read(run_dir)["split"] if (run_dir / facts.RUN).exists() else None


def begin_data(run_dir: Path, data: DataModule, root: str | None, weights: Mapping[str, Any] | None) -> None:
    """Records split, pixels and initial weights of a run that begins; one that continues keeps what it began with.

    Args:
        run_dir: of a run that was begun.
        data: opened.
        root: of the data set.
        weights: from `ltmed.runs.initial_weights.digests`.
    """
    if facts.read(run_dir)["split"] is None:
        split = {
            "name": data.split.name,
            "hash": data.digest,
            "listed": data.listed_digest,
            "root": root,
            "data": digest_of_all(data.manifest),
        }
        facts.add(run_dir, split=split, pixels=data.pixels, weights=weights)


def digest_of_all(manifest: Manifest) -> str:
    """12 hex characters that identify the images of a data set with their labels and groups, however they are divided.

    Numbers of groups and the folders of the images do not matter.
    """
    rows = np.arange(len(manifest))
    text = Split("all", rows, rows[:0], rows[:0]).digest(manifest)
    if manifest.groups is not None:
        names = [PurePosixPath(image).stem.lower() for image in manifest.images]
        members: dict[int, list[str]] = {}
        for name, group in zip(names, manifest.groups.tolist(), strict=True):
            members.setdefault(group, []).append(name)
        text += "\n".join(sorted("|".join(sorted(group)) for group in members.values()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
