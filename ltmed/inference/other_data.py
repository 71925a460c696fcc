"""A finished run on another data set: which of its classes are those of the run, and which of its images are new.

Letters: N images, J classes of the other data set, K classes of the run.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ltmed.config.compose import compose, read_manifest
from ltmed.config.overrides import choice, quoted, setting
from ltmed.errors import UserError, suggest
from ltmed.inference.class_map import DROP, ClassMap, match, read_map
from ltmed.inference.ensemble import View
from ltmed.inference.overlap import Overlap, trained_on
from ltmed.inference.parts import Labelled, is_setting_of_data, joined, other_images, thresholds_of
from ltmed.runs import record
from ltmed.runs.predictions import Predictions, of_part
from ltmed.runs.reader import Run

if TYPE_CHECKING:
    from ltmed.data.manifest import Manifest


def predict_other(
    runs: Sequence[Run],
    overrides: Sequence[str],
    *,
    map_file: Path | None,
    leave_out_trained: bool,
    device: str,
    views: Sequence[View],
    attributes: Sequence[str] = (),
) -> tuple[Labelled, dict[str, Any], dict[str, Any]]:
    """The predictions of one run, or of several as an ensemble, for another data set.

    Args:
        runs: of the same classes.
        overrides: Hydra's, with `dataset=NAME`.
        map_file: see `ltmed.inference.class_map.read_map`; None matches classes by code and name alone.
        leave_out_trained: leaves images out that a run was trained on, in place of refusing the data set.
        device: see `ltmed.inference.predictor.Predictor`.
        views: see `ltmed.inference.ensemble.VIEWS`.
        attributes: that the data set must have.

    Returns:
        the predictions; the mapping of the classes {dropped, classes}; the overlap with the runs' images.

    Raises:
        UserError: an override that would have no effect, a missing attribute, classes that do not match, images that a
            run was trained on, or no image remains; or see `unseen`.
    """
    _require_settings_of_data(overrides)
    first, settings = runs[0], list(overrides)
    if choice(settings, "cache_dir") is None:
        settings.append(f"cache_dir={quoted(str(first.config.cache_dir))}")
    cfg = compose(settings)
    manifest, _ = read_manifest(cfg)
    require_attributes(attributes, manifest.attributes or {})
    if manifest.multilabel != first.multilabel:
        kinds = ("one class", "several labels")
        raise UserError(
            f"Images of {manifest.name} have {kinds[manifest.multilabel]}, and the run predicts "
            f"{kinds[first.multilabel]}",
            f"Use data with {kinds[first.multilabel]} an image.",
        )
    mapped = classes_of_run(first, manifest, map_file)
    targets = mapped.targets
    if manifest.multilabel:
        labels = merged(manifest.labels, targets, len(first.classes))
        rows = np.flatnonzero(~np.isnan(labels).all(1))
    else:
        labels = targets[manifest.labels]
        rows = np.flatnonzero(labels != DROP)
    if not len(rows):
        raise UserError(f"The map leaves no image of {manifest.name}", "Give a class of the run some of its classes.")
    where = [override for override in settings if setting(override).lstrip("+").startswith("dataset.")]
    rows, overlap = unseen(runs, manifest, rows, leave_out_trained, where)
    labelled = joined([other_images(run, manifest, rows, labels[rows], cfg, device, views) for run in runs])
    dropped_classes = np.flatnonzero((targets == DROP) & (manifest.counts > 0))
    dropped = {manifest.classes[k]: int(manifest.counts[k]) for k in dropped_classes.tolist()}
    return labelled, {"dropped": dropped, "classes": mapped.assigned}, overlap


def require_attributes(requested: Sequence[str], available: Collection[str]) -> None:
    """Checks names of attributes.

    Raises:
        UserError: the images do not have one of them.
    """
    for attribute in requested:
        if attribute not in available:
            raise UserError(
                f"The data set has no attribute '{attribute}'",
                suggest(attribute, list(available))
                if available
                else "Its tables have none; dataset=manifest takes any column, with dataset.columns.attribute=[NAME].",
            )


def _require_settings_of_data(overrides: Sequence[str]) -> None:
    for override in overrides:
        key = setting(override).lstrip("+~")
        if key != "dataset" and not is_setting_of_data(key):
            raise UserError(
                f"{override} would have no effect: all images of the data set are evaluated, and they are decoded and "
                "predicted as the run's own",
                "Give settings that say which images and labels there are (dataset.*) and cache_dir only.",
            )


def classes_of_run(run: Run, manifest: Manifest, map_file: Path | None) -> ClassMap:
    """The run's class of each class of the manifest.

    Classes without images need no counterpart. Those that have one keep it: of several labels, one without a positive
    image may be unknown in some, and a label that it is merged into is then unknown there too.

    Raises:
        UserError: see `ltmed.inference.class_map.match`.
    """
    mapping = None if map_file is None else read_map(map_file)
    names = [row["name"] for row in run.metrics["test"]["per_class"]]
    return match(
        run.classes, names, manifest.classes, manifest.class_names, mapping, multilabel=run.multilabel,
        needed=(manifest.counts > 0).tolist(),
    )  # fmt: skip


def merged(labels: np.ndarray, targets: np.ndarray, classes: int) -> np.ndarray:
    """The labels of a run from those of another data set: present where any label that is mapped to it is present.

    Args:
        labels: float `[N, J]`, 0, 1 or NaN.
        targets: int64 `[J]`, the run's label of each; `DROP` for none.
        classes: K.

    Returns:
        float32 `[N, K]`: NaN where none is present and one is unknown, and throughout where none is mapped.
    """
    labels_of_run = np.full((len(labels), classes), np.nan, dtype=np.float32)
    for k in np.unique(targets[targets >= 0]):
        columns = labels[:, targets == k]
        unknown = np.where(np.isnan(columns).any(1), np.nan, 0)
        labels_of_run[:, k] = np.where((columns == 1).any(1), 1, unknown)
    return labels_of_run


def unseen(
    runs: Sequence[Run], manifest: Manifest, rows: np.ndarray, leave_out: bool, overrides: Sequence[str] = ()
) -> tuple[np.ndarray, dict[str, Any]]:
    """The images that no run was trained or chosen on, and a summary of the others.

    Args:
        runs: one or several; each split is compared once.
        manifest: of the images.
        rows: int64 `[n]` of the images in question.
        leave_out: whether images that a run was trained or chosen on are left out; otherwise they are refused.
        overrides: where the images are, see `ltmed.inference.overlap.trained_on`.

    Returns:
        the remaining rows, and {checked, reason, equal, alike, left_out}.

    Raises:
        UserError: a run was trained or chosen on images that are not to be left out, or on all of them; or the images
            are of its own data set, and what it was trained on is missing.
    """
    by_split = {(run.metrics["run"]["dataset"], run.metrics["split"]["hash"]): run for run in runs}
    seen = Overlap(np.zeros(len(rows), bool), np.zeros(len(rows), bool))
    for run in by_split.values():
        copies = trained_on(run, manifest, rows, overrides)
        number = int(copies.any.sum())
        if number and not leave_out:
            first = ", ".join(manifest.images[row] for row in rows[copies.any][:3].tolist())
            raise UserError(
                f"{run.path} was trained or chosen on {number:,} of the {len(rows):,} images of {manifest.name}: "
                f"{int(copies.equal.sum()):,} equal files, {int(copies.alike.sum()):,} that look the same "
                f"({first}, ...)",
                "Leave them out with --leave-out-trained.",
            )
        equal = seen.equal | copies.equal
        seen = Overlap(equal, (seen.alike | copies.alike) & ~equal, seen.unknown or copies.unknown)
    if seen.any.all():
        raise UserError(
            f"Every one of the {len(rows):,} images was trained or chosen on by a run",
            "Evaluate on images that none of the runs knows.",
        )
    overlap = {
        "checked": not seen.unknown, "reason": seen.unknown or None, "equal": int(seen.equal.sum()),
        "alike": int(seen.alike.sum()), "left_out": int(seen.any.sum()),
    }  # fmt: skip
    return rows[~seen.any], overlap


def compared(predictions: Predictions) -> np.ndarray:
    """The classes that another data set says something about, bool `[K]`: with an image, of several labels also one
    without."""
    if not predictions.multilabel:
        return predictions.counts > 0
    return (predictions.counts > 0) & ((predictions.labels == 0).any(0))


def internal(run: Run, scored: np.ndarray, tiers: dict[str, list[int]], names: Sequence[str]) -> dict[str, Any] | None:
    """The run's own test part in some classes, so that averages are over the same ones as those of other data.

    Args:
        run: finished; None is returned if its predictions are missing.
        scored: bool `[K]`, from `compared`.
        tiers: class indices.
        names: K full names.
    """
    if scored.all():
        return run.metrics["test"]
    try:
        predictions = of_part(run, "test")
    except FileNotFoundError:
        return None
    predictions = (
        only(predictions, scored)
        if predictions.multilabel
        else predictions.select(np.isin(predictions.labels, np.flatnonzero(scored)))
    )
    predictions = predictions.select(predictions.usable)
    if not len(predictions):
        return None
    return record.scored(
        predictions.evaluation(), names, tiers, predictions.groups, predictions.unit, thresholds_of(run)
    )


def only(predictions: Predictions, scored: np.ndarray) -> Predictions:
    """Predictions of several labels in which the labels outside of `scored`, bool `[K]`, are unknown."""
    return replace(predictions, labels=np.where(scored, predictions.labels, np.float32(np.nan)).astype(np.float32))
