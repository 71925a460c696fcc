"""Paints a lesion and photographs it: numpy and OpenCV only, every image a function of its lesion and one generator.

A lesion is painted once on a canvas of its own; each of its images is a view of that canvas (turned, zoomed, bent) on
skin, with light, hairs, gel bubbles, ruler ticks and camera noise that have nothing to do with the class.
Letters: P the canvas's side, S the image's side, both in pixels; coordinates run from -1 to 1 over a side. Colours are
planes (`[3, P, P]`) while numpy works on them: whole rows at a time are several times faster than triples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from ltmed.data.phantom.recipes import COLOURS, Lesion

SIZE = 64
CANVAS = 96
"""P: larger than S, so that fine structures survive being turned."""


def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    ticks = (np.arange(side, dtype=np.float32) + 0.5) * (2 / side) - 1
    x, y = np.meshgrid(ticks, ticks)
    return x, y


_X, _Y = _grid(CANVAS)
_VIEW_X, _VIEW_Y = _grid(SIZE)
_RADIUS, _ANGLE = np.hypot(_X, _Y), np.arctan2(_Y, _X)
_TURNS = np.arange(720) * (2 * np.pi / 720)
_DIRECTION = np.rint(_ANGLE / (2 * np.pi / 720)).astype(np.intp) % 720
_VIEW_RADIUS = np.hypot(_VIEW_X, _VIEW_Y)


@dataclass
class Painting:
    """A canvas in progress."""

    colour: np.ndarray
    """float32 `[3, P, P]`, RGB, 0 to 255."""
    depth: np.ndarray
    """float32 `[P, P]`: distance to the outline as a share of the radius there, 1 in the centre, negative outside."""
    radius: float
    base: np.ndarray
    """float32 `[3]`."""

    def blend(self, colour: tuple[float, float, float] | np.ndarray, cover: np.ndarray) -> None:
        """Moves the canvas towards `colour` by `cover`, `[P, P]` in [0, 1]."""
        for plane, value in zip(self.colour, colour, strict=True):
            plane += cover * (np.float32(value) - plane)

    def spots(
        self, rng: np.random.Generator, number: tuple[int, int], radii: tuple[float, float], within: float
    ) -> np.ndarray:
        """float32 `[P, P]` in [0, 1]: discs with radii in canvas pixels, out to `within` of the lesion's radius."""
        count = int(rng.integers(*number))
        cover = np.zeros((CANVAS, CANVAS), np.uint8)
        angles, distances = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0, 1, count)) * within * self.radius
        for angle, distance, size in zip(angles, distances, rng.uniform(*radii, count), strict=True):
            place = [(distance * f(angle) + 1) * CANVAS / 2 for f in (np.cos, np.sin)]
            # OpenCV takes fixed-point coordinates: 4 fractional bits.
            cv2.circle(cover, (round(place[0] * 16), round(place[1] * 16)), round(size * 16), 255, -1, cv2.LINE_AA, 4)
        return cover.astype(np.float32) / 255


def smooth_noise(rng: np.random.Generator, cells: int, side: int) -> np.ndarray:
    """float32 `[side, side]`: noise of mean 0 and deviation near 1 that varies over 1/`cells` of the side."""
    coarse = rng.standard_normal((cells + 2, cells + 2), dtype=np.float32)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC) * 1.25


def ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rises linearly from 0 at `low` to 1 at `high`."""
    return np.clip((values - low) / (high - low), 0, 1)


def _network(painting: Painting, rng: np.random.Generator, strength: float) -> None:
    turn, cells = rng.uniform(0, np.pi), rng.uniform(9, 13)
    wave = np.zeros_like(_X)
    for angle in (turn, turn + np.pi / 3, turn + 2 * np.pi / 3):
        across = np.float32(np.cos(angle)) * _X + np.float32(np.sin(angle)) * _Y
        wave += np.cos(np.float32(np.pi * cells) * across + 0.9 * smooth_noise(rng, 4, CANVAS))
    patchy = ramp(smooth_noise(rng, 3, CANVAS), -1.4, 0.4)
    painting.blend(painting.base * 0.5, 0.75 * strength * ramp(-wave, -0.1, 1.2) * patchy)


def _dots(painting: Painting, rng: np.random.Generator, strength: float) -> None:
    painting.blend(painting.base * 0.35, 0.9 * strength * painting.spots(rng, (8, 22), (1.0, 1.9), 0.95))


def _globules(painting: Painting, rng: np.random.Generator, strength: float) -> None:
    painting.blend(painting.base * 0.5, 0.8 * strength * painting.spots(rng, (8, 20), (2.2, 3.8), 0.95))


def _blue_globules(painting: Painting, rng: np.random.Generator, strength: float) -> None:
    cover = painting.spots(rng, (3, 9), (2.6, 5.2), 0.9)
    painting.blend((88, 90, 116), 0.85 * strength * cover)


def _red_dots(painting: Painting, rng: np.random.Generator, strength: float) -> None:
    painting.blend((168, 56, 56), 0.85 * strength * painting.spots(rng, (14, 34), (1.0, 2.0), 0.95))


def _milia(painting: Painting, rng: np.random.Generator, strength: float) -> None:
    painting.blend((238, 222, 200), 0.8 * strength * painting.spots(rng, (5, 14), (1.3, 2.4), 0.85))


def _lacunae(painting: Painting, rng: np.random.Generator, strength: float) -> None:
    cover = cv2.GaussianBlur(painting.spots(rng, (5, 12), (3.5, 7.0), 0.85), (0, 0), 0.8)
    painting.blend((128, 30, 48) if rng.random() < 0.6 else (84, 36, 70), 0.8 * strength * cover)


def _streaks(painting: Painting, rng: np.random.Generator, strength: float) -> None:
    rays = np.cos(rng.integers(14, 24) * _ANGLE + 0.8 * smooth_noise(rng, 3, CANVAS))
    rim = ramp(painting.depth, -0.22, 0.0) * ramp(-painting.depth, -0.42, -0.15)
    sector = ramp(np.cos(_ANGLE - rng.uniform(0, 2 * np.pi)), -0.7, 0.1)
    painting.blend(painting.base * 0.42, 0.9 * strength * ramp(rays, 0.0, 0.7) * rim * sector)


def _ridges(painting: Painting, rng: np.random.Generator, strength: float) -> None:
    bent = 1.6 * smooth_noise(rng, 3, CANVAS)
    turn = rng.uniform(0, np.pi)
    wave = np.sin(np.pi * rng.uniform(4, 7) * (_X * np.cos(turn) + _Y * np.sin(turn)) + bent)
    painting.blend(painting.base * 0.55, 0.8 * strength * ramp(wave, 0.55, 0.95))


def _vessels(painting: Painting, rng: np.random.Generator, strength: float) -> None:
    cover = np.zeros((CANVAS, CANVAS), np.uint8)
    for _ in range(rng.integers(3, 6)):
        heading = rng.uniform(0, 2 * np.pi)
        start = painting.radius * np.array([np.cos(heading), np.sin(heading)]) * rng.uniform(0.6, 1.0)
        for width in (2, 1, 1):
            turns = heading + np.pi + np.cumsum(rng.normal(0, 0.38, 12))
            steps = 0.13 * painting.radius * np.stack([np.cos(turns), np.sin(turns)], axis=1)
            track = np.vstack([start, start + np.cumsum(steps, axis=0)])
            points = ((track + 1) * (CANVAS * 8)).astype(np.int32)
            cv2.polylines(cover, [points], False, 255, width, cv2.LINE_AA, 4)
            start, heading = track[rng.integers(3, 9)], heading + rng.normal(0, 0.7)
    painting.blend((164, 44, 50), 0.85 * strength * cover.astype(np.float32) / 255)


def _scar(painting: Painting, rng: np.random.Generator, strength: float) -> None:
    middle = painting.radius * rng.uniform(-0.15, 0.15, 2)
    far = np.hypot(_X - middle[0], _Y - middle[1]) / painting.radius + 0.10 * smooth_noise(rng, 5, CANVAS)
    painting.blend(COLOURS["white"], 0.85 * strength * ramp(-far, -0.52, -0.22))


def _veil(painting: Painting, rng: np.random.Generator, strength: float) -> None:
    painting.blend(COLOURS["blue-grey"], 0.75 * strength * ramp(smooth_noise(rng, 3, CANVAS), 0.1, 0.9))


def _scale(painting: Painting, rng: np.random.Generator, strength: float) -> None:
    painting.blend((236, 220, 188), 0.75 * strength * ramp(smooth_noise(rng, 12, CANVAS), 0.5, 1.1))


STRUCTURES: Mapping[str, Callable[[Painting, np.random.Generator, float], None]] = {
    "network": _network,
    "ridges": _ridges,
    "veil": _veil,
    "globules": _globules,
    "blue globules": _blue_globules,
    "lacunae": _lacunae,
    "streaks": _streaks,
    "dots": _dots,
    "red dots": _red_dots,
    "vessels": _vessels,
    "milia": _milia,
    "scar": _scar,
    "scale": _scale,
}
"""In the order in which they cover each other."""


def paint(lesion: Lesion) -> np.ndarray:
    """Paints the lesion alone, the same for every image of it.

    Returns:
        float32 `[P, P, 4]`: RGB 0 to 255, and how much of the skin it hides, 0 to 1.
    """
    rng = np.random.default_rng(lesion.seed)
    outline = _outline(lesion, rng)
    depth = 1 - _RADIUS / outline
    base = np.array(lesion.base, np.float32)
    painting = Painting(np.repeat(base, CANVAS**2).reshape(3, CANVAS, CANVAS), depth, lesion.radius, base)
    mottle = 0.09 * smooth_noise(rng, 4, CANVAS) + 0.05 * smooth_noise(rng, 12, CANVAS)
    painting.colour *= 1 + mottle - float(0.18 * rng.uniform(-0.3, 1.0)) * ramp(depth, 0.0, 0.8)
    for colour in lesion.patches:
        angle, out, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.8), rng.uniform(0.3, 0.6)
        x, y = lesion.radius * out * np.cos(angle), lesion.radius * out * np.sin(angle)
        far = np.hypot(_X - x, _Y - y) / lesion.radius + 0.14 * smooth_noise(rng, 6, CANVAS)
        painting.blend(colour, 0.85 * ramp(-far, -size, -0.6 * size))
    for name, draw in STRUCTURES.items():
        if name in lesion.textures:
            draw(painting, rng, lesion.textures[name])
    width = lesion.softness / lesion.radius
    hides = 1 / (1 + np.exp(np.clip(depth * (-5 / width), -40, 40)))
    if "streaks" in lesion.textures:
        darker = np.clip((painting.base.sum() - painting.colour.sum(axis=0)) / painting.base.sum(), 0, 1)
        hides = np.maximum(hides, ramp(depth, -0.25, -0.05) * darker * 1.5)
    hides = (np.minimum(hides, 1) * rng.uniform(0.85, 1.0)).astype(np.float32)
    return cv2.GaussianBlur(cv2.merge([*painting.colour, hides]), (0, 0), 0.6)


def _outline(lesion: Lesion, rng: np.random.Generator) -> np.ndarray:
    """float32 `[P, P]`: distance from the centre to the outline in each pixel's direction, a random Fourier series."""
    stretch, turn = 1 + lesion.elongation, rng.uniform(0, 2 * np.pi)
    radius = lesion.radius * np.sqrt(stretch) / np.hypot(np.cos(_TURNS + turn), stretch * np.sin(_TURNS + turn))
    wobble = np.ones_like(_TURNS)
    for orders, size in (((1, 2, 3, 4), lesion.asymmetry), ((5, 6, 7, 8, 9, 11, 13, 15), lesion.irregularity)):
        heights = rng.normal(0, size * np.sqrt(1.4 / len(orders)), len(orders))
        phases = rng.uniform(0, 2 * np.pi, len(orders))
        wobble += heights @ np.cos(np.outer(orders, _TURNS) + phases[:, None])
    return (radius * np.clip(wobble, 0.35, 1.8)).astype(np.float32)[_DIRECTION]


