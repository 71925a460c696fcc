"""Tables of subgroups: one for each attribute and single number, and one for the same number of every class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ltmed.evaluation.class_averages import MIN_IMAGES_OF_CLASS
from ltmed.evaluation.scalars import AVERAGES
from ltmed.evaluation.subgroups import MIN_IMAGES
from ltmed.report.decisions.cells import count, grid, measured, number, share
from ltmed.report.formatting import metric_name, p_value
from ltmed.report.model import Grid


def subgroup_grids(reports: Iterable[dict[str, Any]]) -> list[Grid]:
    """Tables of `ltmed.evaluation.subgroups.SubgroupReport` in plain values, in the order of attributes."""
    grids: list[Grid] = []
    by_class: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for report in reports:
        name, of_class, _ = report["metric"].partition(":")
        if of_class:
            by_class.setdefault((report["attribute"], name), []).append(report)
        else:
            grids.append(_single(report))
    return grids + [
        _of_classes(attribute, name, reports_of_metric) for (attribute, name), reports_of_metric in by_class.items()
    ]


def _single(report: dict[str, Any]) -> Grid:
    metric = metric_name(report["metric"])
    rows = [
        (
            group["value"],
            [
                count(group["images"]),
                count(group["units"]),
                measured(report["metric"], group["metric"], group["interval"]),
            ],
        )
        for group in report["subgroups"]
    ]
    notes = []
    if report["withheld"]:
        notes.append(
            f"{report['withheld']:,} images have no number: in a subgroup of fewer than {MIN_IMAGES}, or without a "
            "value."
        )
    if gap := report["gap"]:
        difference = measured(report["metric"], gap["difference"], gap["interval"])
        between = f" (95 % {difference.small})" if difference.small else ""
        p = gap["simultaneous_p"]
        p_text = f"; no p value: {gap['no_p']}" if p is None else f"; permuted over all subgroups {p_value(p)}"
        notes.append(
            f"Worst: {gap['worst']}. Largest gap {difference.text}, {gap['best']} over {gap['worst']}"
            f"{between}{p_text}. The interval is of this pair, which was chosen for its gap."
        )
    if report["metric"] in AVERAGES:
        notes.append("Averages are over the classes that a subgroup has, which may differ.")
    if report["left_out"]:
        compared = f"Worst and gap are over {', '.join(gap['classes'])}, the" if gap else "No gap: there are too few"
        notes.append(
            f"{compared} classes common to all subgroups with a number. Left out: {', '.join(report['left_out'])} (in "
            f"one of them fewer than {MIN_IMAGES_OF_CLASS} images with the class, or without it)."
        )
    return grid(f"{metric} by {report['attribute']}", ("images", "units", metric), rows, notes)


def _of_classes(attribute: str, name: str, reports: Sequence[dict[str, Any]]) -> Grid:
    """One row for each class, one column for each subgroup."""
    values = [f"{group['value']} ({group['images']:,})" for group in reports[0]["subgroups"]]
    rows = []
    for report in reports:
        gap = report["gap"]
        gap_cells = [share(None), number(None)]
        if gap is not None:
            gap_cells = [measured(name, gap["difference"], gap["interval"]), number(gap["simultaneous_p"])]
        cells = [measured(name, group["metric"], group["interval"]) for group in report["subgroups"]]
        rows.append((report["metric"].partition(":")[2], [*cells, *gap_cells]))
    notes = [
        f"Withheld where a subgroup has fewer than {MIN_IMAGES} images, or fewer than {MIN_IMAGES_OF_CLASS} with the "
        "class or without it. p: share of permutations of the attribute with a gap as large, not corrected for "
        f"{len(reports)} classes."
    ]
    notes += dict.fromkeys(
        f"No p value: {gap['no_p']}." for report in reports if (gap := report["gap"]) and gap["no_p"]
    )
    return grid(f"{metric_name(name)} of each class by {attribute}", [*values, "largest gap", "p"], rows, notes)
