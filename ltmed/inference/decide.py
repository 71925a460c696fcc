"""Decisions from the probabilities of a finished run: thresholds, costs and sets, from validation to test images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.config.overrides import choice
from ltmed.errors import UserError, suggest
from ltmed.evaluation.sets import conformal_sets
from ltmed.evaluation.thresholds import Scores, least_cost, operating_point
from ltmed.inference.evaluate import tiers_of
from ltmed.inference.evaluation_folder import FOLDER, RESULTS
from ltmed.inference.parts import own_config, validation
from ltmed.inference.scaling import scale
from ltmed.runs import record
from ltmed.runs.predictions import Predictions, of_part, read
from ltmed.runs.reader import Run
from ltmed.utils.text_yaml import read_yaml

DECISIONS = "decisions"
SENSITIVITY = 0.9
"""Target of the table of all classes."""


@dataclass(frozen=True)
class Point:
    """A requested operating point."""

    code: str
    criterion: str
    target: float | None = None


@dataclass(frozen=True)
class DecisionResults:
    """The results of `ltmed decide`."""

    results: dict[str, Any]
    """decisions.json, see `decide_run`."""
    test: Scores
    """Calibrated."""


def point(text: str, criterion: str, classes: Sequence[str]) -> Point:
    """`MEL=0.95` as an operating point.

    Raises:
        UserError: not of this form, an unknown class, or not a share.
    """
    code, equals, value = text.rpartition("=")
    try:
        target = float(value)
    except ValueError:
        target = float("nan")
    if not equals or not 0 < target <= 1:
        raise UserError(f"--{criterion} {text} is not CLASS=SHARE", f"For instance --{criterion} {classes[0]}=0.95.")
    return Point(_class_named(code, classes), criterion, target)


def _class_named(code: str, classes: Sequence[str]) -> str:
    by_folded = {name.casefold(): name for name in classes}
    if code not in classes and code.casefold() not in by_folded:
        raise UserError(f"The run has no class '{code}'", suggest(code, classes))
    return code if code in classes else by_folded[code.casefold()]


def read_costs(file: Path, classes: Sequence[str]) -> np.ndarray:
    """Reads a cost matrix: YAML, `true class: {decision: cost}`; other mistakes cost 1, right decisions nothing.

    Returns:
        float64 `[K, K]`, row = true class, column = decision.

    Raises:
        UserError: no file, an unknown class, a pair of classes that is given twice, or a value that is no cost.
    """
    hint = f"One line for each true class, for instance '{classes[0]}: {{{classes[-1]}: 20}}'."
    content = read_yaml(file, f"--cost={file}", hint)
    if not isinstance(content, dict) or not all(isinstance(row, dict) for row in content.values()):
        raise UserError(f"--cost={file} is no map of true classes to costs", hint)
    cost, given = 1 - np.eye(len(classes)), set[tuple[int, int]]()
    for true, row in content.items():
        for decision, value in row.items():
            true_k, decision_k = [list(classes).index(_class_named(code, classes)) for code in (true, decision)]
            if (true_k, decision_k) in given:  # Keys that differ in case.
                raise UserError(f"--cost={file}: {true} as {decision} has two costs", "Give one.")
            given.add((true_k, decision_k))
            cost[true_k, decision_k] = _cost(value, f"--cost={file}: {true} as {decision}")
    return cost


def _cost(value: Any, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not 0 <= number < np.inf:
        raise UserError(f"{what} costs '{value}'", "Give a number of at least 0.")
    return number


def test_predictions(run: Run, evaluation: str | None) -> tuple[Predictions, str]:
    """The predictions that decisions are judged on, and their name.

    Args:
        run: a finished run.
        evaluation: name of one of its evaluations; None takes its own test part.

    Raises:
        UserError: there is no such evaluation, it is of an ensemble, or the predictions were left behind when the run
            was copied.
    """
    if evaluation is None:
        try:
            return of_part(run, "test"), "its test part"
        except FileNotFoundError as error:
            raise UserError(f"{error} is missing", "Copy the whole folder of the run.") from None
    folder = run.path / FOLDER / evaluation
    try:
        saved = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        members = saved["members"]
        predictions = read(folder / record.PREDICTIONS, tuple(run.classes), saved["group"])
    except (OSError, ValueError, LookupError):
        existing = sorted(file.parent.name for file in run.path.glob(f"{FOLDER}/*/{RESULTS}"))
        hint = suggest(evaluation, existing) if existing else "ltmed evaluate makes them."
        raise UserError(f"{run.path} has no evaluation '{evaluation}'", hint) from None
    if len(members["runs"]) > 1 or members["tta"] != "none":
        raise UserError(
            f"The evaluation '{evaluation}' is of an ensemble or of several views, and the run's validation "
            "predictions, which thresholds are chosen on, are of one network and one view",
            "Choose an evaluation of the run alone.",
        )
    return predictions.select(predictions.usable), saved["data"]["dataset"]


def decide_run(
    run: Run,
    points: Sequence[Point] = (),
    *,
    cost: np.ndarray | None = None,
    target: float | None = None,
    evaluation: str | None = None,
    overrides: Sequence[str] = (),
    device: str = "auto",
    resamples: int = 1000,
) -> DecisionResults:
    """Calibrates, chooses thresholds and sets on validation images, and judges them on test images.

    Args:
        run: a finished run.
        points: operating points; none takes every class at Youden's index and at a sensitivity of `SENSITIVITY`.
        cost: see `read_costs`; None for no decisions by cost.
        target: coverage of conformal sets; None for none.
        evaluation: judge on one of the run's evaluations instead of its test part.
        overrides: where the run's data are, in case validation predictions have to be computed again.
        device: likewise.
        resamples: of all intervals.

    Returns:
        `results` has: `run`, `on` (and `own`, whether that is its test part), `images`, `unit`; `calibration`;
        `points`, rows of class and `ltmed.evaluation.thresholds.operating_point`; `costs` or null; `sets` or null.

    Raises:
        UserError: no validation images, predictions that are missing, a share that is none; costs or sets of several
            labels; overrides of anything but where the run's data are.
    """
    if choice(overrides, "dataset") is not None:
        raise UserError(
            "dataset=NAME does not choose the images that decisions are judged on",
            "Evaluate the run on other data first (ltmed evaluate), then decide with --on and the evaluation's name.",
        )
    own_config(run, overrides)  # Recorded predictions need no data, and mistakes would remain unseen.
    if run.multilabel:
        _require_one_label(cost, target)
    val = validation(run, overrides, device)
    if not len(val):
        raise UserError(f"{run.path} has no validation images", "Decisions need a split with some.")
    test, name = test_predictions(run, evaluation)
    if not len(test):
        raise UserError("There are no test images", "Choose another evaluation.")
    scaled = scale(val, test, resamples=resamples)
    chosen_on = Scores(scaled.validation, val.labels, val.groups)
    judged = Scores(scaled.test, test.labels, test.groups)
    requested = points or [
        Point(code, criterion, share)
        for code in run.classes
        for criterion, share in (("youden", None), ("sensitivity", SENSITIVITY))
    ]
    results = {
        "run": run.metrics["run"],
        "on": name,
        "own": evaluation is None,
        "images": len(test),
        "unit": test.unit,
        "resamples": resamples,
        "calibration": scaled.results,
        "points": [
            {
                "class": requested_point.code,
                **operating_point(
                    chosen_on,
                    judged,
                    run.classes.index(requested_point.code),
                    requested_point.criterion,
                    requested_point.target,
                    resamples=resamples,
                ),
            }
            for requested_point in requested
        ],
        "costs": None if cost is None else least_cost(judged, cost, resamples=resamples),
        "sets": None if target is None else _sets(run, val, test, target, resamples),
    }
    return DecisionResults(record.without_nan(results), judged)


def _require_one_label(cost: np.ndarray | None, target: float | None) -> None:
    what = "--cost chooses" if cost is not None else "--sets promises" if target is not None else ""
    if what:
        raise UserError(
            f"{what} one class of each image, and the images of this run may carry several labels",
            "Operating points are of one label each: --sensitivity LABEL=SHARE, --specificity LABEL=SHARE.",
        )


def _sets(run: Run, val: Predictions, test: Predictions, target: float, resamples: int) -> dict[str, Any]:
    # Of the network's own probabilities: a temperature from the same images would weaken the promise.
    raw = [Scores(part.probabilities.astype(np.float64), part.labels, part.groups) for part in (val, test)]
    prior = np.array([run.metrics["split"]["counts"]["train"][code] for code in run.classes], dtype=float)
    return conformal_sets(raw[0], raw[1], prior=prior, tiers=tiers_of(run), target=target, resamples=resamples)


def write(folder: Path, decided: DecisionResults) -> None:
    """Writes decisions.json into a folder, which is made if needed.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record.write_atomic(folder / "decisions.json", record.to_json(decided.results))
