"""A finished run on its own test part or on another data set: numbers with intervals beside those of the run itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.config.compose import compose, read_manifest
from ltmed.config.overrides import choice, quoted
from ltmed.errors import UserError, suggest
from ltmed.evaluation.calibrated import calibration
from ltmed.evaluation.subgroups import by_subgroup, categories
from ltmed.inference.class_map import DROP, ClassMap, match, read_map
from ltmed.inference.overlap import trained_on
from ltmed.inference.parts import Labelled, other_images, own_part, validation
from ltmed.runs import predictions, record
from ltmed.runs.predictions import Predictions, of_part
from ltmed.runs.reader import Run
from ltmed.utils.files import replacing, write_atomic

FOLDER, RESULTS = "evaluations", "evaluation.json"


@dataclass(frozen=True)
class Evaluated:
    """What `ltmed evaluate` found."""

    found: dict[str, Any]
    """evaluation.json, see `evaluate_run`."""
    labelled: Labelled
    """The predictions behind it."""


@dataclass(frozen=True)
class Request:
    """What is to be evaluated, and by which attributes."""

    overrides: tuple[str, ...] = ()
    """Hydra's overrides: `dataset=NAME dataset.root=DIR` of another data set, or where the run's own data are."""
    map_file: Path | None = None
    by: tuple[str, ...] = ()
    """Attributes."""
    metrics: tuple[str, ...] = ("balanced_accuracy",)
    """Of subgroups."""
    leave_out_trained: bool = False
    """Leaves images out that the run was trained on, in place of refusing the data set."""
    device: str = "auto"
    resamples: int = 1000


def evaluate_run(run: Run, request: Request) -> Evaluated:
    """Predicts, scores, calibrates and compares; writes nothing but what `ltmed.inference.parts.validation` keeps.

    Args:
        run: a finished run.
        request: what is wanted.

    Returns:
        `found` has: `data` {dataset, root, own, images, dropped {class: n}, classes {class: [theirs]}}; `overlap`
        {checked, reason, equal, alike, left_out} or null for the run's own data; `test` and `internal`, as `test` of
        metrics.json, the second of the run's own test part, in the classes that `test` has images of; `reproduces`
        {exact, largest_difference} for the run's own data; `other` {images, predicted {class: n}, auroc} of images of
        none of the classes; `calibration`, or null, and then `calibration_missing` says why; `subgroups` [...].

    Raises:
        UserError: classes that do not match, images that the run was trained on, an unknown attribute, no images.
    """
    own = choice(request.overrides, "dataset") is None
    if own:
        if request.map_file is not None:
            raise UserError("map=FILE is for another data set", "Add dataset=NAME dataset.root=DIR, or leave it out.")
        labelled = own_part(run, "test", request.overrides, request.device)
        about: dict[str, Any] = {"dropped": {}, "classes": {code: [code] for code in run.classes}}
        overlap = None
    else:
        labelled, about, overlap = _other(run, request)
    whole = labelled.predictions
    known = whole.select(whole.labels >= 0)
    if not len(known):
        raise UserError("No image is of a class of the run", "Look at the map of classes.")
    tiers = tiers_of(run)
    names = [row["name"] for row in run.found["test"]["per_class"]]
    test = record.scored(known.evaluation(), names, tiers, known.groups, known.unit)
    found = {
        "run": run.found["run"],
        "data": {
            "dataset": labelled.manifest.name, "root": str(labelled.manifest.root), "own": own,
            "images": len(known), **about,
        },
        "overlap": overlap,
        "test": test,
        "internal": run.found["test"] if own else _internal(run, known.counts, tiers, names),
        "reproduces": _reproduces(test, run.found["test"]) if own else None,
        "other": _none_of_the_classes(whole),
        **_calibration(run, known, request),
        "subgroups": [
            report for name in request.by for report in _subgroups(known, tiers, name, request)
        ],
    }  # fmt: skip
    return Evaluated(record.without_nan(found), labelled)


def tiers_of(run: Run) -> dict[str, list[int]]:
    """Class indices of head, medium and tail, by the run's own training images."""
    tiers = run.found["tiers"]
    return {tier: [run.classes.index(code) for code in tiers[tier]] for tier in ("head", "medium", "tail")}


