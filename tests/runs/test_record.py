"""The files of a finished run and the tables made from them."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from rich.cells import cell_len
from rich.console import Console

from ltmed.data.manifest import Manifest
from ltmed.data.splits.protocols import Split
from ltmed.evaluation.metrics import Evaluation, evaluate
from ltmed.evaluation.scalars import SCALARS
from ltmed.evaluation.tiers import tiers
from ltmed.logging.console import print_summary
from ltmed.runs import predictions as predictions_files
from ltmed.runs import record

CLASSES = ("MEL", "NV", "BCC", "DF")
NAMES = ("Melanoma", "Nevus", "Basal cell carcinoma", "DF")
CONFIG = OmegaConf.create({"method": {"name": "proco"}, "fold": 1, "seed": 7, "dataset": {"head": None}})

STAGES = {"train": {"epochs": 2, "seconds": 3.5, "device": "CPU", "processes": 1, "peak_memory_bytes": 10**9}}


def dataset(grouped: bool = True) -> SimpleNamespace:
    """What `collect` uses of a data module: 120 images, three of each lesion, no test image of DF."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.choice(4, 40, p=[0.25, 0.5, 0.2, 0.05]), 3)
    test = np.flatnonzero((np.arange(120) % 4 == 0) & (labels != 3))
    rest = np.setdiff1d(np.arange(120), test)
    manifest = Manifest(
        name="isic2018", root=Path(), images=tuple(f"img/{i:03}.jpg" for i in range(120)), labels=labels,
        classes=CLASSES, class_names=NAMES, groups=np.repeat(np.arange(40), 3) + 5 if grouped else None,
        group_name="lesion",
    )  # fmt: skip
    split = Split("random", train=rest[20:], val=rest[:20], test=test)
    counts = np.bincount(labels[split.train], minlength=4)
    return SimpleNamespace(
        manifest=manifest, split=split, digest=split.digest(manifest), counts=counts, tiers=tiers(counts, CLASSES),
        cache=SimpleNamespace(bad=[(3, "truncated")]), warnings=("isic2018: 120 images, not 10015",),
    )  # fmt: skip


def predictions(data: SimpleNamespace, part: str) -> Evaluation:
    rows = getattr(data.split, part)
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(len(rows), 4, generator=generator)
    labels = torch.from_numpy(data.manifest.labels[rows])
    logits[torch.arange(len(rows)), labels] += 1.5
    return Evaluation(logits.softmax(1), labels, torch.from_numpy(rows), CLASSES)


@pytest.fixture(scope="module")
def data():
    return dataset()


@pytest.fixture(scope="module")
def found(data):
    return record.collect(CONFIG, data, {part: predictions(data, part) for part in ("val", "test")}, STAGES)


def test_found_holds_the_report_and_how_it_came_about(found, data):
    report = evaluate(predictions(data, "test"), data.tiers)
    assert found["run"] == {
        "name": "isic2018-proco-fold1-seed7", "dataset": "isic2018", "method": "proco", "fold": 1, "seed": 7,
    }  # fmt: skip
    for name, value in report.scalars().items():
        assert found["test"]["scalars"][name] == (None if np.isnan(value) else value)
    assert found["test"]["confusion"] == report.confusion
    assert found["test"]["absent"] == ["DF"]
    assert found["test"]["per_class"][3]["recall"] is None
    assert found["test"]["per_class"][2]["name"] == "Basal cell carcinoma"
    assert found["test"]["intervals"]["unit"] == "lesion"
    assert found["test"]["intervals"]["units"] == len(np.unique(data.manifest.groups[data.split.test]))
    low, high = found["test"]["intervals"]["scalars"]["balanced_accuracy"]
    assert low < report.balanced_accuracy < high
    assert found["val"]["images"] == 20
    assert found["split"]["images"] == {"train": len(data.split.train), "val": 20, "test": len(data.split.test)}
    assert found["split"]["counts"]["train"] == dict(zip(CLASSES, data.counts.tolist(), strict=True))
    assert found["split"]["hash"] == data.digest
    assert found["split"]["leakage"]["leaking"] > 0
    assert found["stages"] == STAGES
    assert found["skipped"] == [{"image": "img/003.jpg", "reason": "truncated"}]
    assert found["warnings"] == ["isic2018: 120 images, not 10015"]
    assert found["versions"]["torch"] == torch.__version__.split("+")[0]
    assert {code for tier in ("head", "medium", "tail") for code in found["tiers"][tier]} == set(CLASSES)


def test_without_groups_images_are_drawn_and_leakage_is_unknown():
    data = dataset(grouped=False)
    found = record.collect(CONFIG, data, {part: predictions(data, part) for part in ("val", "test")}, STAGES)
    assert found["test"]["intervals"]["unit"] == "image"
    assert found["test"]["intervals"]["units"] == len(data.split.test)
    assert found["split"]["leakage"] is None
    assert found["split"]["group"] is None


def test_files(found, data, tmp_path):
    assert record.read(tmp_path) is None
    predictions_files.write(tmp_path, data, predictions(data, "test"))
    record.write(tmp_path, found)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["metrics.json", "predictions.parquet"]
    text = (tmp_path / "metrics.json").read_text()

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse) == found == record.read(tmp_path)

    table = pd.read_parquet(tmp_path / "predictions.parquet")
    assert list(table.columns) == ["image", "label", "predicted", "lesion", *(f"prob_{code}" for code in CLASSES)]
    rows = data.split.test
    assert table["image"].tolist() == [f"img/{row:03}.jpg" for row in rows]
    assert table["label"].tolist() == [CLASSES[k] for k in data.manifest.labels[rows]]
    assert table["lesion"].tolist() == data.manifest.groups[rows].tolist()
    probabilities = table[[f"prob_{code}" for code in CLASSES]].to_numpy()
    np.testing.assert_array_equal(probabilities, predictions(data, "test").probabilities.numpy())
    assert (table["label"] == table["predicted"]).mean() == pytest.approx(found["test"]["scalars"]["accuracy"])


