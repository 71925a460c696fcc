"""The sections of a card on results: performance, calibration, operating points, subgroups, limits."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

from omegaconf import OmegaConf

from ltmed.config.instantiate import per_stage
from ltmed.inference.card_results import CardResults
from ltmed.report import protocol
from ltmed.report.decisions.cells import calibration_grids
from ltmed.report.decisions.decide import few_validation_images, point_grid
from ltmed.report.decisions.subgroups import subgroup_grids
from ltmed.report.formatting import metric_name, percent
from ltmed.report.model import FormattedCell, Grid
from ltmed.runs.reader import Run

FEW = 30
"""Classes with fewer test images are called uncertain."""
Text = tuple[str, ...]
_OF_A_CLASS = {
    "recall": "recall (sensitivity)",
    "precision": "precision (PPV)",
    "f1": "F1",
    "auroc": "AUROC",
}


def performance(run: Run) -> tuple[Grid, ...]:
    """All metrics of the test part, and those of each class."""
    return (_scalars(run), _classes(run))


def selection(run: Run) -> list[tuple[str, str]]:
    """How validation images selected the epochs of the stages, as name and text; empty where all are the last ones."""
    cfg, stages = run.config, list(run.config.method.stages)
    highest, metric = str(cfg.monitor_mode) == "max", metric_name(str(cfg.monitor))
    found: list[tuple[str, str]] = []
    if any(stage.keep == "best" for stage in cfg.method.stages.values()):
        found.append(("best epoch", f"that of the {'best' if highest else 'lowest'} {metric} on the validation part"))
    ends = per_stage(OmegaConf.select(cfg, "finetune.early_stopping"), stages, "finetune.early_stopping")
    for name, epochs in ends.items():
        if epochs is not None:
            text = f"after {epochs} epochs without a {'better' if highest else 'lower'} {metric} on the validation part"
            found.append((f"early end of stage {name}" if len(stages) > 1 else "early end", text))
    return found


def _scalars(run: Run) -> Grid:
    metrics = run.metrics
    test, intervals = metrics["test"], metrics["test"]["intervals"]
    rows = tuple(
        (metric_name(name), (FormattedCell(_percent(value), between(intervals["scalars"].get(name))),
                             FormattedCell(_percent(metrics["val"]["scalars"].get(name)))))
        for name, value in test["scalars"].items()
    )  # fmt: skip
    note = (
        f"Percent. In brackets {100 * intervals['level']:.0f} % intervals: bootstrap over {intervals['resamples']:,} "
        f"resamples of {intervals['units']:,} {intervals['unit']}s of the test part, with the same training."
    )
    notes = (note, "The checkpoint was chosen by the validation part.") if selection(run) else (note,)
    return Grid("Overall", ("test", "validation"), rows, notes)


def _classes(run: Run) -> Grid:
    intervals = run.metrics["test"]["intervals"]["per_class"]
    columns = ({"ap": "AP"} if run.multilabel else {}) | _OF_A_CLASS
    rows = tuple(
        (row["class"], (FormattedCell(f"{row['support']:,}"), *(
            FormattedCell(_percent(row[key]), between(intervals.get(row["class"], {}).get(key))) for key in columns
        )))
        for row in run.metrics["test"]["per_class"]
    )  # fmt: skip
    notes = ["Percent, with the same intervals."]
    bounds = [intervals.get(row["class"], {}).get(key) for row in run.metrics["test"]["per_class"] for key in columns]
    if any(bound is not None and bound[0] is not None and bound[0] == bound[1] for bound in bounds):
        notes.append(
            "Resampling hits alone (or misses alone) gives the same again: [0, 0] and [100, 100] bound nothing."
        )
    if run.multilabel:
        notes.append("Recall, precision and F1 at the threshold of the largest F1 on validation images.")
    return Grid("By label" if run.multilabel else "By class", ("test images", *columns.values()), rows, tuple(notes))


def _percent(value: float | None) -> str:
    return "undefined" if value is None else percent(value)


def between(bounds: Sequence[float | None] | None) -> str:
    """`[54.1, 64.1]` in percent; nothing where a bound is undefined."""
    if bounds is None or any(bound is None for bound in bounds):
        return ""
    return f"[{', '.join(percent(bound) for bound in bounds if bound is not None)}]"


def calibration(run: Run, results: CardResults) -> tuple[Text, tuple[Grid, ...]]:
    """How far probabilities agree with observed frequencies, before and after calibration on validation images."""
    sentences = [
        "How far the network's probabilities agree with what happened on the test part: as they are, and after a "
        "calibration that was fitted on validation images."
    ]
    ece = "macro_ece" if run.multilabel else "ece"
    if results.decisions is not None:
        sentences += _average_confidence(run, results)
        return tuple(sentences), tuple(calibration_grids(results.decisions["calibration"]))
    test = run.metrics["test"]
    if (value := test["scalars"].get(ece)) is not None:
        bounds = between(test["intervals"]["scalars"].get(ece))
        sentences.append(f"As they are: {metric_name(ece)} {percent(value)} % {bounds}".rstrip() + ".")
    sentences.append(f"Not calibrated: {results.no_decisions}.")
    return tuple(sentences), ()


def _average_confidence(run: Run, results: CardResults) -> Iterator[str]:
    if run.multilabel or results.predictions is None:
        return
    probabilities, labels = results.predictions.probabilities.astype(float), results.predictions.labels
    confidence, accuracy = float(probabilities.max(1).mean()), float((probabilities.argmax(1) == labels).mean())
    direction = "overconfident" if confidence > accuracy else "underconfident"
    gap = percent(abs(confidence - accuracy))
    yield (
        f"On average the confidence is {percent(confidence)} % and the accuracy {percent(accuracy)} %: {direction} by "
        f"{gap} points. A uniform guess has a negative log likelihood of {math.log(len(run.classes)):.3f}."
    )


def operating_points(results: CardResults) -> tuple[Text, tuple[Grid, ...]]:
    """Thresholds from validation images, and their results on test images."""
    if results.decisions is None:
        return (f"None: {results.no_decisions}.",), ()
    sentences = (
        "One class (or label) against the rest, by a threshold of its calibrated probability.",
        *few_validation_images(results.decisions["points"]),
    )
    return sentences, (point_grid(results.decisions["points"]),)


def compared_subgroups(results: CardResults) -> tuple[Text, tuple[Grid, ...]]:
    """The test part by the attributes of its images."""
    if not results.subgroups:
        return (f"Not compared: {results.no_subgroups}.",), ()
    return ("Intervals of 95 %, over whole groups where these are known.",), tuple(subgroup_grids(results.subgroups))


def limits(run: Run, results: CardResults) -> Iterator[str]:
    """The limits of the results."""
    metrics = run.metrics
    yield (
        "One training with one seed on one split: another seed or split gives other figures, and the intervals do not "
        "cover that."
    )
    files = sorted(run.path.glob("evaluations/*/evaluation.json"))
    elsewhere = [file.parent.name for file in files if not json.loads(file.read_text(encoding="utf-8"))["data"]["own"]]
    own = f"images of the same data set ({metrics['run']['dataset']})"
    if elsewhere:
        yield f"All figures here are of {own}; beside the run are evaluations on others: {', '.join(elsewhere)}."
    else:
        yield f"Tested on {own} only, not on those of another hospital."
    split = metrics["split"]
    if split["leakage"] is None:
        yield "Whether images of one patient or lesion are in both training and test part is unknown."
    elif split["leakage"]["leaking"]:
        yield f"Leakage: {dict(protocol.facts([run]))['leakage']}. The figures are too good for new patients."
    few = [f"{row['class']} ({row['support']})" for row in metrics["test"]["per_class"] if 0 < row["support"] < FEW]
    if few:
        yield f"Fewer than {FEW} test images of {', '.join(few)}: their figures are uncertain, see the intervals."
    if absent := metrics["test"].get("absent"):
        what = "with (or none without)" if run.multilabel else "of"
        yield f"No test image {what} {', '.join(absent)}: nothing is known about them, and no average includes them."
    yield from _worst(run)
    if skipped := len(metrics["skipped"]):
        yield f"{skipped:,} unreadable images took no part."
    if metrics["git"]["dirty"]:
        yield "The code had uncommitted changes, so that its commit does not say all of it."
    yield from (f"{warning}." if not warning.endswith(".") else warning for warning in metrics.get("warnings", ()))
    if not results.subgroups:
        yield f"Differences between groups of patients (age, sex, skin type, site) are unknown: {results.no_subgroups}."


def _worst(run: Run) -> Iterator[str]:
    key = "auroc" if run.multilabel else "recall"
    rows = [row for row in run.metrics["test"]["per_class"] if row[key] is not None]
    if not rows:
        return
    low = min(row[key] for row in rows)
    worst = [row["class"] for row in rows if row[key] == low]  # Several, above all of 0 %.
    noun, verb = ("label", "is") if len(worst) == 1 else ("labels", "are")
    if run.multilabel:
        yield f"The worst {noun} {verb} {', '.join(worst)}: AUROC {percent(low)} % (a guess has 50 %)."
    else:
        noun, whose = ("class", "its") if len(worst) == 1 else ("classes", "their")
        yield f"The worst {noun} {verb} {', '.join(worst)}: {percent(low)} % of {whose} test images are recognised."
