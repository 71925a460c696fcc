"""Appearance of the seven phantom classes: overlapping distributions of lesions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]
Spread = tuple[float, float]
"""Mean and standard deviation."""

COLOURS: Mapping[str, Colour] = {
    "tan": (190, 148, 112),
    "light brown": (162, 116, 84),
    "brown": (124, 82, 58),
    "dark brown": (86, 56, 43),
    "black": (50, 39, 38),
    "pink": (205, 140, 130),
    "red": (172, 72, 66),
    "purple": (118, 56, 80),
    "blue-grey": (104, 106, 128),
    "white": (226, 205, 196),
}
"""RGB, 0 to 255."""

SKINS: tuple[Colour, ...] = ((226, 186, 168), (214, 166, 142), (196, 150, 120), (222, 172, 160))
"""Corners of the skin tones; a lesion's skin is a random mixture."""


@dataclass(frozen=True)
class Recipe:
    """Distribution of the lesions of one class."""

    radius: Spread
    """Of half the image's side."""
    elongation: Spread
    """Long over short axis, minus 1."""
    asymmetry: Spread
    """Relative size of the two- to four-lobed deviations of the outline from an ellipse."""
    irregularity: Spread
    """Relative size of the finer notches of the outline."""
    softness: Spread
    """Width of the border between lesion and skin, of half the image's side."""
    base: Mapping[str, float]
    """Colour -> weight of being the main colour."""
    patches: float
    """Mean number of patches in other colours."""
    patch: Mapping[str, float]
    """Colour -> weight of being a patch's colour."""
    textures: Mapping[str, float]
    """Structure (a key of `render.STRUCTURES`) -> probability that a lesion shows it."""


RECIPES: Mapping[str, Recipe] = {
    "NV": Recipe(
        radius=(0.44, 0.10),
        elongation=(0.22, 0.12),
        asymmetry=(0.06, 0.035),
        irregularity=(0.025, 0.015),
        softness=(0.09, 0.04),
        base={"light brown": 0.35, "brown": 0.38, "dark brown": 0.15, "pink": 0.07, "tan": 0.05},
        patches=0.4,
        patch={"dark brown": 0.5, "light brown": 0.3, "black": 0.1, "pink": 0.1},
        textures={"network": 0.60, "globules": 0.30, "dots": 0.20, "scar": 0.10, "milia": 0.06, "streaks": 0.06},
    ),
    "MEL": Recipe(
        radius=(0.52, 0.11),
        elongation=(0.30, 0.15),
        asymmetry=(0.14, 0.06),
        irregularity=(0.055, 0.03),
        softness=(0.07, 0.04),
        base={"brown": 0.32, "dark brown": 0.38, "black": 0.18, "pink": 0.06, "light brown": 0.06},
        patches=1.7,
        patch={"black": 0.30, "blue-grey": 0.30, "red": 0.12, "white": 0.12, "light brown": 0.16},
        textures={"network": 0.42, "streaks": 0.42, "dots": 0.40, "veil": 0.38, "globules": 0.20, "vessels": 0.10},
    ),
    "BKL": Recipe(
        radius=(0.48, 0.11),
        elongation=(0.30, 0.15),
        asymmetry=(0.10, 0.05),
        irregularity=(0.05, 0.025),
        softness=(0.04, 0.025),
        base={"tan": 0.30, "light brown": 0.30, "brown": 0.22, "dark brown": 0.12, "pink": 0.06},
        patches=0.8,
        patch={"dark brown": 0.35, "tan": 0.30, "blue-grey": 0.15, "black": 0.20},
        textures={"milia": 0.58, "dots": 0.42, "ridges": 0.40, "network": 0.15, "scale": 0.15, "globules": 0.12},
    ),
    "BCC": Recipe(
        radius=(0.44, 0.11),
        elongation=(0.25, 0.14),
        asymmetry=(0.10, 0.05),
        irregularity=(0.045, 0.025),
        softness=(0.07, 0.04),
        base={"pink": 0.46, "tan": 0.13, "light brown": 0.13, "red": 0.15, "blue-grey": 0.08, "purple": 0.05},
        patches=0.9,
        patch={"blue-grey": 0.50, "white": 0.20, "red": 0.15, "dark brown": 0.15},
        textures={"vessels": 0.66, "blue globules": 0.50, "scar": 0.15, "scale": 0.15, "veil": 0.10, "milia": 0.08},
    ),
    "AKIEC": Recipe(
        radius=(0.46, 0.11),
        elongation=(0.28, 0.15),
        asymmetry=(0.12, 0.05),
        irregularity=(0.06, 0.03),
        softness=(0.12, 0.045),
        base={"pink": 0.45, "red": 0.20, "tan": 0.20, "light brown": 0.15},
        patches=0.7,
        patch={"light brown": 0.35, "red": 0.30, "white": 0.20, "brown": 0.15},
        textures={"scale": 0.66, "red dots": 0.60, "dots": 0.15, "vessels": 0.14, "network": 0.08, "milia": 0.08},
    ),
    "VASC": Recipe(
        radius=(0.38, 0.10),
        elongation=(0.18, 0.11),
        asymmetry=(0.07, 0.04),
        irregularity=(0.03, 0.02),
        softness=(0.05, 0.03),
        base={"red": 0.28, "purple": 0.20, "black": 0.16, "pink": 0.16, "blue-grey": 0.10, "dark brown": 0.10},
        patches=0.6,
        patch={"purple": 0.40, "black": 0.25, "blue-grey": 0.20, "white": 0.15},
        textures={"lacunae": 0.74, "veil": 0.20, "vessels": 0.14, "blue globules": 0.12, "red dots": 0.10},
    ),
    "DF": Recipe(
        radius=(0.40, 0.09),
        elongation=(0.18, 0.11),
        asymmetry=(0.055, 0.03),
        irregularity=(0.025, 0.015),
        softness=(0.15, 0.05),
        base={"light brown": 0.42, "tan": 0.20, "brown": 0.22, "pink": 0.16},
        patches=0.3,
        patch={"white": 0.5, "brown": 0.3, "pink": 0.2},
        textures={"scar": 0.76, "network": 0.50, "red dots": 0.12, "globules": 0.10, "milia": 0.05},
    ),
}
"""From the most to the least frequent class."""

