"""A finished run on another data set: which of its classes are those of the run, and which of its images are new.

Letters: N images, J classes of the other data set, K classes of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ltmed.config.compose import compose, read_manifest
from ltmed.config.overrides import choice, quoted
from ltmed.errors import UserError
from ltmed.inference.class_map import DROP, ClassMap, match, read_map
from ltmed.inference.ensemble import View
from ltmed.inference.overlap import Overlap, trained_on
from ltmed.inference.parts import Labelled, joined, other_images, thresholds_of
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
) -> tuple[Labelled, dict[str, Any], dict[str, Any]]:
    """The predictions of one run, or of several as an ensemble, for another data set.

    Args:
        runs: of the same classes.
        overrides: Hydra's, with `dataset=NAME`.
        map_file: see `ltmed.inference.class_map.read_map`; None matches classes by code and name alone.
        leave_out_trained: leaves images out that a run was trained on, in place of refusing the data set.
        device: see `ltmed.inference.predictor.Predictor`.
        views: see `ltmed.inference.ensemble.VIEWS`.

    Returns:
        the predictions; what became of the classes {dropped, classes}; what is known of the overlap.

    Raises:
        UserError: classes that do not match, images that a run was trained on, or no image that is left.
    """
    first, words = runs[0], list(overrides)
    if choice(words, "cache_dir") is None:
        words.append(f"cache_dir={quoted(str(first.config.cache_dir))}")
    cfg = compose(words)
    manifest, _ = read_manifest(cfg)
    if manifest.multilabel != first.multilabel:
        kinds = ("one class", "several labels")
        raise UserError(
            f"Images of {manifest.name} have {kinds[manifest.multilabel]}, and the run predicts "
            f"{kinds[first.multilabel]}",
            f"Use data with {kinds[first.multilabel]} an image.",
        )
    # Classes without an image need no place.
    there = np.flatnonzero(manifest.counts > 0)
    mapped = _mapped(first, manifest, there, map_file)
    targets = np.full(len(manifest.classes), DROP)
    targets[there] = mapped.targets
    if manifest.multilabel:
        labels = merged(manifest.labels, targets, len(first.classes))
        rows = np.flatnonzero(~np.isnan(labels).all(1))
    else:
        labels = targets[manifest.labels]
        rows = np.flatnonzero(labels != DROP)
    if not len(rows):
        raise UserError(f"The map leaves no image of {manifest.name}", "Give a class of the run some of its classes.")
    rows, overlap = unseen(runs, manifest, rows, leave_out_trained)
    labelled = joined([other_images(run, manifest, rows, labels[rows], cfg, device, views) for run in runs])
    places = there[mapped.targets == DROP]
    dropped = {manifest.classes[k]: int(manifest.counts[k]) for k in places.tolist()}
    return labelled, {"dropped": dropped, "classes": mapped.described}, overlap


def _mapped(run: Run, manifest: Manifest, there: np.ndarray, map_file: Path | None) -> ClassMap:
    given = None if map_file is None else read_map(map_file)
    names = [row["name"] for row in run.metrics["test"]["per_class"]]
    return match(
        run.classes, names, [manifest.classes[k] for k in there], [manifest.class_names[k] for k in there], given,
        multilabel=run.multilabel,
    )  # fmt: skip


def merged(labels: np.ndarray, targets: np.ndarray, classes: int) -> np.ndarray:
    """The labels of a run from those of another data set: present where one of those that are mapped to it is.

    Args:
        labels: float `[N, J]`, 0, 1 or NaN.
        targets: int64 `[J]`, the run's label of each; `DROP` for none.
        classes: K.

    Returns:
        float32 `[N, K]`: NaN where none is present and one is unknown, and throughout where none is mapped.
    """
    found = np.full((len(labels), classes), np.nan, dtype=np.float32)
    for k in np.unique(targets[targets >= 0]):
        columns = labels[:, targets == k]
        unknown = np.where(np.isnan(columns).any(1), np.nan, 0)
        found[:, k] = np.where((columns == 1).any(1), 1, unknown)
    return found


def unseen(
    runs: Sequence[Run], manifest: Manifest, rows: np.ndarray, leave_out: bool
) -> tuple[np.ndarray, dict[str, Any]]:
    """Those images that no run was trained or chosen on, and what is known about the others.

    Args:
        runs: one or several; each split is compared once.
        manifest: of the images.
        rows: int64 `[n]` of those that are asked about.
        leave_out: whether images that a run knows are left out; they are refused otherwise.

    Returns:
        the rows that are left, and {checked, reason, equal, alike, left_out}.

    Raises:
        UserError: a run knows images that are not to be left out, or knows all of them.
    """
    by_split = {(run.metrics["run"]["dataset"], run.metrics["split"]["hash"]): run for run in runs}
    seen = Overlap(np.zeros(len(rows), bool), np.zeros(len(rows), bool))
    for run in by_split.values():
        found = trained_on(run, manifest, rows)
        known = int(found.any.sum())
        if known and not leave_out:
            first = ", ".join(manifest.images[row] for row in rows[found.any][:3].tolist())
            raise UserError(
                f"{run.path} was trained or chosen on {known:,} of the {len(rows):,} images of {manifest.name}: "
                f"{int(found.equal.sum()):,} equal files, {int(found.alike.sum()):,} that look the same ({first}, ...)",
                "Leave them out with --leave-out-trained.",
            )
        equal = seen.equal | found.equal
        seen = Overlap(equal, (seen.alike | found.alike) & ~equal, seen.unknown or found.unknown)
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


def compared(known: Predictions) -> np.ndarray:
    """The classes that another data set says something about, bool `[K]`: with an image, of several labels also one
    without."""
    if not known.multilabel:
        return known.counts > 0
    return (known.counts > 0) & ((known.labels == 0).any(0))


def internal(run: Run, scored: np.ndarray, tiers: dict[str, list[int]], names: Sequence[str]) -> dict[str, Any] | None:
    """The run's own test part in some classes, so that averages are over the same ones as those of other data.

    Args:
        run: finished; None is returned where its predictions were left behind.
        scored: bool `[K]`, from `compared`.
        tiers: class indices.
        names: K full names.
    """
    if scored.all():
        return run.metrics["test"]
    try:
        own = of_part(run, "test")
    except FileNotFoundError:
        return None
    own = only(own, scored) if own.multilabel else own.select(np.isin(own.labels, np.flatnonzero(scored)))
    own = own.select(own.usable)
    if not len(own):
        return None
    return record.scored(own.evaluation(), names, tiers, own.groups, own.unit, thresholds_of(run))


def only(part: Predictions, scored: np.ndarray) -> Predictions:
    """Predictions of several labels in which the others are unknown: `[K]` says which are not."""
    return replace(part, labels=np.where(scored, part.labels, np.float32(np.nan)).astype(np.float32))
