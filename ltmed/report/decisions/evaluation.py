"""The document of `ltmed evaluate`, from evaluation.json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ltmed.evaluation.scalars import scalars_of
from ltmed.report.decisions.cells import calibration_grids, count, document, grid, measured, share
from ltmed.report.decisions.subgroups import subgroup_grids
from ltmed.report.formatting import metric_name
from ltmed.report.model import Document, Grid


def evaluation_document(results: dict[str, Any]) -> Document:
    """Warnings, metrics beside the internal test, classes, calibration and subgroups.

    Args:
        results: evaluation.json, see `ltmed.inference.evaluate.evaluate_run`.
    """
    data = results["data"]
    grids = [_metrics(results), _classes(results)]
    if results["calibration"] is not None:
        grids += calibration_grids(results["calibration"])
    grids += subgroup_grids(results["subgroups"])
    where = "its own test part" if data["own"] else data["dataset"]
    title = f"{_predicted_by(results)} on {where}: {data['images']:,} images"
    unit = results["test"]["intervals"]
    notes = [
        f"Intervals of 95 %: {unit['resamples']:,} bootstrap resamples of {unit['units']:,} {unit['unit']}s. "
        "Figures in percent, but kappa, MCC and calibration."
    ]
    if len(results["members"]["runs"]) > 1:
        notes.append("Mean probability of " + ", ".join(results["members"]["runs"]) + ".")
    return document(title, grids, _warnings(results), notes)


def _predicted_by(results: dict[str, Any]) -> str:
    members, name = results["members"], str(results["run"]["name"])
    number = len(members["runs"])
    views = "" if members["tta"] == "none" else f", views {members['tta']}"
    return (name if number == 1 else f"Ensemble of {number} runs, {name} the first") + views


def _warnings(results: dict[str, Any]) -> Iterator[str]:
    overlap, data = results["overlap"], results["data"]
    if overlap is not None and not overlap["checked"]:
        yield f"Not checked whether the run was trained on these images: {overlap['reason']}"
    if overlap is not None and overlap["left_out"]:
        yield (
            f"{overlap['left_out']:,} images left out, which the run was trained or chosen on ({overlap['equal']:,} "
            f"equal files, {overlap['alike']:,} that look the same)."
        )
    if data["dropped"]:
        yield "Left out by the map: " + ", ".join(f"{code} ({images:,})" for code, images in data["dropped"].items())
    if results["test"]["absent"]:
        yield (
            f"{'No image with (or none without)' if _labels(results) else 'No image of'} "
            f"{', '.join(results['test']['absent'])}: averages are over the other classes, also those of the internal "
            "test here."
        )
    reproduced = results["reproduces"]
    if reproduced is not None and not reproduced["exact"]:
        yield (
            f"The numbers differ from metrics.json, by at most {reproduced['largest_difference']:.2g}: another "
            "machine, device or version computed them."
        )
    members = results["members"]
    if members.get("threshold_views", members["tta"]) != members["tta"]:
        yield f"Labels of views {members['tta']} are decided at thresholds that were chosen on one view."
    if results["calibration"] is None:
        yield f"No calibration: {results['calibration_missing']}"
    if other := results["other"]:
        auroc = (
            "" if other["auroc"] is None else f"; AUROC of the largest probability against them {other['auroc']:.3f}"
        )
        classes = ", ".join(f"{code} {images:,}" for code, images in other["predicted"].items() if images)
        yield f"{other['images']:,} images of none of the classes, in no other number: predicted as {classes}{auroc}."


def _metrics(results: dict[str, Any]) -> Grid:
    own, reproduced = results["data"]["own"], results["reproduces"]
    alone = len(results["members"]["runs"]) == 1
    reference = "metrics.json" if own else "internal test"
    if not alone or results["members"]["tta"] != "none":
        reference = f"{'first' if own else reference + ', first'} run alone" if not alone else f"{reference}, one view"
    columns = {reference: results["internal"], "evaluated" if own else results["data"]["dataset"]: results["test"]}
    columns = {name: part for name, part in columns.items() if part is not None}
    if reproduced is not None and reproduced["exact"]:
        del columns[reference]
    rows = []
    for name in scalars_of(_labels(results)):
        if all(part["scalars"].get(name) is None for part in columns.values()):
            continue
        parts = columns.values()
        cells = [measured(name, part["scalars"].get(name), part["intervals"]["scalars"].get(name)) for part in parts]
        rows.append((metric_name(name), cells))
    rows.append(("images", [count(part["images"]) for part in columns.values()]))
    equal = ["Equal to metrics.json in every number."] if reproduced is not None and reproduced["exact"] else []
    return grid("Metrics", columns, rows, equal)


def _labels(results: dict[str, Any]) -> bool:
    return "thresholds" in results["test"]


def _classes(results: dict[str, Any]) -> Grid:
    own, internal = results["data"]["own"], results["internal"]
    columns = {"ap": "AP", "auroc": "AUROC", "recall": "recall", "precision": "precision"} if _labels(results) else {
        "recall": "recall", "precision": "precision", "auroc": "AUROC",
    }  # fmt: skip
    first = next(iter(columns))
    internal_rows = {row["class"]: row for row in internal["per_class"]} if internal else {}
    intervals = results["test"]["intervals"]["per_class"]
    rows = []
    for row in results["test"]["per_class"]:
        code = row["class"]
        internal_cells = [] if own else [share(internal_rows.get(code, {}).get(first))]
        cells = [*internal_cells, *(share(row[name], intervals[code][name]) for name in columns)]
        mapped = results["data"]["classes"].get(code, [])
        label = code if own or mapped in ([], [code]) else f"{code} = {' + '.join(mapped)}"
        rows.append((f"{label} ({row['tier']})", [count(row["support"]), *cells]))
    headings = ["images", *([] if own else [f"internal {columns[first]}"]), *columns.values()]
    notes = ["Recall and precision at the run's own thresholds, of the largest F1 on validation."] * _labels(results)
    bounds = [intervals[row["class"]][name] for row in results["test"]["per_class"] for name in columns]
    if any(low is not None and low == high for low, high in bounds):
        notes.append(
            "Resampling hits alone (or misses alone) gives the same again: 0 to 0 and 100 to 100 are no bounds."
        )
    return grid("Labels" if _labels(results) else "Classes", headings, rows, notes)
