"""Forest plot of subgroups: a metric with its interval for each value of one or several attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from ltmed.evaluation.scalars import LOWEST
from ltmed.plots import style
from ltmed.report.formatting import metric_name


@style.styled
def forest(reports: Sequence[Mapping[str, Any]], overall: float | None, title: str = "") -> Figure:
    """One row for each subgroup with its number of images; the worst of each attribute is marked.

    The worst is that of the gap, which is over the classes that all subgroups have. Where these are not all classes, it
    may differ from the lowest, and the legend says so.

    Args:
        reports: of one metric, one for each attribute, as `ltmed.evaluation.subgroups.SubgroupReport` in plain values.
        overall: the metric of all images, a dashed line; None for none.
        title: above the figure.
    """
    rows: list[tuple[str, Mapping[str, Any] | None, bool]] = []
    for report in reports:
        rows.append((report["attribute"], None, False))
        worst = report["gap"]["worst"] if report["gap"] else None
        rows += [(group["value"], group, group["value"] == worst) for group in report["subgroups"]]
    figure = style.new_figure(1.2 + 0.26 * len(rows))
    axes = figure.add_subplot()
    names = []
    for row, (name, group, worst) in enumerate(rows):
        names.append(style.label(name))
        if group is None:
            continue
        names[-1] = f"{style.label(name)} (n = {group['images']:,})"
        if group["metric"] is None:
            # x from the left edge, y in rows.
            transform = axes.get_yaxis_transform()
            axes.text(0.02, row, "too few images", color=style.GREY, fontsize=8, va="center", transform=transform)
            continue
        marker_style: dict[str, Any] = (
            {"color": style.VERMILLION, "marker": "D"} if worst else {"color": style.BLUE, "marker": "o"}
        )
        low, high = (group["metric"] if bound is None else bound for bound in group["interval"])
        axes.plot([low, high], [row, row], color=marker_style["color"], lw=1.4)
        axes.plot([group["metric"]], [row], ms=5.5, ls="", **marker_style)
        axes.annotate(
            f"{100 * group['metric']:.0f} ({100 * low:.0f} to {100 * high:.0f})", (1.02, row), fontsize=8,
            va="center", annotation_clip=False,
        )  # fmt: skip
    if overall is not None:
        axes.axvline(overall, color=style.BLACK, ls="--", lw=1, label="all images")
    common = ", by the classes of all its subgroups" if any(report["left_out"] for report in reports) else ""
    axes.plot([], [], ls="", marker="D", color=style.VERMILLION, label=f"worst of its attribute{common}")
    style.class_rows(axes, names)
    for tick, (_, group, _) in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if group is None else "normal")
    name, _, code = str(reports[0]["metric"]).partition(":")
    metric = metric_name(name) + (f" of {style.label(code)}" if code else "")
    axes.set(xlim=(LOWEST.get(name, 0.0), 1), xlabel=f"{metric}, with 95 % interval")
    figure.legend(loc="outside upper center", ncols=2, title=title or None)
    return figure
