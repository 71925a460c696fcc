"""Features of test images in the plane, by class, with the tiers marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ltmed.errors import UserError
from ltmed.plots import style, titles

Embedding = Literal["tsne", "umap"]
MOST_IMAGES = 3000
"""t-SNE of so many takes about ten seconds."""
MOST_SHADED = 7
"""Classes up to which each has a shade of its own."""
_LEGEND_SIZE = 30
"""Of a marker in the legend, in square points, however small those of many images are."""


def choose_images(labels: np.ndarray, most: int = MOST_IMAGES) -> np.ndarray:
    """Positions of at most about `most` images, evenly spaced in each class; large classes give up images first.

    Args:
        labels: int64 [N], class indices.
        most: images wanted; every class keeps at least one.
    """
    counts = np.bincount(labels)
    cap = int(counts.max(initial=1))
    while cap > 1 and np.minimum(counts, cap).sum() > most:
        cap = max(1, int(cap * 0.9))
    kept = []
    for k in np.flatnonzero(counts):
        members = np.flatnonzero(labels == k)
        kept.append(members[np.linspace(0, len(members) - 1, min(len(members), cap)).round().astype(int)])
    return np.sort(np.concatenate(kept))


def embed(features: np.ndarray, how: Embedding, seed: int = 0) -> np.ndarray:
    """[N, D] -> [N, 2], the same for the same seed on one machine.

    Args:
        features: at least 3 rows.
        how: "tsne" (van der Maaten and Hinton 2008) or "umap" (McInnes et al. 2018), which needs umap-learn.
        seed: of its random numbers.

    Raises:
        UserError: umap-learn is not installed.
    """
    scaled = (features - features.mean(0)) / (features.std() + 1e-12)
    if how == "tsne":
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


@style.styled
def feature_map(
    points: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    tiers: Sequence[str],
    counts: Sequence[int],
    title: str = "",
) -> Figure:
    """Points of test images: colour, shape and order of drawing by tier, the tail on top.

    Up to `MOST_SHADED` classes have a shade each of their tier's colour, the largest of a tier the darkest; up to
    `style.MOST_NAMED` have a name or number at their median instead; more have neither.

    Args:
        points: [N, 2].
        labels: int64 [N], class indices.
        classes: K names.
        tiers: K times "head", "medium" or "tail".
        counts: K training images, which give the order of the names.
        title: above the figure.
    """
    figure = style.new_figure(5.4, style.WIDTH)
    axes = figure.add_subplot()
    size = _size(len(points))
    order, shaded = style.by_size(counts), len(classes) <= MOST_SHADED
    handles = {}
    for tier, look in style.TIERS.items():
        members = [k for k in order if tiers[k] == tier]
        shades = _shades(look.colour, len(members)) if shaded else [look.colour] * len(members)
        for k, shade in zip(members, shades, strict=True):
            here = points[labels == k]
            handles[k] = axes.scatter(
                here[:, 0], here[:, 1], marker=look.marker, s=size, lw=0.3, edgecolor="white",
                color=shade, zorder=2 + list(style.TIERS).index(tier), label=f"{style.label(classes[k])} ({tier})",
            )  # fmt: skip
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    titles.title(figure, title)
    if shaded:
        named, scale = [handles[k] for k in order], (_LEGEND_SIZE / size) ** 0.5
        figure.legend(handles=named, loc="outside right upper", title="class (tier)", markerscale=scale)
        return figure
    present = [k for k in order if (labels == k).any()]
    medians = [(float(x), float(y)) for x, y in (np.median(points[labels == k], 0) for k in present)]
    style.name_points(axes, medians, [classes[k] for k in present], [tiers[k] for k in present])
    return figure


def _shades(colour: str, number: int) -> list[tuple[float, float, float]]:
    """From dark to light, so that a colour means the same tier as in every other picture."""
    own = np.array(to_rgb(colour))
    places = np.linspace(-0.5, 0.6, number) if number > 1 else np.zeros(number)
    mixed = (own * (1 + place) if place < 0 else own + (1 - own) * place for place in places)
    return [(float(red), float(green), float(blue)) for red, green, blue in mixed]


def _size(points: int) -> float:
    return float(np.clip(30_000 / max(points, 1), 9, 45))
