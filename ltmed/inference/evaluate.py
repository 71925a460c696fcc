"""A finished run on its own test part or on another data set: metrics with intervals beside those of the run itself."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.config.overrides import choice
from ltmed.errors import UserError
from ltmed.evaluation.operating_points import label_thresholds
from ltmed.evaluation.subgroups import by_subgroup, categories
from ltmed.inference.ensemble import VIEWS, require_members, require_sides_kept
from ltmed.inference.other_data import compared, internal, only, predict_other, require_attributes, unseen
from ltmed.inference.parts import (
    Labelled,
    joined,
    other_images,
    own_config,
    own_part,
    thresholds_of,
    validation,
)
from ltmed.inference.scaling import scale
from ltmed.runs import record
from ltmed.runs.directory import without_location
from ltmed.runs.predictions import Predictions
from ltmed.runs.reader import Run


@dataclass(frozen=True)
class EvaluationResult:
    """The result of `ltmed evaluate`."""

    results: dict[str, Any]
    """evaluation.json, see `evaluate_run`."""
    labelled: Labelled
    """The predictions behind it."""
    scored: Predictions
    """Those of them that were scored."""


@dataclass(frozen=True)
class Request:
    """The settings of an evaluation."""

    overrides: tuple[str, ...] = ()
    """Hydra's overrides: `dataset=NAME dataset.root=DIR` of another data set, or where the run's own data are."""
    map_file: Path | None = None
    by: tuple[str, ...] = ()
    """Attributes for subgroups."""
    metrics: tuple[str, ...] = ()
    """Of subgroups; none takes `default_metrics`."""
    tta: str = "none"
    """Views of every image, one of `ltmed.inference.ensemble.VIEWS`."""
    leave_out_trained: bool = False
    """Leaves images out that the run was trained on, in place of refusing the data set."""
    device: str = "auto"
    resamples: int = 1000


def evaluate_run(run: Run, request: Request, others: Sequence[Run] = ()) -> EvaluationResult:
    """Predicts, scores, calibrates and compares; writes only what `ltmed.inference.parts.validation` saves.

    Several labels are decided at the thresholds of the run, or with several views at those of the largest F1 on
    validation predictions of the same views; where these cannot be made, a warning says so.

    Args:
        run: a finished run.
        request: the settings.
        others: finished runs of the same classes, which are one ensemble with it.

    Returns:
        `results` has: `data` {dataset, root, own, settings, images, dropped {class: n}, classes {class: [codes]}};
        `members` {runs, tta}, of several labels also `threshold_views`, the views that thresholds were chosen on;
        `overlap` {checked, reason, equal, alike, left_out} or null where nothing was compared; `test` and `internal`,
        as `test` of metrics.json, the second of the (first) run's own test part, in the classes that `test` has
        images of; `reproduces` {exact, largest_difference} for a single run's own data; `other` {images, predicted
        {class: n}, auroc} of images of none of the classes; `calibration`, or null, and then `calibration_missing`
        says why; `subgroups` [...].

    Raises:
        UserError: classes that do not match, images that a run was trained on, an unknown attribute, no images, or a
            setting without effect.
    """
    members = [run, *others]
    _require_ensemble(members)
    require_sides_kept(request.tta, run.classes, [row["name"] for row in run.metrics["test"]["per_class"]])
    own = choice(request.overrides, "dataset") is None
    alone = not others and request.tta == "none"
    if own and request.map_file is not None:
        raise UserError("map=FILE is for another data set", "Add dataset=NAME dataset.root=DIR, or leave it out.")
    if own and request.leave_out_trained and all(_same_split(member, run) for member in others):
        raise UserError(
            "--leave-out-trained has no effect: a run's own test part is not compared with its training part",
            "Leave it out; ltmed check finds copies between the parts. It is for dataset=NAME, and for ensembles of "
            "several splits.",
        )
    if own:
        labelled, overlap = _own_test_part(members, request)
        data_facts: dict[str, Any] = {"dropped": {}, "classes": {code: [code] for code in run.classes}}
    else:
        labelled, data_facts, overlap = predict_other(
            members, request.overrides, map_file=request.map_file, leave_out_trained=request.leave_out_trained,
            device=request.device, views=VIEWS[request.tta], attributes=request.by,
        )  # fmt: skip
    val, val_missing = _validation_or_reason(members, request)
    thresholds, threshold_views = _label_thresholds(run, val, val_missing, request.tta)
    labelled = replace(labelled, thresholds=thresholds)
    predictions = labelled.predictions
    scored = predictions if own else predictions.select(predictions.usable)
    if not len(scored):
        raise UserError("No image is of a class of the run", "Look at the map of classes.")
    if scored.multilabel and not own:
        scored = only(scored, compared(scored))
        scored = scored.select(scored.usable)
        if not len(scored):
            raise UserError("No label of the run has images with it and without it", "Look at the map of classes.")
    tiers, names = tiers_of(run), [row["name"] for row in run.metrics["test"]["per_class"]]
    test = record.scored(scored.evaluation(), names, tiers, scored.groups, scored.unit, thresholds)
    results = {
        "run": run.metrics["run"],
        "data": {
            "dataset": labelled.manifest.name, "root": os.path.abspath(labelled.manifest.root), "own": own,
            "settings": sorted(without_location(request.overrides)), "images": len(scored), **data_facts,
        },
        "members": {
            "runs": [os.path.abspath(member.path) for member in members], "tta": request.tta, **threshold_views,
        },
        "overlap": overlap,
        "test": test,
        "internal": run.metrics["test"] if own else internal(run, compared(scored), tiers, names),
        "reproduces": _reproduces(test, run.metrics["test"]) if own and alone else None,
        "other": None if predictions.multilabel else _none_of_the_classes(predictions),
        "calibration": None if val is None else scale(val, scored, resamples=request.resamples).results,
        "calibration_missing": val_missing,
        "subgroups": [report for name in request.by for report in _subgroups(scored, tiers, name, request, thresholds)],
    }  # fmt: skip
    return EvaluationResult(record.without_nan(results), labelled, scored)


def _require_ensemble(members: Sequence[Run]) -> None:
    require_members(members)
    if len(members) > 1 and any(member.multilabel for member in members):
        raise UserError(
            "Runs of several labels per image are no ensemble: each has thresholds of its own",
            "Evaluate one of them; --tta works.",
        )


def _own_test_part(members: Sequence[Run], request: Request) -> tuple[Labelled, dict[str, Any] | None]:
    """The test part of the first run, without images that another member was trained on."""
    run, views = members[0], VIEWS[request.tta]
    first = own_part(run, "test", request.overrides, request.device, views)
    others = [member for member in members if not _same_split(member, run)]
    overlap = None
    if others:
        rows = first.rows.numpy()
        unseen_rows, overlap = unseen(others, first.manifest, rows, request.leave_out_trained, request.overrides)
        first = first.select(np.isin(rows, unseen_rows))
    parts = [first]
    for member in members[1:]:
        if _same_split(member, run):
            parts.append(own_part(member, "test", request.overrides, request.device, views))
        else:
            cfg = own_config(run, request.overrides)
            rows, labels = first.rows.numpy(), first.labels.numpy()
            parts.append(other_images(member, first.manifest, rows, labels, cfg, request.device, views))
    return joined(parts), overlap


def _same_split(run: Run, other: Run) -> bool:
    return run.metrics["run"]["dataset"] == other.metrics["run"]["dataset"] and (
        run.metrics["split"]["hash"] == other.metrics["split"]["hash"]
    )


def tiers_of(run: Run) -> dict[str, list[int]]:
    """Class indices of head, medium and tail, by the run's own training images."""
    tiers = run.metrics["tiers"]
    return {tier: [run.classes.index(code) for code in tiers[tier]] for tier in ("head", "medium", "tail")}


