"""ProCo: the running confidence of each class."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from ltmed.plots import style
from ltmed.plots.run.data import RunData


def omega(data: RunData, stage: str) -> Figure | None:
    """Omega of the selected checkpoint (Eq. 5)."""
    values = data.tensor(stage, "omega")
    if values is None:
        return None
    title = f"{data.title}: confidence omega"
    return omega_per_class(values.tolist(), data.classes, data.tiers, data.counts, title)


@style.styled
def omega_per_class(
    omega: Sequence[float], classes: Sequence[str], tiers: Sequence[str], counts: Sequence[int], title: str = ""
) -> Figure:
    """The running confidence as a bar of each class, or of many classes against their training images.

    Args:
        omega: K values of 0 to 1.
        classes: K names.
        tiers: K times "head", "medium" or "tail".
        counts: K training images.
        title: above the figure.
    """
    order = style.by_size(counts)
    named = len(classes) <= style.MAX_NAMED
    figure = style.new_figure(1.3 + 0.24 * len(order) if named else 4.0)
    axes = figure.add_subplot()
    handles = style.tier_handles(tiers, filled=named)
    if named:
        for place, k in enumerate(order):
            look = style.TIERS[tiers[k]]
            axes.barh(place, omega[k], 0.72, facecolor=look.colour, hatch=look.hatch, edgecolor="white")
            axes.annotate(f"{omega[k]:.3f}", (omega[k], place), (4, 0), textcoords="offset points", va="center")
        axes.set(xlim=(0, max(omega) * 1.15), xlabel="omega")
        style.class_rows(axes, style.labels(classes[k] for k in order))
    else:
        for tier, look in style.TIERS.items():
            members = [k for k in order if tiers[k] == tier]
            axes.plot(
                [counts[k] for k in members], [omega[k] for k in members], look.marker, color=look.colour, ms=4, ls=""
            )
        axes.set(xscale="log", xlabel="training images of the class", ylabel="omega")
        style.plain_numbers(axes.xaxis)
        axes.grid()
    figure.legend(handles=handles, loc="outside upper center", ncols=3, title=title or None)
    return figure
