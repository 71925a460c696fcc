"""The results on the card of a run beyond metrics.json: calibration, operating points and subgroups.

They are read from the files that `ltmed decide` and `ltmed evaluate` wrote into the run's folder, or else computed from
the run's recorded predictions. No network and no image is needed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ltmed.errors import UserError
from ltmed.evaluation.subgroups import by_subgroup, categories
from ltmed.inference import decide, evaluate
from ltmed.inference.evaluation_folder import FOLDER, RESULTS
from ltmed.inference.parts import thresholds_of
from ltmed.runs import record
from ltmed.runs.predictions import Predictions, of_part
from ltmed.runs.reader import Run
from ltmed.utils.files import read_json_map


@dataclass(frozen=True)
class CardResults:
    """The results; each part may be missing, and then a text says why."""

    decisions: dict[str, Any] | None
    """decisions.json of the test part, see `ltmed.inference.decide.decide_run`."""
    no_decisions: str
    subgroups: tuple[dict[str, Any], ...]
    """`ltmed.evaluation.subgroups.SubgroupReport` in plain values."""
    no_subgroups: str
    predictions: Predictions | None
    """Of the test part."""


def card_results(run: Run, *, resamples: int = 1000) -> CardResults:
    """Reads, or else computes, what the card needs.

    Args:
        run: finished.
        resamples: of the intervals that are computed.
    """
    try:
        test = of_part(run, "test")
    except FileNotFoundError:
        missing = f"{record.PREDICTIONS} is not in the run's folder"
        return CardResults(_stored_decisions(run), missing, (), missing, None)
    decided, no_decisions = _decisions(run, resamples)
    subgroups, no_subgroups = _subgroups(run, test, resamples)
    return CardResults(decided, no_decisions, subgroups, no_subgroups, test)


def _stored_decisions(run: Run) -> dict[str, Any] | None:
    """The saved decisions on the run's test part: an evaluation of other data may be called "test" as well."""
    decisions = read_json_map(run.path / decide.DECISIONS / "test" / "decisions.json")
    return decisions if decisions is not None and decisions.get("own") else None


def _stored_evaluation(run: Run) -> dict[str, Any] | None:
    """The saved evaluation of the run's own test part by the run alone; any evaluation may be called "own"."""
    evaluation = read_json_map(run.path / FOLDER / "own" / RESULTS)
    if evaluation is None or not evaluation["data"]["own"]:
        return None
    members = evaluation["members"]
    return evaluation if len(members["runs"]) == 1 and members["tta"] == "none" else None


def _decisions(run: Run, resamples: int) -> tuple[dict[str, Any] | None, str]:
    if (saved := _stored_decisions(run)) is not None:
        return saved, ""
    if not (run.path / record.VALIDATION).is_file():
        return None, f"the run has no {record.VALIDATION}; ltmed decide makes it from the images"
    try:
        return decide.decide_run(run, resamples=resamples).results, ""
    except UserError as error:
        return None, str(error).splitlines()[0]


def _subgroups(run: Run, test: Predictions, resamples: int) -> tuple[tuple[dict[str, Any], ...], str]:
    saved = _stored_evaluation(run)
    # Gaps from before averages were compared over common classes are computed again.
    if saved is not None and saved["subgroups"] and all("left_out" in report for report in saved["subgroups"]):
        return tuple(saved["subgroups"]), ""
    subgroups: list[dict[str, Any]] = []
    for name, cells in test.attributes.items():
        try:
            values = categories(cells, name)
        except UserError:  # It has hundreds of values.
            continue
        if not any(value is not None for value in values):
            continue
        reports = by_subgroup(
            test.evaluation(), evaluate.tiers_of(run), values, attribute=name,
            metrics=evaluate.default_metrics(run.multilabel, run.classes), thresholds=thresholds_of(run),
            groups=test.groups, resamples=resamples,
        )  # fmt: skip
        subgroups += [record.without_nan(asdict(report)) for report in reports]
    return tuple(subgroups), "" if subgroups else "the predictions of the run have no attributes (age, sex, site, ...)"