def _reproduces(test: dict[str, Any], recorded: dict[str, Any]) -> dict[str, Any]:
    """Compares the metrics with those that the run recorded."""
    recomputed = record.without_nan(test)
    pairs = [
        (recomputed["scalars"][name], value)
        for name, value in recorded["scalars"].items()
        if name in recomputed["scalars"]
    ]
    differences = [abs(new - old) for new, old in pairs if new is not None and old is not None]
    return {"exact": recomputed == recorded, "largest_difference": max(differences, default=0.0)}


def _none_of_the_classes(predictions: Predictions) -> dict[str, Any] | None:
    """The run's predictions for images of none of its classes, and whether it is less confident about them."""
    from sklearn.metrics import roc_auc_score

    outside = predictions.labels < 0
    if not outside.any():
        return None
    confidence = predictions.probabilities.max(1)
    predicted = np.bincount(predictions.probabilities[outside].argmax(1), minlength=len(predictions.classes))
    return {
        "images": int(outside.sum()),
        "predicted": dict(zip(predictions.classes, predicted.tolist(), strict=True)),
        # How often an image of a class has a larger maximum probability than one of none (Hendrycks and Gimpel 2017).
        "auroc": None if outside.all() else float(roc_auc_score(~outside, confidence)),
    }


def _validation_or_reason(members: Sequence[Run], request: Request) -> tuple[Predictions | None, str | None]:
    """The members' validation predictions, or why there are none."""
    try:
        val = _validation(members, request)
    except UserError as error:
        return None, str(error).splitlines()[0]
    return (val, None) if len(val) else (None, "the run has no validation images")


