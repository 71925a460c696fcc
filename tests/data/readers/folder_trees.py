"""Image files and lists for the miniature data sets of the readers that have no trees of their own."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ltmed.data.manifest import Manifest

PNG = cv2.imencode(".png", np.full((16, 16, 3), 90, np.uint8))[1].tobytes()


def put(root: Path, *paths: str, data: bytes = PNG) -> None:
    """Small files under `root`; all have one content."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def write(path: Path, *lines: str, end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def reader(kind: type, **options):
    """A data module that can only `read`: constructing it would need the rest of a run."""
    made = kind.__new__(kind)
    for name, value in options.items():
        setattr(made, name, value)
    return made


def classes_of(manifest: Manifest) -> dict[str, str]:
    """Path -> class code."""
    return {image: manifest.classes[label] for image, label in zip(manifest.images, manifest.labels, strict=True)}


def together(manifest: Manifest) -> set[frozenset[str]]:
    """The groups of more than one image."""
    assert manifest.groups is not None
    sets: dict[int, set[str]] = {}
    for image, group in zip(manifest.images, manifest.groups.tolist(), strict=True):
        sets.setdefault(group, set()).add(image)
    return {frozenset(images) for images in sets.values() if len(images) > 1}