CONFUSED_WITH: Mapping[str, tuple[str, ...]] = {
    "NV": ("MEL", "BKL", "DF"),
    "MEL": ("NV", "BKL"),
    "BKL": ("NV", "MEL", "AKIEC"),
    "BCC": ("AKIEC", "BKL"),
    "AKIEC": ("BCC", "BKL"),
    "VASC": ("MEL", "BCC"),
    "DF": ("NV", "NV", "BKL"),
}
"""Class -> the classes whose appearance some of its lesions have."""

CONFUSED_EVERY = 11
"""One in this many lesions of a class has the appearance of a class in `CONFUSED_WITH`, an irreducible error."""


@dataclass(frozen=True)
class Lesion:
    """The parameters of one lesion, common to all its images. Units as in `Recipe`; colours are RGB, 0 to 255."""

    radius: float
    elongation: float
    asymmetry: float
    irregularity: float
    softness: float
    base: Colour
    patches: tuple[Colour, ...]
    textures: Mapping[str, float]
    """Structure -> strength in [0.45, 1]."""
    skin: Colour
    seed: int
    """Seed of the rendering: outline and positions of the structures."""


def draw_lesion(label: str, number: int, rng: np.random.Generator) -> Lesion:
    """Samples the parameters of a lesion.

    Args:
        label: its class, a key of `RECIPES`.
        number: its number in its class and part; determines whether it has the appearance of another class.
        rng: source of everything else.
    """
    if number % CONFUSED_EVERY == CONFUSED_EVERY // 2:
        label = str(rng.choice(CONFUSED_WITH[label]))
    recipe = RECIPES[label]
    count = min(int(rng.poisson(recipe.patches)), 4)
    return Lesion(
        radius=_between(rng, recipe.radius, 0.2, 0.75),
        elongation=_between(rng, recipe.elongation, 0.0, 0.8),
        asymmetry=_between(rng, recipe.asymmetry, 0.0, 0.3),
        irregularity=_between(rng, recipe.irregularity, 0.0, 0.15),
        softness=_between(rng, recipe.softness, 0.015, 0.3),
        base=_shade(rng, recipe.base),
        patches=tuple(_shade(rng, recipe.patch) for _ in range(count)),
        textures={
            name: float(rng.uniform(0.45, 1.0))
            for name, probability in recipe.textures.items()
            if rng.random() < probability
        },
        skin=_triple(rng.dirichlet(np.ones(len(SKINS))) @ np.array(SKINS) + rng.normal(0, 4, 3)),
        seed=int(rng.integers(2**62)),
    )


def _between(rng: np.random.Generator, spread: Spread, low: float, high: float) -> float:
    return float(np.clip(rng.normal(*spread), low, high))


def _shade(rng: np.random.Generator, weights: Mapping[str, float]) -> Colour:
    """A colour of the palette, a little lighter or darker and a little mixed with a second one of the same palette."""
    names = list(weights)
    chances = np.array([weights[name] for name in names])
    first, second = rng.choice(len(names), size=2, p=chances / chances.sum())
    mixed = np.array(COLOURS[names[first]]) + rng.uniform(0, 0.35) * (
        np.array(COLOURS[names[second]]) - np.array(COLOURS[names[first]])
    )
    return _triple(mixed * rng.normal(1.0, 0.09) + rng.normal(0, 3.5, 3))


def _triple(values: np.ndarray) -> Colour:
    red, green, blue = np.clip(values, 0, 255).tolist()
    return red, green, blue