def _label_thresholds(
    run: Run, val: Predictions | None, val_missing: str | None, tta: str
) -> tuple[np.ndarray | None, dict[str, str]]:
    """Thresholds `[K]` of several labels, and the views that they were chosen on."""
    thresholds = thresholds_of(run)
    if thresholds is None:
        return None, {}
    if tta != "none" and val is not None:
        return label_thresholds(val.evaluation()), {"threshold_views": tta}
    if tta != "none":
        warnings.warn(
            f"labels of --tta {tta} are decided at the run's thresholds, which were chosen on one view: {val_missing}",
            stacklevel=2,
        )
    return thresholds, {"threshold_views": "none"}


def _validation(members: Sequence[Run], request: Request) -> Predictions:
    """The members' predictions for the validation images, which must be the same for all; of the requested views."""
    run = members[0]
    where = () if choice(request.overrides, "dataset") else request.overrides
    if len(members) == 1 and request.tta == "none":
        return validation(run, where, request.device)
    if not all(_same_split(member, run) for member in members):
        raise UserError("the members have no validation images in common, on which a temperature could be fitted")
    views = VIEWS[request.tta]
    return joined([own_part(member, "val", where, request.device, views) for member in members]).predictions


def _subgroups(
    scored: Predictions, tiers: dict[str, list[int]], attribute: str, request: Request, thresholds: np.ndarray | None
) -> list[dict[str, Any]]:
    require_attributes([attribute], scored.attributes)
    values = categories(scored.attributes[attribute], attribute)
    reports = by_subgroup(
        scored.evaluation(), tiers, values, attribute=attribute,
        metrics=request.metrics or default_metrics(scored.multilabel, scored.classes), thresholds=thresholds,
        groups=scored.groups, resamples=request.resamples,
    )  # fmt: skip
    return [asdict(report) for report in reports]


def default_metrics(multilabel: bool, classes: Sequence[str]) -> tuple[str, ...]:
    """The metrics that subgroups are compared by unless others are requested."""
    return ("macro_ap", *(f"auroc:{code}" for code in classes)) if multilabel else ("balanced_accuracy",)
