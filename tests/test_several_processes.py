"""A run whose images carry several labels, in processes of its own: W&B offline, a kill, and two ranks."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as sk

from tests.harness import SignalAt, assert_same_weights, ok, run_command, run_torchrun
from tests.logging.test_loggers import key_of, records
from tests.several import CLASSES, overrides

pytestmark = pytest.mark.slow
NETWORK = ["backbone=timm", "backbone.name=test_convnext", "image_size=32"]
"""Without BatchNorm, whose statistics are those of each process's own part of the batch."""


def command(folder: Path, name: str, *further: str) -> list[str]:
    """A command of two epochs of three steps, whose run is in `folder / name`."""
    replaced = ("runs=", "backbone=", "image_size=")
    arguments = [argument for argument in overrides(folder) if not argument.startswith(replaced)]
    return [*arguments, *NETWORK, f"run_dir={folder / name}", *further]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("several")


@pytest.fixture(scope="module")
def straight(folder: Path) -> Path:
    """A run from its beginning to its end, logged to W&B offline."""
    ok(run_command(*command(folder, "straight", "logger=wandb", "logger.offline=true"), cwd=folder))
    return folder / "straight"


def found(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def test_wandb_has_curves_labels_and_test_numbers(straight: Path) -> None:
    (file,) = straight.glob("wandb/offline-run-*/*.wandb")
    history, summary = [], {}
    for record in records(file):
        if record.HasField("history"):
            history.append({key_of(item): json.loads(item.value_json) for item in record.history.item})
        if record.HasField("summary"):
            summary |= {key_of(item): json.loads(item.value_json) for item in record.summary.update}
    test = found(straight)["test"]
    for name in ("macro_ap", "macro_auroc", "micro_f1", "exact_match"):
        assert [row["epoch"] for row in history if f"train/val/{name}" in row] == [0, 1]
        assert summary[f"test/{name}"] == pytest.approx(test["scalars"][name])
        low, high = test["intervals"]["scalars"][name]
        assert (summary[f"test/{name}_low"], summary[f"test/{name}_high"]) == pytest.approx((low, high))
    tables = {"/".join(key.split("/")[:2]) for row in history for key in row if key.startswith("test/")}
    assert tables == {"test/per_class"}, "a table of labels, and no confusion matrix"


def test_killed_and_resumed_it_ends_with_the_same_bits(straight: Path, folder: Path) -> None:
    arguments = command(folder, "resumed")
    assert run_command(*arguments, cwd=folder, before=SignalAt(epoch=1, step=1)).code == -signal.SIGKILL
    done = ok(run_command(*arguments, cwd=folder))
    assert "train 1/2" not in done.out
    resumed = folder / "resumed"
    for name in ("best", "last"):
        assert_same_weights(states(straight, name), states(resumed, name))
    assert found(resumed)["test"] == found(straight)["test"]
    again, once = (pd.read_parquet(run / "predictions.parquet") for run in (resumed, straight))
    pd.testing.assert_frame_equal(again, once)


def test_two_processes_find_the_numbers_of_one(straight: Path, folder: Path) -> None:
    first, second = run_torchrun(*command(folder, "two"), cwd=folder)
    ok(first)
    assert not ok(second).out
    alone, shared = (
        pd.read_parquet(run / "predictions.parquet").sort_values("image", ignore_index=True)
        for run in (straight, folder / "two")
    )
    assert shared["image"].is_unique
    assert shared["image"].tolist() == alone["image"].tolist()
    test = found(folder / "two")["test"]
    for code in CLASSES:
        np.testing.assert_array_equal(shared[f"label_{code}"], alone[f"label_{code}"])
        np.testing.assert_allclose(shared[f"prob_{code}"], alone[f"prob_{code}"], atol=1e-4)
        expected = found(straight)["test"]["thresholds"][code]
        assert test["thresholds"][code] == pytest.approx(expected, abs=1e-4)
    # The numbers are of all images of both processes.
    known = {code: shared[f"label_{code}"].notna() for code in CLASSES}
    aps = [
        sk.average_precision_score(shared.loc[known[code], f"label_{code}"], shared.loc[known[code], f"prob_{code}"])
        for code in CLASSES
    ]
    assert test["scalars"]["macro_ap"] == pytest.approx(np.mean(aps))


def states(run: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(run / f"stages/train/{name}.ckpt", weights_only=True)["state_dict"]
