"""Features of images in the plane, by class, with the tiers marked: of one run, or of several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ltmed.errors import UserError
from ltmed.plots import style, titles

Embedding = Literal["tsne", "umap"]
MAX_IMAGES = 3000
"""Images of a map; t-SNE of so many takes about ten seconds."""
MAX_SHADED = 7
"""Up to so many classes have shades of their own."""


def choose_images(labels: np.ndarray, limit: int = MAX_IMAGES) -> np.ndarray:
    """Positions of about `limit` images, evenly spaced in each class; large classes are subsampled first.

    Args:
        labels: int64 [N], class indices.
        limit: approximate number of images; at least one of every class is selected.
    """
    counts = np.bincount(labels)
    cap = int(counts.max(initial=1))
    while cap > 1 and np.minimum(counts, cap).sum() > limit:
        cap = max(1, int(cap * 0.9))
    selected = []
    for k in np.flatnonzero(counts):
        members = np.flatnonzero(labels == k)
        selected.append(members[np.linspace(0, len(members) - 1, min(len(members), cap)).round().astype(int)])
    return np.sort(np.concatenate(selected))


def embed(features: np.ndarray, embedding: Embedding, seed: int = 0) -> np.ndarray:
    """[N, D] -> [N, 2], the same for the same seed on one machine.

    Args:
        features: at least 3 rows.
        embedding: "tsne" (van der Maaten and Hinton 2008) or "umap" (McInnes et al. 2018), which needs umap-learn.
        seed: of its random numbers.

    Raises:
        UserError: umap-learn is not installed.
    """
    scaled = (features - features.mean(0)) / (features.std() + 1e-12)
    if embedding == "tsne":
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(scaled) - 1) / 3)
        return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(scaled)
    try:
        from umap import UMAP  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "--features umap needs umap-learn", "pip install 'ltmed[umap]', or choose --features tsne."
        ) from None
    return UMAP(random_state=seed, n_jobs=1, n_neighbors=min(15, len(scaled) - 1)).fit_transform(scaled)


class Points(NamedTuple):
    """Features of one run in the plane."""

    title: str
    positions: np.ndarray
    """[N, 2]."""
    labels: np.ndarray
    """int64 [N], class indices."""


@style.styled
def feature_map(
    panels: Sequence[Points],
    classes: Sequence[str],
    tiers: Sequence[str],
    counts: Sequence[int],
    title: str = "",
    selected: Sequence[int] = (),
) -> Figure:
    """Features of images as points, a panel for each run: colour, marker and order by tier, the tail on top.

    Up to `MAX_SHADED` classes have a shade each of their tier's colour, the largest of a tier the darkest;
    selected classes have colours that differ more. Up to `style.MAX_NAMED` classes of a single run have a name or
    number at their median instead; more have neither.

    Args:
        panels: a single one has no title of its own.
        classes: K names.
        tiers: K times "head", "medium" or "tail".
        counts: K training images, which give the order of the names.
        title: above the figure.
        selected: class indices, if not all classes are shown.
    """
    order = [k for k in style.by_size(counts) if not selected or k in selected]
    shaded = len(order) <= MAX_SHADED
    shades: dict[int, Any] = {k: style.TIERS[tiers[k]].colour for k in order}
    if shaded:
        distinct = dict(zip(order, style.CYCLE, strict=False))
        shades = distinct if selected else dict(style.class_shades(order, tiers))
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = style.new_figure(5.4 if len(panels) == 1 else 0.6 + 3.0 * rows, style.WIDTH if columns < 3 else 9.0)
    grid = figure.subplots(rows, columns, squeeze=False)
    for index, axes in enumerate(grid.flat):
        if index >= len(panels):
            axes.remove()
            continue
        _scatter(axes, panels[index], order, shades, tiers)
        axes.set_title(style.label(panels[index].title, 60) if len(panels) > 1 else "", fontsize=9)
    if len(panels) == 1 and not shaded:
        titles.title(figure, title)
        points, present = panels[0], [k for k in order if (panels[0].labels == k).any()]
        medians = [
            (float(x), float(y)) for x, y in (np.median(points.positions[points.labels == k], 0) for k in present)
        ]
        titles.name_points(grid[0, 0], medians, [classes[k] for k in present], [tiers[k] for k in present])
        return figure
    handles = style.tier_handles([tiers[k] for k in order])
    if shaded:
        handles = [_handle(shades[k], tiers[k], f"{style.label(classes[k])} ({tiers[k]})") for k in order]
    if len(panels) > 1:
        titles.legend(figure, handles, title)
        return figure
    titles.title(figure, title)
    figure.legend(handles=handles, loc="outside right upper", title="class (tier)")
    return figure


def _scatter(axes: Axes, points: Points, order: Sequence[int], shades: Mapping[int, Any], tiers: Sequence[str]) -> None:
    for k in order:
        tier_style, points_of_class = style.TIERS[tiers[k]], points.positions[points.labels == k]
        axes.scatter(
            points_of_class[:, 0], points_of_class[:, 1], marker=tier_style.marker,
            s=_size(len(points.positions)), lw=0.3, edgecolor="white",
            color=shades[k], zorder=2 + list(style.TIERS).index(tiers[k]), label=str(k),
        )  # fmt: skip
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)


def _handle(colour: Any, tier: str, text: str) -> Line2D:
    return Line2D([], [], ls="", marker=style.TIERS[tier].marker, color=colour, mec="white", mew=0.3, ms=6, label=text)


def _size(points: int) -> float:
    return float(np.clip(30_000 / max(points, 1), 9, 45))