def _other(run: Run, request: Request) -> tuple[Labelled, dict[str, Any], dict[str, Any]]:
    """The predictions for another data set, what became of its classes, and which images the run knew."""
    overrides = list(request.overrides)
    if choice(overrides, "cache_dir") is None:
        overrides.append(f"cache_dir={quoted(str(run.config.cache_dir))}")
    cfg = compose(overrides)
    manifest, _ = read_manifest(cfg)
    if manifest.multilabel:
        raise UserError(
            f"Images of {manifest.name} have several labels, and the run predicts one class",
            "Use data with one class an image.",
        )
    given = None if request.map_file is None else read_map(request.map_file)
    names = [row["name"] for row in run.found["test"]["per_class"]]
    # Classes without an image need no place.
    there = np.flatnonzero(manifest.counts > 0)
    mapped = match(
        run.classes, names, [manifest.classes[k] for k in there], [manifest.class_names[k] for k in there], given
    )
    targets = np.full(len(manifest.classes), DROP)
    targets[there] = mapped.targets
    labels = targets[manifest.labels]
    rows = np.flatnonzero(labels != DROP)
    if not len(rows):
        raise UserError(f"The map leaves no image of {manifest.name}", "Give a class of the run some of its classes.")
    seen = trained_on(run, manifest, rows)
    known = int(seen.any.sum())
    if known and not request.leave_out_trained:
        first = ", ".join(manifest.images[row] for row in rows[seen.any][:3].tolist())
        raise UserError(
            f"{run.path} was trained or chosen on {known:,} of the {len(rows):,} images of {manifest.name}: "
            f"{int(seen.equal.sum()):,} equal files, {int(seen.alike.sum()):,} that look the same ({first}, ...)",
            "Leave them out with --leave-out-trained.",
        )
    rows = rows[~seen.any]
    labelled = other_images(run, manifest, rows, labels[rows], cfg, request.device)
    about = {"dropped": _dropped(manifest.classes, manifest.counts, mapped, there), "classes": mapped.described}
    overlap = {
        "checked": not seen.unknown, "reason": seen.unknown or None, "equal": int(seen.equal.sum()),
        "alike": int(seen.alike.sum()), "left_out": known,
    }  # fmt: skip
    return labelled, about, overlap


def _dropped(classes: tuple[str, ...], counts: np.ndarray, mapped: ClassMap, there: np.ndarray) -> dict[str, int]:
    places = there[mapped.targets == DROP]
    return {classes[k]: int(counts[k]) for k in places.tolist()}


def _internal(
    run: Run, present: np.ndarray, tiers: dict[str, list[int]], names: Sequence[str]
) -> dict[str, Any] | None:
    """The run's own test part in the classes that the other data set has, so that averages are over the same ones."""
    if (present > 0).all():
        return run.found["test"]
    try:
        own = of_part(run, "test")
    except FileNotFoundError:
        return None
    own = own.select(np.isin(own.labels, np.flatnonzero(present)))
    return record.scored(own.evaluation(), names, tiers, own.groups, own.unit) if len(own) else None


def _reproduces(test: dict[str, Any], recorded: dict[str, Any]) -> dict[str, Any]:
    """How far the numbers are from those that the run recorded."""
    now = record.without_nan(test)
    pairs = [(now["scalars"][name], value) for name, value in recorded["scalars"].items() if name in now["scalars"]]
    apart = [abs(one - other) for one, other in pairs if one is not None and other is not None]
    return {"exact": now == recorded, "largest_difference": max(apart, default=0.0)}


def _none_of_the_classes(whole: Predictions) -> dict[str, Any] | None:
    """What the run says of images of none of its classes, and whether it is less sure of them."""
    from sklearn.metrics import roc_auc_score

    strange = whole.labels < 0
    if not strange.any():
        return None
    most = whole.probabilities.max(1)
    predicted = np.bincount(whole.probabilities[strange].argmax(1), minlength=len(whole.classes))
    return {
        "images": int(strange.sum()),
        "predicted": dict(zip(whole.classes, predicted.tolist(), strict=True)),
        # That the largest probability of an image of a class is above that of one of none (Hendrycks and Gimpel 2017).
        "auroc": None if strange.all() else float(roc_auc_score(~strange, most)),
    }


def _calibration(run: Run, known: Predictions, request: Request) -> dict[str, Any]:
    where = () if choice(request.overrides, "dataset") else request.overrides
    try:
        val = validation(run, where, request.device)
    except UserError as error:
        return {"calibration": None, "calibration_missing": str(error).splitlines()[0]}
    if not len(val):
        return {"calibration": None, "calibration_missing": "the run has no validation images"}
    found = calibration(
        (val.probabilities, val.labels), (known.probabilities, known.labels), classes=known.classes,
        groups=known.groups, resamples=request.resamples,
    )  # fmt: skip
    return {"calibration": found, "calibration_missing": None}


def _subgroups(
    known: Predictions, tiers: dict[str, list[int]], attribute: str, request: Request
) -> list[dict[str, Any]]:
    if attribute not in known.attributes:
        there = list(known.attributes)
        raise UserError(
            f"The data set has no attribute '{attribute}'",
            suggest(attribute, there)
            if there
            else "Its tables have none; dataset=manifest takes any column, with dataset.columns.attribute=[NAME].",
        )
    values = categories(known.attributes[attribute], attribute)
    return [
        asdict(
            by_subgroup(
                known.evaluation(), tiers, values, attribute=attribute, metric=metric, groups=known.groups,
                resamples=request.resamples,
            )
        )
        for metric in request.metrics
    ]  # fmt: skip


def write(folder: Path, done: Evaluated) -> None:
    """Writes evaluation.json and predictions.parquet into a folder, which is made if needed.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = predictions.table_of(done.labelled.manifest, done.labelled.evaluation)
    with replacing(folder / record.PREDICTIONS) as partial:
        table.to_parquet(partial, index=False)
    group = None if done.labelled.manifest.groups is None else done.labelled.manifest.group_name
    write_atomic(folder / RESULTS, record.to_json({**done.found, "group": group}))
