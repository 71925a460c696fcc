"""Figures of `ltmed plot` that need a run's images: the map of features, and maps of evidence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltmed.errors import UserError

if TYPE_CHECKING:
    from ltmed.runs.reader import Run


@dataclass(frozen=True)
class Features:
    """What a map of features shows, and how."""

    projection: Any
    """"tsne", "umap" or "none"."""
    part: Any
    classes: tuple[str, ...]
    errors: int | None = None
    """How many errors have maps of evidence."""

    @property
    def file(self) -> str:
        """Name of the map's file; it lists a part other than test and a choice of classes."""
        from ltmed.plots.style import file_name

        parts = [*([self.part] if self.part != "test" else []), *self.classes]
        return file_name("-".join([f"features_{self.projection}", *parts]))


def require_umap() -> None:
    """Raises UserError unless the package umap-learn is there."""
    from importlib.util import find_spec

    if find_spec("umap") is None:
        raise UserError("--features umap needs umap-learn", "pip install 'ltmed[umap]', or choose --features tsne.")


def feature_map(run: Run, folder: Path, features: Features, kind: str) -> list[Path]:
    """The map of features; without the images one line that says why there is none."""
    if features.projection == "none":
        return []
    from ltmed.plots import feature_maps, style

    feature_maps.class_indices(run, features.classes)  # A class that the run lacks ends the command.
    try:
        figure = feature_maps.feature_figure(run, features.projection, features.part, features.classes)
    except (UserError, FileNotFoundError) as error:
        reason = str(error).splitlines()[0]
        click.echo(f"no map of features for {run.path}: {reason} (--features none leaves it out)", err=True)
        return []
    file = folder / f"{features.file}.{kind}"
    style.save(figure, file)
    return [file]


def maps_of_errors(run: Run, folder: Path, features: Features, kind: str) -> list[Path]:
    """Maps of evidence of the worst errors; one line that says why where there are none."""
    if features.errors is None:
        return []
    from ltmed.inference.predictor import device_named
    from ltmed.plots import style
    from ltmed.plots.error_maps import error_maps

    try:
        figure = error_maps(run, features.errors, features.classes, device_named("auto"))
    except (UserError, FileNotFoundError) as error:
        click.echo(f"no maps of errors for {run.path}: {str(error).splitlines()[0]}", err=True)
        return []
    file = folder / f"{style.file_name('-'.join(['class_maps', *features.classes]))}.{kind}"
    style.save(figure, file)
    return [file]
