"""Predictions of a trained network: the test part's own numbers, every kind of file, bounded memory."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import ltmed
from ltmed.errors import UserError
from ltmed.inference.predictor import _AHEAD, Predictor
from tests.data.images import encoded, picture, upright
from tests.trained_runs import CODES, trained, untrained

PROBABILITIES = [f"prob_{code}" for code in CODES]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return untrained(tmp_path_factory.mktemp("run"), "method=erm", "backbone=tiny")  # A network that sees a turn.


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["method=erm"],
        ["method=erm", "dataset.cache_budget_gb=0", "dataset.fit=crop", "dataset.cache_scale=1.3"],
        ["method=pcct", "evaluation.crop=false", "split.test=0.3"],
        ["method=erm", "pixels.mean=[0.9,0.5,0.1]", "pixels.std=[0.1,0.2,0.3]", "pixels.interpolation=bicubic"],
    ],
)
def test_predictions_of_the_test_part_are_those_of_the_run(overrides, tmp_path):
    folder, root = trained(tmp_path, *overrides)
    expected = pd.read_parquet(folder / "predictions.parquet")
    table = Predictor(folder, device="cpu", batch_size=7, threads=3)([root / image for image in expected["image"]])
    # The batches are others, and float32 rounds differently in them: up to 2e-5 was seen on one processor.
    assert np.abs(table[PROBABILITIES].to_numpy() - expected[PROBABILITIES].to_numpy()).max() < 1e-4
    assert table["predicted"].tolist() == expected["predicted"].tolist()
    assert table["image"].tolist() == [str(root / image) for image in expected["image"]]
    assert ("distance" in table) == ("method=pcct" in overrides)


def test_a_run_whose_images_were_kept_as_jpegs_has_other_pixels(tmp_path):
    image = encoded(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8), "PNG")
    raw, jpeg = (
        Predictor(untrained(tmp_path / str(gb), f"dataset.cache_budget_gb={gb}")).preprocessing(image) for gb in (20, 0)
    )
    assert 0 < np.abs(raw.astype(int) - jpeg).mean() < 10


def test_columns_and_what_they_hold(run, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(picture(1, 40, 50), "PNG"))
    predictor = Predictor(run)
    table = predictor([tmp_path / "a.png"])
    assert list(table) == ["image", "predicted", "name", "probability", *PROBABILITIES, "error"] == [*predictor.columns]
    (row,) = table.to_dict("records")
    probabilities = [row[name] for name in PROBABILITIES]
    assert sum(probabilities) == pytest.approx(1)
    assert row["probability"] == max(probabilities)
    assert row["predicted"] == CODES[int(np.argmax(probabilities))]
    assert row["name"] == f"name of {row['predicted'].lower()}"
    assert row["error"] is None
    pixels = predictor.preprocessing((tmp_path / "a.png").read_bytes())
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    images = torch.from_numpy((pixels / 255 - mean) / std).float().permute(2, 0, 1)[None]
    assert probabilities == pytest.approx(ltmed.load(run)(images).softmax(1)[0].tolist(), abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    "overrides",
    ["method=pcct", "method=decoupling_ncm", "method=decoupling_ncm method.network.classifier.metric=cosine"],
)
def test_distance_is_that_to_the_predicted_centre(overrides, tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(encoded(picture(number, 40, 50), "PNG"))
    files = sorted(tmp_path.glob("*.png"))
    folder = untrained(tmp_path / "run", *overrides.split())
    predictor = Predictor(folder, device="cpu")
    table, network = predictor(files), ltmed.load(folder)
    head: Any = network.classifier
    preprocessing = predictor.preprocessing
    centres = head.centres if "pcct" in overrides else head.means
    if "cosine" in overrides:
        centres = centres / centres.norm(dim=1, keepdim=True)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    for file, row in zip(files, table.to_dict("records"), strict=True):
        pixels = torch.from_numpy(preprocessing(file.read_bytes())).permute(2, 0, 1) / 255
        embedding = network.encoder(((pixels - mean) / std)[None])[0]
        embedding = head.embed(embedding) if "pcct" in overrides else embedding - head.centre
        if "ncm" in overrides:
            embedding = embedding / embedding.norm()
        distances = [float((embedding - centre).norm()) for centre in centres]
        assert row["distance"] == pytest.approx(min(distances), rel=1e-4)
        assert row["predicted"] == CODES[int(np.argmin(distances))]


@pytest.mark.parametrize("path", ["a.png", Path("a.png")])
def test_one_path_is_no_list_of_files(run, path):
    wrong: Any = path
    with pytest.raises(UserError, match="'a.png' is one path, and a list of files is needed"):
        Predictor(run)(wrong)


def test_every_kind_of_file_and_every_way_to_be_broken(run, tmp_path):
    blobs, exif = Image.fromarray(picture(4, 40, 60)), Image.Exif()
    exif[274] = 6
    good = {
        "cmyk.jpg": encoded(blobs.convert("CMYK")),
        "grey.png": encoded(blobs.convert("L"), "PNG"),
        "turned.jpg": encoded(blobs, exif=exif),
        "nævus 母斑.jpg": encoded(blobs),
        "with,comma \"and quotes\".png": encoded(blobs, "PNG"),
    }  # fmt: skip
    grey = np.asarray(blobs.convert("L")).astype(np.float32)
    sixteen = (grey * 16).astype(np.uint16)
    stretched = np.rint((grey - grey.min()) * (255 / np.ptp(grey))).astype(np.uint8)
    bad = {
        "empty.jpg": b"",
        "text.jpg": b"this is no image",
        "truncated.jpg": encoded(blobs)[:600],
        "half.png": encoded(blobs, "PNG")[:40],
    }
    same = {name: upright(data) for name, data in good.items()} | {"sixteen.png": np.dstack([stretched] * 3)}
    good["sixteen.png"] = cv2.imencode(".png", sixteen)[1].tobytes()
    folder, plain = tmp_path / "images", tmp_path / "plain"
    for place, files in ((folder, good | bad), (plain, {n: encoded(p, "PNG") for n, p in same.items()})):
        place.mkdir()
        for name, data in files.items():
            (place / name).write_bytes(data)
    names = [*bad, *good]
    names = names[::2] + names[1::2] + ["absent.jpg", "nul\0.jpg"]
    predictor = Predictor(run, batch_size=3)
    table = predictor([folder / name for name in names]).set_index(pd.Index(names))
    errors = table["error"].dropna().to_dict()
    assert errors == {
        "empty.jpg": "empty file",
        "text.jpg": "damaged, truncated or not an image",
        "truncated.jpg": "truncated JPEG",
        "half.png": errors["half.png"],
        "absent.jpg": "cannot be opened: No such file or directory",
        "nul\0.jpg": errors["nul\0.jpg"],
    }
    assert table.loc[list(errors)].drop(columns=["image", "error"]).isna().all(axis=None)
    expected = predictor([plain / name for name in good])[PROBABILITIES].to_numpy()
    assert np.abs(table.loc[list(good), PROBABILITIES].to_numpy() - expected).max() < 0.01
    lying = predictor([plain / "nævus 母斑.jpg"])[PROBABILITIES].to_numpy()
    assert np.abs(table.loc["turned.jpg", PROBABILITIES].to_numpy(float) - lying).max() > 0.02, "a test that sees turns"


def test_nothing_but_broken_files_and_no_file(run, tmp_path):
    (tmp_path / "empty.jpg").touch()
    predictor = Predictor(run)
    table = predictor([tmp_path / "empty.jpg"] * 3)
    assert table["predicted"].tolist() == [None] * 3
    assert table["error"].tolist() == ["empty file"] * 3
    assert list(predictor([])) == list(table)


def test_memory_and_reading_ahead_are_bounded(run, monkeypatch):
    started = []

    def read(self, file):
        started.append(file)
        return "none"

    monkeypatch.setattr(Predictor, "_read", read)
    files = [f"{number}.jpg" for number in range(10_000)]
    tables: Any = Predictor(run, batch_size=5, threads=2).batches(files)
    next(tables)
    at_most = 5 * (2 + _AHEAD + 1)
    assert len(started) <= at_most
    tables.close()
    after = len(started)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ltmed-predict")]
    assert len(started) == after <= at_most


def test_threads_of_torch_are_as_before(run, tmp_path):
    """Pieces run the network with a share of the cores; what comes after them has all of them again."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        Predictor(run, device="cpu", batch_size=4, threads=2)([tmp_path / "absent.png"] * 9)
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)


