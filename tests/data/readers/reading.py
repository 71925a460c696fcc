"""Reads small data sets as a command line does: from the overrides to the manifest, with what was warned of."""

from __future__ import annotations

import warnings
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from ltmed.config.compose import read_manifest
from ltmed.config.instantiate import build
from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from tests.data.readers.folder_trees import PNG, put, write
from tests.harness import ROOT

__all__ = ["PNG", "classes", "compose_overrides", "composed", "labels", "module", "put", "read", "together", "write"]


def composed(dataset: str, root: Path | None, *overrides: str) -> DictConfig:
    """The whole config, divided by image unless `overrides` say otherwise."""
    given = [] if root is None else [f"dataset.root='{root}'"]
    return compose_overrides([f"dataset={dataset}", "split=random", *given, *overrides])


def compose_overrides(words: list[str]) -> DictConfig:
    """The config of a command line."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", words)


def read(dataset: str, root: Path, *overrides: str) -> tuple[Manifest, str]:
    """The manifest of `dataset=... dataset.root=...`, and all warnings as one text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        manifest, _ = read_manifest(composed(dataset, root, *overrides))
    return manifest, "\n".join(str(one.message) for one in caught if issubclass(one.category, UserWarning))


def module(dataset: str, root: Path, *overrides: str) -> DataModule:
    """The data module itself, as a run makes it."""
    cfg = composed(dataset, root, *overrides)
    evaluation = build(cfg.evaluation)
    return build(cfg.dataset, fold=0, split=build(cfg.split), evaluation=evaluation, cache_dir="none")


def labels(manifest: Manifest) -> dict[str, str]:
    """Path -> class."""
    return {image: manifest.classes[label] for image, label in zip(manifest.images, manifest.labels, strict=True)}


def classes(manifest: Manifest) -> dict[str, int]:
    """Class -> number of images, in class order."""
    return dict(zip(manifest.classes, manifest.counts.tolist(), strict=True))


def together(manifest: Manifest) -> set[frozenset[str]]:
    """All groups, also those of one image."""
    assert manifest.groups is not None
    sets: dict[int, set[str]] = {}
    for image, group in zip(manifest.images, manifest.groups.tolist(), strict=True):
        sets.setdefault(group, set()).add(image)
    return {frozenset(images) for images in sets.values()}
