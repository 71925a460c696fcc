"""Ensembles and test-time views: the mean of the members' probabilities, and their mutual information."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import entropy

import ltmed
from ltmed.errors import UserError
from ltmed.inference import ensemble
from ltmed.inference.ensemble import disagreement
from ltmed.inference.predictor import Predictor
from tests.data.images import encoded, picture
from tests.trained_runs import CODES, untrained

PROBABILITIES = [f"prob_{code}" for code in CODES]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    """Of different weights, and the second one also of other pixels."""
    folder = tmp_path_factory.mktemp("runs")
    further = ["pixels.mean=[0.9,0.5,0.1]", "image_size=48"]
    return [untrained(folder / "0", "method=erm"), untrained(folder / "1", "method=erm", "seed=1", *further)]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    for number in range(6):
        (folder / f"{number}.png").write_bytes(encoded(picture(number, 60, 50), "PNG"))
    return sorted(folder.iterdir())


def _values(table) -> np.ndarray:
    return table[PROBABILITIES].to_numpy()


def test_the_mean_of_networks_with_pixels_of_their_own(runs, files):
    alone = [_values(Predictor(run)(files)) for run in runs]
    assert np.abs(alone[0] - alone[1]).max() > 0.01, "a test that sees which run it was"
    table = Predictor(*runs)(files)
    assert np.abs(_values(table) - np.mean(alone, axis=0)).max() < 1e-6
    assert table["predicted"].tolist() == [CODES[k] for k in np.mean(alone, axis=0).argmax(1)]
    expected = entropy(np.mean(alone, axis=0), axis=1) - np.mean([entropy(one, axis=1) for one in alone], axis=0)
    assert table["disagreement"].to_numpy() == pytest.approx(expected, abs=1e-5)
    assert (table["disagreement"] > 1e-3).any()


@pytest.mark.parametrize("copies", [2, 3])
def test_copies_of_a_run_equal_it(copies, runs, files, tmp_path):
    further = [shutil.copytree(runs[0], tmp_path / str(number)) for number in range(1, copies)]
    one, several = Predictor(runs[0])(files), Predictor(runs[0], *further)(files)
    assert np.abs(_values(one) - _values(several)).max() < 1e-6
    assert several["predicted"].tolist() == one["predicted"].tolist()
    assert several["disagreement"].abs().max() < 1e-6
    assert "disagreement" not in one


def test_the_identity_as_a_view_equals_none(runs, files, monkeypatch):
    monkeypatch.setitem(ensemble.VIEWS, "identities", (lambda images: images,) * 4)
    one, several = Predictor(runs[0])(files), Predictor(runs[0], tta="identities")(files)
    assert np.abs(_values(one) - _values(several)).max() < 1e-6
    assert list(Predictor(runs[0], tta="none")(files)) == list(one)


@torch.no_grad()
def test_flips_are_the_mean_over_four_images(runs, files):
    """Against numpy's flips of the pixels and `ltmed.load`."""
    predictor = Predictor(runs[0], tta="flips")
    table, network = predictor(files), ltmed.load(runs[0])
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for file, row in zip(files, _values(table), strict=True):
        pixels = predictor.preprocessing(file.read_bytes())
        views = [pixels, pixels[::-1], pixels[:, ::-1], pixels[::-1, ::-1]]
        images = torch.from_numpy((np.stack(views) / 255 - mean) / std).float().permute(0, 3, 1, 2)
        assert row == pytest.approx(network(images).softmax(1).mean(0).numpy(), abs=1e-5)
    assert np.abs(_values(table) - _values(Predictor(runs[0])(files))).max() > 1e-4


def test_disagreement_is_bounded_and_that_of_scipy():
    drawn = torch.from_numpy(np.random.default_rng(0).dirichlet(np.full(5, 0.3), (4, 50)))
    mean = drawn.mean(0)
    expected = [np.mean([entropy(member[image], mean[image]) for member in drawn]) for image in range(50)]
    assert disagreement(drawn).numpy() == pytest.approx(np.array(expected), abs=1e-9)
    sure = torch.eye(3)[:, None]  # Three members that are each certain of another class.
    assert disagreement(sure).item() == pytest.approx(np.log(3))


def test_distances_are_of_one_network_only(tmp_path, files):
    run = untrained(tmp_path / "run", "method=pcct")
    assert "distance" in Predictor(run)(files)
    assert "distance" not in Predictor(run, shutil.copytree(run, tmp_path / "copy"))(files)
    assert "distance" not in Predictor(run, tta="flips")(files)


def test_a_run_that_is_given_twice_is_refused(runs, tmp_path):
    (tmp_path / "link").symlink_to(runs[0])
    for again in (runs[0], runs[0] / ".." / runs[0].name, tmp_path / "link"):
        with pytest.raises(UserError, match="is given twice and would count double"):
            Predictor(*runs, again)


def test_runs_of_other_classes_are_refused(runs, tmp_path):
    for number, codes in enumerate([[*CODES[:-1], "OTHER"], CODES[::-1]]):
        copy = shutil.copytree(runs[0], tmp_path / str(number))
        found = json.loads((copy / "metrics.json").read_text())
        found["test"]["per_class"] = [{"class": code, "name": code} for code in codes]
        (copy / "metrics.json").write_text(json.dumps(found))
        with pytest.raises(UserError) as refused:
            Predictor(runs[0], copy)
        assert "other classes" in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("classes", "names"),
    [(("l", "r"), ("lung, left", "lung, right")), (("left lung", "right lung"), ("left lung", "right lung"))],
)
def test_mirrored_views_are_refused_where_classes_name_a_side(classes, names):
    with pytest.raises(UserError, match=f"tta=flips mirrors images, and the classes '{names[0]}' and '{names[1]}'"):
        ensemble.require_sides_kept("flips", classes, names)
    ensemble.require_sides_kept("none", classes, names)
    ensemble.require_sides_kept("flips", ("l", "r"), ("lung", "rib"))