def test_what_is_not_a_finished_run(run, tmp_path):
    with pytest.raises(UserError, match=r"not the folder of a run.*config.yaml"):
        Predictor(tmp_path)
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "stages/train/best.ckpt").unlink()
    for open_run in (Predictor, ltmed.load):
        with pytest.raises(UserError, match=r"stages/train/best.ckpt is missing"):
            open_run(copy)
    (copy / "metrics.json").unlink()
    with pytest.raises(UserError, match="no finished run"):
        Predictor(copy)
    with pytest.raises(UserError, match="it does not exist"):
        ltmed.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="device=gppu is not known"):
        Predictor(run, device="gppu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no GPU"):
            Predictor(run, device="cuda")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_damaged_checkpoint_is_one_line(content, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    file = copy / "stages/train/best.ckpt"
    file.write_bytes(file.read_bytes()[:5000] if content is None else content)
    for open_run in (Predictor, ltmed.load):
        with pytest.raises(UserError, match=r"best.ckpt is damaged. Copy the run again, or delete its folder") as said:
            open_run(copy)
        assert "\n" not in str(said.value)


def test_a_checkpoint_of_another_network(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    file = copy / "stages/train/best.ckpt"
    state = torch.load(file, weights_only=True)
    torch.save({"state_dict": {key: value[:1] for key, value in state["state_dict"].items() if value.ndim}}, file)
    with pytest.raises(UserError, match=r"best.ckpt is not of the network that .*config.yaml says: .*shape"):
        ltmed.load(copy)


def test_load_knows_the_home_folder(run, monkeypatch):
    monkeypatch.setenv("HOME", str(run.parent))
    assert not ltmed.load(f"~/{run.name}").training
    with pytest.raises(UserError, match="~nobody-here/run is not the folder of a run"):
        ltmed.load("~nobody-here/run")
