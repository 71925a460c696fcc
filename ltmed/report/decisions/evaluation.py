"""The document of `ltmed evaluate`, from evaluation.json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ltmed.evaluation.scalars import scalars_of
from ltmed.report.decisions.cells import calibration_grids, count, document, grid, number, share
from ltmed.report.decisions.subgroups import subgroup_grids
from ltmed.report.formatting import metric_name
from ltmed.report.model import Document, Grid

_NUMBERS = ("quadratic_kappa", "mcc", "ece", "macro_ece")


def evaluation_document(found: dict[str, Any]) -> Document:
    """Warnings, metrics beside the internal test, classes, calibration and subgroups.

    Args:
        found: evaluation.json, see `ltmed.inference.evaluate.evaluate_run`.
    """
    data = found["data"]
    grids = [_metrics(found), _classes(found)]
    if found["calibration"] is not None:
        grids += calibration_grids(found["calibration"])
    grids += subgroup_grids(found["subgroups"])
    where = "its own test part" if data["own"] else data["dataset"]
    title = f"{_predicted_by(found)} on {where}: {data['images']:,} images"
    unit = found["test"]["intervals"]
    notes = [
        f"Intervals of 95 %: {unit['resamples']:,} bootstrap resamples of {unit['units']:,} {unit['unit']}s. "
        "Figures in percent, but kappa, MCC and calibration."
    ]
    if len(found["members"]["runs"]) > 1:
        notes.append("Mean probability of " + ", ".join(found["members"]["runs"]) + ".")
    return document(title, grids, _warnings(found), notes)


def _predicted_by(found: dict[str, Any]) -> str:
    members, name = found["members"], str(found["run"]["name"])
    number = len(members["runs"])
    views = "" if members["tta"] == "none" else f", views {members['tta']}"
    return (name if number == 1 else f"Ensemble of {number} runs, {name} the first") + views


def _warnings(found: dict[str, Any]) -> Iterator[str]:
    overlap, data = found["overlap"], found["data"]
    if overlap is not None and not overlap["checked"]:
        yield f"Not checked whether the run was trained on these images: {overlap['reason']}"
    if overlap is not None and overlap["left_out"]:
        yield (
            f"{overlap['left_out']:,} images left out, which the run was trained or chosen on ({overlap['equal']:,} "
            f"equal files, {overlap['alike']:,} that look the same)."
        )
    if data["dropped"]:
        yield "Left out by the map: " + ", ".join(f"{code} ({images:,})" for code, images in data["dropped"].items())
    if found["test"]["absent"]:
        yield (
            f"{'No image with (or none without)' if _labels(found) else 'No image of'} "
            f"{', '.join(found['test']['absent'])}: averages are over the other classes, also those of the internal "
            "test here."
        )
    reproduced = found["reproduces"]
    if reproduced is not None and not reproduced["exact"]:
        yield (
            f"The numbers differ from metrics.json, by at most {reproduced['largest_difference']:.2g}: another "
            "machine, device or version computed them."
        )
    if found["calibration"] is None:
        yield f"No calibration: {found['calibration_missing']}"
    if other := found["other"]:
        sure = "" if other["auroc"] is None else f"; AUROC of the largest probability against them {other['auroc']:.3f}"
        named = ", ".join(f"{code} {images:,}" for code, images in other["predicted"].items() if images)
        yield f"{other['images']:,} images of none of the classes, in no other number: predicted as {named}{sure}."


def _metrics(found: dict[str, Any]) -> Grid:
    own, again = found["data"]["own"], found["reproduces"]
    alone = len(found["members"]["runs"]) == 1
    before = "metrics.json" if own else "internal test"
    if not alone or found["members"]["tta"] != "none":
        before = f"{'first' if own else before + ', first'} run alone" if not alone else f"{before}, one view"
    columns = {before: found["internal"], "evaluated" if own else found["data"]["dataset"]: found["test"]}
    columns = {name: part for name, part in columns.items() if part is not None}
    if again is not None and again["exact"]:
        del columns[before]
    rows = []
    for name in scalars_of(_labels(found)):
        if all(part["scalars"].get(name) is None for part in columns.values()):
            continue
        show = number if name in _NUMBERS else share
        cells = [show(part["scalars"].get(name), part["intervals"]["scalars"].get(name)) for part in columns.values()]
        rows.append((metric_name(name), cells))
    rows.append(("images", [count(part["images"]) for part in columns.values()]))
    equal = ["Equal to metrics.json in every number."] if again is not None and again["exact"] else []
    return grid("Metrics", columns, rows, equal)


def _labels(found: dict[str, Any]) -> bool:
    return "thresholds" in found["test"]


def _classes(found: dict[str, Any]) -> Grid:
    own, internal = found["data"]["own"], found["internal"]
    shown = {"ap": "AP", "auroc": "AUROC", "recall": "recall", "precision": "precision"} if _labels(found) else {
        "recall": "recall", "precision": "precision", "auroc": "AUROC",
    }  # fmt: skip
    first = next(iter(shown))
    before = {row["class"]: row for row in internal["per_class"]} if internal else {}
    intervals = found["test"]["intervals"]["per_class"]
    rows = []
    for row in found["test"]["per_class"]:
        code = row["class"]
        known = [] if own else [share(before.get(code, {}).get(first))]
        cells = [*known, *(share(row[name], intervals[code][name]) for name in shown)]
        theirs = found["data"]["classes"].get(code, [])
        label = code if own or theirs in ([], [code]) else f"{code} = {' + '.join(theirs)}"
        rows.append((f"{label} ({row['tier']})", [count(row["support"]), *cells]))
    headings = ["images", *([] if own else [f"internal {shown[first]}"]), *shown.values()]
    notes = ["Recall and precision at the run's own thresholds, of the largest F1 on validation."] * _labels(found)
    bounds = [intervals[row["class"]][name] for row in found["test"]["per_class"] for name in shown]
    if any(low is not None and low == high for low, high in bounds):
        notes.append(
            "Resampling hits alone (or misses alone) gives the same again: 0 to 0 and 100 to 100 are no bounds."
        )
    return grid("Labels" if _labels(found) else "Classes", headings, rows, notes)