def photograph(painted: np.ndarray, skin: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """One image of a painted lesion: uint8 `[S, S, 3]` RGB. The lesion is `paint`'s result, all else is from `rng`."""
    turn, zoom = rng.uniform(0, 2 * np.pi), 1.15 * float(np.exp(rng.normal(0, 0.10)))
    x, y = _VIEW_X - rng.normal(0, 0.07), _VIEW_Y - rng.normal(0, 0.07)
    bent_x, bent_y = (0.025 * smooth_noise(rng, 3, SIZE) for _ in range(2))
    u = (np.cos(turn) * x - np.sin(turn) * y) / zoom + bent_x
    v = (np.sin(turn) * x + np.cos(turn) * y) / zoom + bent_y
    column, row = (((axis + 1) * (CANVAS / 2) - 0.5).astype(np.float32) for axis in (u, v))
    seen = cv2.remap(painted, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    *colour, hides = cv2.split(seen)
    grain = 1 + 0.025 * smooth_noise(rng, 5, SIZE) + 0.018 * smooth_noise(rng, 24, SIZE)
    image = np.asarray(skin, np.float32)[:, None, None] * grain
    image += hides * (np.stack(colour) - image)
    for chance, nuisance in ((0.30, _hairs), (0.12, _bubbles), (0.12, _ruler)):
        if rng.random() < chance:
            nuisance(image, rng)
    return _develop(image, rng)


def _hairs(image: np.ndarray, rng: np.random.Generator) -> None:
    cover = np.zeros((SIZE, SIZE), np.uint8)
    for _ in range(rng.integers(2, 8)):
        start, end = rng.uniform(-0.1, 1.1, (2, 2))
        middle = (start + end) / 2 + rng.normal(0, 0.12, 2)
        t = np.linspace(0, 1, 12)[:, None]
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
        cv2.polylines(cover, [(curve * SIZE * 16).astype(np.int32)], False, 255, 1, cv2.LINE_AA, 4)
    _cover(image, cover, 0.75, rng.uniform(0.6, 1.4) * np.array([62, 48, 42]))


def _bubbles(image: np.ndarray, rng: np.random.Generator) -> None:
    cover = np.zeros((SIZE, SIZE), np.uint8)
    for _ in range(rng.integers(1, 5)):
        x, y, radius = (rng.uniform(*bounds) for bounds in ((0, SIZE), (0, SIZE), (2, 6)))
        cv2.circle(cover, (round(x * 16), round(y * 16)), round(radius * 16), 255, 1, cv2.LINE_AA, 4)
    _cover(image, cover, 0.5, np.full(3, 250))


def _ruler(image: np.ndarray, rng: np.random.Generator) -> None:
    cover = np.zeros((SIZE, SIZE), np.uint8)
    step, first, side = (int(rng.integers(*bounds)) for bounds in ((4, 8), (0, 4), (0, 4)))
    for number, column in enumerate(range(first, SIZE, step)):
        cover[: 5 if number % 5 == 0 else 3, column] = 255
    _cover(image, np.rot90(cover, side), 0.6, np.full(3, 40))


def _cover(image: np.ndarray, cover: np.ndarray, strength: float, colour: np.ndarray) -> None:
    """Draws over `image` `[3, S, S]` in place, where `cover` (uint8 `[S, S]`) is not 0."""
    image += (cover * np.float32(strength / 255)) * (colour.astype(np.float32)[:, None, None] - image)


def _develop(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light, white balance, vignette, focus and sensor noise: `[3, S, S]` to uint8 `[S, S, 3]`."""
    slope = rng.normal(0, 0.06, 2).astype(np.float32)
    light = np.float32(rng.normal(1.0, 0.07)) + slope[0] * _VIEW_X + slope[1] * _VIEW_Y
    if rng.random() < 0.3:
        light *= 1 - np.float32(rng.uniform(0.3, 0.9)) * ramp(_VIEW_RADIUS, 0.8, 1.4)
    balance = rng.normal(1.0, 0.03, 3).astype(np.float32)
    lit = cv2.merge([plane * light * gain for plane, gain in zip(image, balance, strict=True)])
    if (focus := rng.uniform(0, 0.9)) > 0.3:
        lit = cv2.GaussianBlur(lit, (0, 0), focus)
    lit += np.float32(rng.uniform(2, 6)) * rng.standard_normal(lit.shape, dtype=np.float32)
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8)
