"""Classes that name a side are not mixed up by flips of training images."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ltmed.data import augment
from ltmed.data.augment import EvaluationView, HorizontalFlip, OneOf, RandomApply, VerticalFlip
from ltmed.data.datamodule import DataModule, StageData
from ltmed.data.manifest import Manifest
from ltmed.data.readers.medmnist import SETS
from ltmed.data.sides import named, sides, without_flips
from ltmed.data.splits.protocols import random
from tests.data.manifests import manifest_of

CONF = Path(__file__).resolve().parents[2] / "conf" / "augment"
PRESETS = sorted(file.stem for file in CONF.glob("*.yaml"))
RAMP = np.dstack([*np.meshgrid(np.arange(16), np.arange(16)), np.zeros((16, 16))]).astype(np.uint8)
"""Red grows to the right, green downwards."""
PAIRS = [
    (["left lung", "right lung"], [("left lung", "right lung")]),
    (["Lung_Right", "heart", "lung, left"], [("Lung_Right", "lung, left")]),
    (["LeftLung", "RightLung"], [("LeftLung", "RightLung")]),
    (["rechts", "left", "right"], [("left", "right")]),
    (["left to right", "right to left"], [("left to right", "right to left")]),
    (["left lung", "right kidney"], []),
    (["left lung", "lung"], []),
    (["cleft lip", "cright lip"], []),
    (["bright", "bleft"], []),
    (["left and right", "none"], []),
    (["0", "1"], []),
]


def preset(name: str, size: int = 12):
    options = OmegaConf.load(CONF / f"{name}.yaml")
    return instantiate(OmegaConf.create({"image_size": size, "augment": options}).augment)


def stage(*augments, views: int = 1) -> StageData:
    given = augments[0] if len(augments) == 1 else list(augments)
    sampler = partial(lambda **_: None)
    return StageData(4, views, sampler, given, epochs=1, seed=0, described=("a",) * views)  # pyright: ignore


def signs(view, times: int = 64) -> set[tuple[int, int]]:
    """Directions in which red and green grow, in many draws."""
    rng, found = np.random.default_rng(0), set()
    side = view.size or 16
    for _ in range(times):
        out = np.empty((side, side, 3), np.uint8)
        view(RAMP.copy(), rng, out)
        corners = out.astype(int)
        found.add((np.sign(corners[0, -1, 0] - corners[0, 0, 0]), np.sign(corners[-1, 0, 1] - corners[0, 0, 1])))
    return found


def flips(step) -> list[float]:
    """Probabilities of all flips of an augmentation, nested ones too."""
    if isinstance(step, HorizontalFlip | VerticalFlip):
        return [step.p]
    inner = [step.operation] if isinstance(step, RandomApply) else getattr(step, "operations", [])
    return [p for one in inner for p in flips(one)]


@pytest.mark.parametrize(("names", "expected"), PAIRS, ids=lambda value: str(value[:1]))
def test_pairs_are_found_by_their_words(names, expected):
    assert sides(names) == expected


@pytest.mark.parametrize("flag", SETS)
def test_only_the_organ_sets_of_medmnist_have_sides(flag):
    pairs = sides(list(SETS[flag].values()))
    organs = [(f"{organ}, left", f"{organ}, right") for organ in ("femur", "kidney", "lung")]
    assert pairs == (organs if flag.startswith("organ") else [])


def test_a_message_names_the_first_pair():
    pairs = [("a left", "a right"), ("b left", "b right"), ("c left", "c right")]
    assert named(pairs) == "the classes 'a left' and 'a right' (and 2 more such pairs)"
    assert named(pairs[:2]).endswith("(and 1 more such pair)")
    assert named(pairs[:1]) == "the classes 'a left' and 'a right'"


@pytest.mark.parametrize("name", ["weak", "flips"])
def test_an_augmentation_without_flips_keeps_directions(name):
    view = preset(name)
    assert signs(view) == {(1, 1), (1, -1), (-1, 1), (-1, -1)}
    assert signs(view.unmirrored()) == {(1, 1)}
    assert signs(view) == {(1, 1), (1, -1), (-1, 1), (-1, -1)}, "the preset itself is as it was"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_loses_its_flips_and_nothing_else(name):
    view, other = preset(name), preset(name).unmirrored()
    assert not any(flips(other))
    assert (other.size, len(flips(other))) == (view.size, len(flips(view)))
    steps = [getattr(one, "operations", [one]) for one in (view, other)]
    assert [type(step) for step in steps[0]] == [type(step) for step in steps[1]]


def test_nested_flips_go_and_their_neighbours_keep_their_frequency():
    chosen = OneOf(weights={"flip": 3}, flip=HorizontalFlip(1), grey=augment.RandomGrayscale(1))
    assert signs(RandomApply(VerticalFlip(1), 0.5).unmirrored()) == {(1, 1)}
    assert signs(chosen.unmirrored()) - {(0, 0)} <= {(1, 1)}
    rng, out = np.random.default_rng(0), np.empty_like(RAMP)
    grey = [(chosen.unmirrored()(RAMP, rng, out), (out[..., 0] == out[..., 1]).all())[1] for _ in range(2000)]
    assert np.mean(grey) == pytest.approx(0.25, abs=0.04)


def test_an_augmentation_without_flips_stays_the_same_object():
    rotation = augment.Compose(size=augment.Resize(12), turn=augment.RandomRotation(15), flip=HorizontalFlip(0))
    for view in (rotation, EvaluationView(12), rotation.operations[1]):
        assert view.unmirrored() is view
    before = stage(EvaluationView(12))
    assert without_flips(before) is before


def test_a_view_of_two_and_its_cached_features():
    before = stage(preset("lmd_strong"), preset("flips"), views=2)
    after = without_flips(before)
    assert isinstance(after.augment, list)
    assert not any(p for view in after.augment for p in flips(view))
    assert len(set(after.described + before.described)) == 2, "features of flipped images are not reused"


class Sided(DataModule):
    """A table without images."""

    name = "sided"
    codes = ("lung left", "lung right", "heart")

    def read(self, root: Path) -> Manifest:
        manifest = manifest_of(np.repeat(np.arange(3), (60, 20, 10)))
        return Manifest(
            name=self.name, root=root, images=manifest.images, labels=manifest.labels, classes=self.codes,
            class_names=self.codes,
        )  # fmt: skip


class Plain(Sided):
    """Without sides."""

    name = "plain"
    codes = ("lung", "liver", "heart")


def opened(reader: type[DataModule]) -> DataModule:
    return reader(
        root="/toy", image_size=12, split=partial(random, test=0.3), evaluation=EvaluationView(12), cache_dir="/nowhere"
    )


def test_a_data_set_with_sides_trains_without_flips_and_warns_once():
    data = opened(Sided)
    with pytest.warns(UserWarning, match="^sided: the classes 'lung left' and 'lung right' are mirror images"):
        data.use(stage(preset("weak")))
    assert data.stage_data is not None
    assert signs(data.stage_data.augment) == {(1, 1)}
    assert sum("mirror images" in text for text in data.warnings) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.use(stage(preset("mocov2")))
    assert not any(flips(data.stage_data.augment))
    assert sum("mirror images" in text for text in data.warnings) == 1


def test_no_warning_where_nothing_is_left_out():
    sided, plain = opened(Sided), opened(Plain)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sided.use(stage(EvaluationView(12)))
        plain.use(given := stage(preset("weak")))
    assert plain.stage_data is given