def test_a_failed_write_leaves_nothing_and_names_the_file(found, data, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write, name in (
        (lambda: predictions_files.write(tmp_path, data, predictions(data, "test")), record.PREDICTIONS),
        (lambda: record.write(tmp_path, found), record.METRICS),
    ):
        with pytest.raises(OSError, match="No space left") as failed:
            write()
        assert failed.value.filename == str(tmp_path / name)
    assert record.read(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_json_keeps_number_lists_on_a_line_and_leaves_names_alone():
    found = {"matrix": [[1, -2.5e-08], [None, 3]], "names": ["a [ 1, 2 ]", "[\n 1\n]"], "empty": []}
    text = record.to_json(found)
    assert json.loads(text) == found
    assert "[1, -2.5e-08]" in text
    assert "[null, 3]" in text


def test_git_state(tmp_path):
    def git(*overrides):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *overrides], check=True, capture_output=True, text=True
        )

    package = tmp_path / "package"
    package.mkdir()
    (package / "code.py").write_text("1\n")
    unknown = {"commit": None, "dirty": None}
    assert record.git_state(package) == unknown
    git("init")
    assert record.git_state(package) == unknown
    (tmp_path / "other.txt").write_text("1\n")
    git("add", "other.txt")
    git("commit", "-m", "other")
    assert record.git_state(package) == unknown  # Inside a checkout, but not part of it.
    git("add", ".")
    git("commit", "-m", "code")
    commit = git("rev-parse", "HEAD").stdout.strip()
    assert record.git_state(package) == {"commit": commit, "dirty": False}
    (package / "code.py").write_text("2\n")
    assert record.git_state(package) == {"commit": commit, "dirty": True}


def shown(found, width=110) -> str:
    buffer = io.StringIO()
    print_summary(found, Console(file=buffer, width=width))
    return buffer.getvalue()


def test_summary_is_readable_plain_text(found, data):
    text = shown(found)
    assert "\x1b" not in text
    assert "proco on isic2018, fold 1, seed 7" in text
    assert f"Split: random (hash {data.digest})" in text
    assert "are of a lesion that has training images too" in text
    assert "No test images of DF" in text
    for name in SCALARS:
        assert name.replace("_", " ") in text.lower()
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    line = next(line for line in text.splitlines() if line.startswith("macro F1"))
    assert line.split()[2] == f"{found['test']['scalars']['macro_f1']:.3f}"
    assert "Basal cell carcinoma" in lines["BCC"]
    assert "0!" not in lines["DF"]
    few = next(row for row in found["test"]["per_class"] if 0 < row["support"] < 10)
    assert f"{few['support']}!" in lines[few["class"]]
    assert "fewer than 10 test images" in text
    assert max(map(len, text.splitlines())) <= 110


def test_summary_goes_to_a_pipe_in_full_width(found, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    print_summary(found)
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "…" not in text
    assert next(line for line in text.splitlines() if line.startswith("BCC")).endswith("Basal cell carcinoma")


@pytest.mark.parametrize("width", [20, 50, 80, 110])
def test_no_number_is_cut_however_long_the_names_and_narrow_the_terminal(found, width):
    text = json.dumps(found)
    for code, new in (
        ("MEL", "melanoma of the trunk, superficial spreading, not otherwise specified"),
        ("NV", "痣" * 40),
    ):
        text = text.replace(f'"{code}"', json.dumps(new))
    long = json.loads(text)
    lines = shown(long, width).splitlines()
    for row in long["test"]["per_class"]:
        low, high = long["test"]["intervals"]["per_class"][row["class"]]["recall"]
        recall = ["-"] if low is None else [f"{low:.3f}", "to", f"{high:.3f}"]
        numbers = [*("-" if row[name] is None else f"{row[name]:.3f}" for name in ("precision", "recall"))]
        numbers += [*recall, *("-" if row[name] is None else f"{row[name]:.3f}" for name in ("f1", "auroc"))]
        assert any(" ".join(numbers) in " ".join(line.split()) for line in lines), row["class"]
    for name, value in long["test"]["scalars"].items():
        low, high = long["test"]["intervals"]["scalars"][name]
        cells = [value, low, high, long["val"]["scalars"][name]]
        if None not in cells:
            test, low, high, val = (f"{cell:.3f}" for cell in cells)
            assert any(line.endswith(f" {test} {low} to {high} {val}") for line in (" ".join(x.split()) for x in lines))
    names = "".join("".join(line.split()) for line in lines)
    assert names.count("痣") >= 40
    assert max(map(cell_len, lines)) <= max(width, 80), "the name of one word is folded too"


def test_summary_of_a_clean_split_and_of_many_classes(found):
    many = json.loads(json.dumps(found))
    many["split"]["leakage"].update(leaking=0, fraction=0.0)
    row = many["test"]["per_class"][0]
    codes = [f"c{k:03}" for k in range(198)]
    many["test"]["per_class"] = [{**row, "class": code, "name": code, "f1": k / 198} for k, code in enumerate(codes)]
    many["test"]["intervals"]["per_class"] = dict.fromkeys(codes, found["test"]["intervals"]["per_class"]["NV"])
    many["split"]["counts"]["train"] = dict.fromkeys(codes, 5)
    text = shown(many)
    assert "none, no lesion has images in both training and test part" in text
    assert "c039" in text
    assert "c040" not in text
    assert "The 40 lowest F1 of 198 classes" in text
