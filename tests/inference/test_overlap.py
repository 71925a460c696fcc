"""Images that a run was trained on are found wherever its data are now, or it is said that they cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from ltmed.config.compose import read_manifest
from ltmed.data.manifest import Manifest
from ltmed.errors import UserError
from ltmed.inference.other_data import unseen
from ltmed.inference.overlap import trained_on
from ltmed.runs.dataset import digest_of_all, open_dataset
from ltmed.runs.reader import Run
from tests.trained_runs import config

pytestmark = pytest.mark.filterwarnings("ignore:manifest")
IMAGES = 30


def images(root: Path, seed: int = 0) -> Path:
    """A data set of 30 images of two classes."""
    rng = np.random.default_rng(seed)
    root.mkdir()
    for number in range(IMAGES):
        # Coarse noise: no two images look the same.
        pixels = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(root / f"{number:02}.png"), cv2.resize(pixels, (48, 48), interpolation=cv2.INTER_NEAREST))
    (root / "manifest.csv").write_text(
        "image,label\n" + "".join(f"{number:02}.png,{'ab'[number % 2]}\n" for number in range(IMAGES))
    )
    return root


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of a data set in the folder `old`."""
    cfg = config("dataset=manifest", f"dataset.root={images(tmp_path / 'old')}", "split=random", "method=erm")
    (tmp_path / "run").mkdir()
    data = open_dataset(cfg, tmp_path / "run")
    counts = {part: len(rows) for part, rows in data.split.parts.items()}
    run = Run(
        tmp_path / "run", {"run": {"dataset": "manifest"}, "split": {"hash": data.digest, "images": counts}}
    )  # fmt: skip
    split = {"hash": data.digest, "data": digest_of_all(data.manifest)}
    run.__dict__.update(config=cfg, facts={"split": split})
    return run


def manifest_in(root: Path) -> Manifest:
    return read_manifest(config("dataset=manifest", f"dataset.root={root}", "split=random"))[0]


def known(run: Run) -> np.ndarray:
    """Whether each image, bool `[30]`, is in the training or validation part."""
    split = open_dataset(run.config, run.path).split
    return np.isin(np.arange(IMAGES), np.concatenate([split.train, split.val]))


@pytest.mark.parametrize("recorded", [True, False], ids=["digest", "name"])
def test_data_that_were_moved_are_compared_where_they_are_now(run: Run, tmp_path: Path, recorded: bool) -> None:
    if not recorded:
        del run.facts["split"]["data"]
    expected, rows = known(run), np.arange(IMAGES)
    assert 0 < expected.sum() < IMAGES
    assert trained_on(run, manifest_in(tmp_path / "old"), rows).equal.tolist() == expected.tolist()
    new = shutil.move(tmp_path / "old", tmp_path / "new")
    moved = manifest_in(tmp_path / "new")
    overlap = trained_on(run, moved, rows, [f"dataset.root={new}"])
    assert overlap.equal.tolist() == expected.tolist()
    assert not overlap.unknown
    with pytest.raises(UserError, match=f"trained or chosen on {expected.sum()} of the 30 images"):
        unseen([run], moved, rows, False, [f"dataset.root={new}"])
    remaining, summary = unseen([run], moved, rows, True, [f"dataset.root={new}"])
    assert remaining.tolist() == np.flatnonzero(~expected).tolist()
    assert summary["checked"]


@pytest.mark.parametrize("missing", ["folder", "image", "content"])
def test_its_own_data_without_what_it_was_trained_on_are_refused(run: Run, tmp_path: Path, missing: str) -> None:
    manifest, expected = manifest_in(tmp_path / "old"), known(run)
    unknown = np.flatnonzero(~expected)
    if missing == "folder":
        shutil.move(tmp_path / "old", tmp_path / "new")
    file = tmp_path / "old" / manifest.images[int(np.flatnonzero(expected)[0])]
    if missing == "image":
        file.unlink()
    if missing == "content":
        file.write_bytes(b"")
    with pytest.raises(UserError, match="cannot be checked whether .* of its own data set"):
        trained_on(run, manifest, unknown)


def test_other_data_are_said_to_be_unchecked_and_what_is_there_is_compared(run: Run, tmp_path: Path) -> None:
    expected, other = known(run), images(tmp_path / "other", seed=1)
    first, second = np.flatnonzero(expected)[:2].tolist()
    for number in (first, second):  # Two copies, of which the original of one is damaged.
        shutil.copy(tmp_path / "old" / f"{number:02}.png", other / f"{number:02}.png")
    with (other / "manifest.csv").open("a") as file:
        file.write("30.png,a\n")  # Else the labels and names alone would be those of the run's data.
    shutil.copy(other / "29.png", other / "30.png")
    manifest, rows = manifest_in(other), np.arange(IMAGES)
    assert np.flatnonzero(trained_on(run, manifest, rows).equal).tolist() == [first, second]
    (tmp_path / "old" / f"{second:02}.png").write_bytes(b"damaged")
    overlap = trained_on(run, manifest, rows)
    assert np.flatnonzero(overlap.any).tolist() == [first]
    assert f"1 of the {expected.sum()} images" in overlap.unknown
    shutil.rmtree(tmp_path / "old")
    overlap = trained_on(run, manifest, rows)
    assert not overlap.any.any()
    assert overlap.unknown
