"""Draws chest-like radiographs with any of twelve findings: numpy and OpenCV only, a function of seeds.

A patient has an anatomy and, for each finding, a place where it appears; an image adds exposure, posture, noise and the
strength of each finding. S is the side in pixels; coordinates run from -1 to 1, x to the right and y down. Values are
0 (air, black) to 1 (bone, white).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ltmed.data.phantom.render import ramp, smooth_noise
from ltmed.utils.seeding import derive

SIZE = 64
_TICKS = (np.arange(SIZE, dtype=np.float32) + 0.5) * (2 / SIZE) - 1
_X, _Y = np.meshgrid(_TICKS, _TICKS)


@dataclass
class Chest:
    """A radiograph in progress, and where its organs are."""

    pixels: np.ndarray
    """float32 `[S, S]`."""
    lungs: tuple[np.ndarray, np.ndarray]
    """float32 `[S, S]` in [0, 1], of the lung on the left and on the right of the image."""
    centres: tuple[tuple[float, float], tuple[float, float]]
    radii: tuple[float, float]
    """Half width and half height of a lung."""

    def lighten(self, cover: np.ndarray, value: float) -> None:
        """Moves the image towards `value` by `cover`, `[S, S]` in [0, 1]."""
        self.pixels += np.clip(cover, 0, 1) * (np.float32(value) - self.pixels)

    def spot(self, side: int, rng: np.random.Generator, low: float = -0.7, high: float = 0.7) -> tuple[float, float]:
        """A place in a lung, with y between `low` and `high` of its half height."""
        x, y = self.centres[side]
        return x + self.radii[0] * rng.uniform(-0.5, 0.5), y + self.radii[1] * rng.uniform(low, high)


def _disc(place: tuple[float, float], radius: float, soft: float) -> np.ndarray:
    return ramp(-np.hypot(_X - place[0], _Y - place[1]), -radius - soft, -radius + soft)


def _infiltration(chest: Chest, rng: np.random.Generator, strength: float) -> None:
    side = int(rng.integers(2))
    cloud = _disc(chest.spot(side, rng), rng.uniform(0.25, 0.4), 0.25) * ramp(smooth_noise(rng, 9, SIZE), -0.9, 1.0)
    chest.lighten(chest.lungs[side] * cloud * 0.75 * strength, 0.62)


def _effusion(chest: Chest, rng: np.random.Generator, strength: float) -> None:
    side = int(rng.integers(2))
    (x, y), (wide, high) = chest.centres[side], chest.radii
    outward = (_X - x) * (-1 if side == 0 else 1) / wide
    level = y + high * rng.uniform(0.35, 0.6) - 0.12 * outward
    chest.lighten(chest.lungs[side] * ramp(_Y - level, -0.03, 0.05) * 0.95 * strength, 0.70)


def _atelectasis(chest: Chest, rng: np.random.Generator, strength: float) -> None:
    side = int(rng.integers(2))
    for _ in range(int(rng.integers(2, 4))):
        place, slope = chest.spot(side, rng, 0.0, 0.8), rng.uniform(-0.4, 0.4)
        band = ramp(-abs(_Y - place[1] - slope * (_X - place[0])), -0.05, -0.015)
        chest.lighten(chest.lungs[side] * band * 0.85 * strength, 0.68)


def _nodule(chest: Chest, rng: np.random.Generator, strength: float) -> None:
    for _ in range(int(rng.integers(1, 4))):
        side = int(rng.integers(2))
        chest.lighten(_disc(chest.spot(side, rng), rng.uniform(0.05, 0.075), 0.02) * 0.9 * strength, 0.78)


def _mass(chest: Chest, rng: np.random.Generator, strength: float) -> None:
    place, uneven = chest.spot(int(rng.integers(2)), rng), 0.05 * smooth_noise(rng, 6, SIZE)
    far = np.hypot(_X - place[0], _Y - place[1]) + uneven
    radius = rng.uniform(0.16, 0.24)
    chest.lighten(ramp(-far, -radius - 0.04, -radius + 0.02) * 0.95 * strength, 0.80)


def _pneumothorax(chest: Chest, rng: np.random.Generator, strength: float) -> None:
    side = int(rng.integers(2))
    (x, y), (wide, high) = chest.centres[side], chest.radii
    depth = 1 - np.hypot((_X - x) / wide, (_Y - y) / high)
    lateral = ramp((_X - x) * (-1 if side == 0 else 1) - 0.5 * (_Y - y), -0.05, 0.15)
    width = rng.uniform(0.22, 0.34)
    chest.lighten(chest.lungs[side] * lateral * ramp(-depth, -width, -width + 0.05) * 0.9 * strength, 0.04)
    chest.lighten(chest.lungs[side] * lateral * ramp(-abs(depth - width - 0.05), -0.07, -0.01) * strength, 0.72)


def _consolidation(chest: Chest, rng: np.random.Generator, strength: float) -> None:
    side, edge = int(rng.integers(2)), rng.uniform(-0.25, 0.25)
    (_, y), (_, high) = chest.centres[side], chest.radii
    below = 1 if rng.random() < 0.5 else -1
    lobe = ramp(below * (_Y - y - edge * high), 0.0, 0.06) * ramp(-below * (_Y - y - edge * high), -0.6, -0.45)
    chest.lighten(chest.lungs[side] * lobe * (0.85 + 0.1 * smooth_noise(rng, 5, SIZE)) * strength, 0.74)


def _cardiomegaly(chest: Chest, rng: np.random.Generator, strength: float) -> None:
    wide = 0.46 + 0.14 * strength * rng.uniform(0.6, 1.0)
    chest.lighten(ramp(1 - ((_X - 0.08) / wide) ** 2 - ((_Y - 0.40) / 0.32) ** 2, 0.0, 0.2), 0.74)


def _edema(chest: Chest, rng: np.random.Generator, strength: float) -> None:
    for side in (0, 1):
        hilum = (chest.centres[side][0] * 0.55, chest.centres[side][1] - 0.05)
        wing = _disc(hilum, 0.26, 0.22) * ramp(smooth_noise(rng, 12, SIZE), -1.6, 0.6)
        chest.lighten(chest.lungs[side] * wing * 0.85 * strength, 0.66)


def _emphysema(chest: Chest, rng: np.random.Generator, strength: float) -> None:
    for side in (0, 1):
        chest.lighten(chest.lungs[side] * 0.7 * strength, 0.08)
        holes = ramp(smooth_noise(rng, 10, SIZE), 0.7, 1.2) * 0.7 * strength
        chest.lighten(chest.lungs[side] * holes, 0.0)


def _fibrosis(chest: Chest, rng: np.random.Generator, strength: float) -> None:
    turn = rng.uniform(0, np.pi)
    net = np.zeros_like(_X)
    for angle in (turn, turn + np.pi / 3, turn + 2 * np.pi / 3):
        net += np.cos(26 * (np.cos(angle) * _X + np.sin(angle) * _Y) + 1.5 * smooth_noise(rng, 5, SIZE))
    for side in (0, 1):
        base = ramp(_Y - chest.centres[side][1], -0.1, 0.35)
        chest.lighten(chest.lungs[side] * base * ramp(net, 0.2, 1.2) * 0.8 * strength, 0.70)


def _thickening(chest: Chest, rng: np.random.Generator, strength: float) -> None:
    side = int(rng.integers(2))
    (x, y), (wide, high) = chest.centres[side], chest.radii
    depth = 1 - np.hypot((_X - x) / wide, (_Y - y) / high)
    lateral = ramp((_X - x) * (-1 if side == 0 else 1), 0.02, 0.12)
    rough = 0.27 + 0.06 * smooth_noise(rng, 7, SIZE)
    chest.lighten(chest.lungs[side] * lateral * ramp(rough - depth, -0.05, 0.0) * 0.95 * strength, 0.76)


FINDINGS: Mapping[str, Callable[[Chest, np.random.Generator, float], None]] = {
    "infiltration": _infiltration,
    "effusion": _effusion,
    "atelectasis": _atelectasis,
    "nodule": _nodule,
    "mass": _mass,
    "pneumothorax": _pneumothorax,
    "consolidation": _consolidation,
    "cardiomegaly": _cardiomegaly,
    "edema": _edema,
    "emphysema": _emphysema,
    "fibrosis": _fibrosis,
    "thickening": _thickening,
}
"""From the most to the least common."""

_ORDER = ("emphysema", "cardiomegaly", "edema", "infiltration", "fibrosis", "consolidation", "atelectasis")
"""Findings that are drawn first, below small ones and those at the border of a lung."""


def radiograph(findings: Sequence[str], patient: int, image: int) -> np.ndarray:
    """One image of a patient, uint8 `[S, S]`.

    Args:
        findings: names in `FINDINGS`.
        patient: seed of the anatomy and of the places of findings, the same for all images of a patient.
        image: seed of exposure, posture, noise and strengths.
    """
    body, rng = np.random.default_rng(derive(patient, "anatomy")), np.random.default_rng(image)
    chest = _healthy(body, rng)
    for name in sorted(findings, key=lambda name: (name not in _ORDER, _ORDER.index(name) if name in _ORDER else 0)):
        FINDINGS[name](chest, np.random.default_rng(derive(patient, name)), rng.uniform(0.55, 1.0))
    pixels = chest.pixels + 0.02 * smooth_noise(rng, 16, SIZE)
    turn = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), rng.normal(0, 2.5), float(np.exp(rng.normal(0, 0.03))))
    turn[:, 2] += rng.normal(0, 1.2, 2)
    pixels = cv2.warpAffine(pixels, turn, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    pixels = np.clip(pixels, 0, 1) ** float(np.exp(rng.normal(0, 0.12))) * rng.normal(1.0, 0.05)
    pixels += np.float32(rng.uniform(0.015, 0.035)) * rng.standard_normal(pixels.shape, dtype=np.float32)
    return np.clip(np.rint(255 * pixels), 0, 255).astype(np.uint8)


def _healthy(body: np.random.Generator, rng: np.random.Generator) -> Chest:
    """A chest without findings: trunk, lungs, spine, heart, ribs."""
    wide, high = body.normal(0.30, 0.02), body.normal(0.62, 0.035) * rng.normal(1.0, 0.02)
    apart, middle = body.normal(0.42, 0.015), body.normal(0.02, 0.03)
    centres = ((-apart, middle), (apart, middle))
    lungs = tuple(ramp(1 - ((_X - x) / wide) ** 2 - ((_Y - y) / high) ** 2, 0.0, 0.25) for x, y in centres)
    trunk = ramp(1 - np.abs(_X / 0.93) ** 4 - ramp(-_Y, 0.5, 1.3) * np.abs(_X / 0.8) ** 2, 0.0, 0.2)
    chest = Chest(0.05 + 0.57 * trunk.astype(np.float32), (lungs[0], lungs[1]), centres, (wide, high))
    ribs = np.cos(np.float32(body.uniform(17, 21)) * (_Y + 0.35 * np.abs(_X) + np.float32(body.uniform(0, 0.3))))
    for lung in chest.lungs:
        chest.lighten(lung * 0.92, 0.24)
        chest.lighten(lung * ramp(ribs, 0.4, 1.0) * 0.22, 0.75)
        chest.lighten(lung * 0.12 * ramp(smooth_noise(body, 10, SIZE), -0.5, 1.5), 0.6)
    chest.lighten(ramp(-np.abs(_X), -0.14, -0.09) * 0.5, 0.80)
    heart = float(body.normal(0.33, 0.025))
    chest.lighten(ramp(1 - ((_X - 0.10) / heart) ** 2 - ((_Y - 0.36) / 0.28) ** 2, 0.0, 0.25), 0.70)
    return chest
