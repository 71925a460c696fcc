"""The document of `ltmed evaluate`, from evaluation.json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ltmed.evaluation.scalars import SCALARS
from ltmed.evaluation.subgroups import LEAST_IMAGES
from ltmed.report.decisions.cells import calibration_grids, count, document, grid, number, share
from ltmed.report.formatting import metric_name, p_value, percent
from ltmed.report.model import Document, Grid

_NUMBERS = ("quadratic_kappa", "mcc", "ece")


def evaluation_document(found: dict[str, Any]) -> Document:
    """Warnings, metrics beside the internal test, classes, calibration and subgroups.

    Args:
        found: evaluation.json, see `ltmed.inference.evaluate.evaluate_run`.
    """
    about, data = found["run"], found["data"]
    grids = [_metrics(found), _classes(found)]
    if found["calibration"] is not None:
        grids += calibration_grids(found["calibration"])
    grids += [_subgroups(report) for report in found["subgroups"]]
    title = f"{about['name']} on {'its own test part' if data['own'] else data['dataset']}: {data['images']:,} images"
    unit = found["test"]["intervals"]
    notes = [
        f"Intervals of 95 %: {unit['resamples']:,} bootstrap resamples of {unit['units']:,} {unit['unit']}s. "
        "Figures in percent, but kappa, MCC and calibration."
    ]
    return document(title, grids, _warnings(found), notes)


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
            f"No image of {', '.join(found['test']['absent'])}: averages are over the other classes, also those of the "
            "internal test here."
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
    own = found["data"]["own"]
    columns = {"metrics.json" if own else "internal test": found["internal"]}
    columns["evaluated" if own else found["data"]["dataset"]] = found["test"]
    columns = {name: part for name, part in columns.items() if part is not None}
    if own and found["reproduces"]["exact"]:
        del columns["metrics.json"]
    rows = []
    for name in SCALARS:
        if all(part["scalars"].get(name) is None for part in columns.values()):
            continue
        show = number if name in _NUMBERS else share
        cells = [show(part["scalars"].get(name), part["intervals"]["scalars"].get(name)) for part in columns.values()]
        rows.append((metric_name(name), cells))
    rows.append(("images", [count(part["images"]) for part in columns.values()]))
    equal = ["Equal to metrics.json in every number."] if own and found["reproduces"]["exact"] else []
    return grid("Metrics", columns, rows, equal)


def _classes(found: dict[str, Any]) -> Grid:
    own, internal = found["data"]["own"], found["internal"]
    before = {row["class"]: row for row in internal["per_class"]} if internal else {}
    intervals = found["test"]["intervals"]["per_class"]
    rows = []
    for row in found["test"]["per_class"]:
        code = row["class"]
        known = [] if own else [share(before.get(code, {}).get("recall"))]
        cells = [*known, *(share(row[name], intervals[code][name]) for name in ("recall", "precision", "auroc"))]
        theirs = found["data"]["classes"].get(code, [])
        label = code if own or theirs in ([], [code]) else f"{code} = {' + '.join(theirs)}"
        rows.append((f"{label} ({row['tier']})", [count(row["support"]), *cells]))
    headings = ["images", *([] if own else ["internal recall"]), "recall", "precision", "AUROC"]
    return grid("Classes", headings, rows)


def _subgroups(report: dict[str, Any]) -> Grid:
    metric = metric_name(report["metric"])
    rows = [
        (
            group["value"],
            [count(group["images"]), count(group["units"]), share(group["metric"], group["interval"])],
        )
        for group in report["subgroups"]
    ]
    notes = []
    if report["withheld"]:
        notes.append(
            f"{report['withheld']:,} images have no number: in a subgroup of fewer than {LEAST_IMAGES}, or without a "
            "value."
        )
    if gap := report["gap"]:
        low, high = gap["interval"]
        between = "" if None in (low, high) else f" (95 % {percent(low)} to {percent(high)})"
        p = gap["simultaneous_p"]
        chance = "" if p is None else f"; permuted over all subgroups {p_value(p)}"
        notes.append(
            f"Worst: {gap['worst']}. Largest gap {percent(gap['difference'])}, {gap['best']} over {gap['worst']}"
            f"{between}{chance}. The interval is of this pair, which was chosen for its gap."
        )
    if report["metric"] in ("balanced_accuracy", "macro_f1", "macro_recall", "macro_precision", "macro_auroc"):
        notes.append("Averages are over the classes that a subgroup has, which may differ.")
    return grid(f"{metric} by {report['attribute']}", ("images", "units", metric), rows, notes)
