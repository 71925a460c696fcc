"""Which folders are runs, and what a damaged one does to a report on many."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ltmed.errors import UserError
from ltmed.report.build import from_runs
from ltmed.runs.reader import Run, find_runs
from ltmed.runs.record import DamagedRunError
from tests.harness import ROOT
from tests.report.factory import LABELS, write


def cut(file: str) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        content = (run / file).read_bytes()
        (run / file).write_bytes(content[: len(content) // 2])

    return damage


def replaced(file: str, text: str) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / file).write_text(text)

    return damage


def without_lesion(run: Path) -> None:
    pd.read_parquet(run / "predictions.parquet").drop(columns="lesion").to_parquet(run / "predictions.parquet")


DAMAGES = {
    "metrics.json cut": (cut("metrics.json"), "metrics.json cannot be read", True),
    "metrics.json a list": (replaced("metrics.json", "[1]"), "metrics.json has no run.dataset", True),
    "metrics.json empty map": (replaced("metrics.json", "{}"), "metrics.json has no run.dataset", True),
    "predictions cut": (cut("predictions.parquet"), "predictions.parquet cannot be read", True),
    "predictions of 0 bytes": (replaced("predictions.parquet", ""), "predictions.parquet cannot be read", True),
    "predictions less a column": (without_lesion, "predictions.parquet has no column 'lesion'", True),
    "config broken": (replaced("config.yaml", "method: {name: erm\nfold: 0"), "config.yaml cannot be read", False),
    "config of 0 bytes": (replaced("config.yaml", ""), "config.yaml has no 'method.name'", False),
    "run.json cut": (cut("run.json"), "run.json cannot be read", False),
    "run.json of another program": (replaced("run.json", "{}"), "run.json has no 'choices'", False),
    "run.json lost": (lambda run: (run / "run.json").unlink(), "run.json is missing", False),
    "config missing": (lambda run: (run / "config.yaml").unlink(), "config.yaml is missing", False),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_run_is_a_warning_and_missing_and_by_itself_an_error(name: str, tmp_path: Path) -> None:
    damage, said, can_be_placed = DAMAGES[name]
    groups = list(range(len(LABELS)))
    whole, broken = (write(tmp_path, "erm", seed=seed, groups=groups, split_hash="h") for seed in (0, 1))
    damage(broken.path)
    with pytest.warns(UserWarning, match=said) as warned:
        finished, unfinished = find_runs([tmp_path])
    assert f"Delete the folder {broken.path} and start its command again." in str(warned[0].message)
    assert [run.path for run in finished] == [whole.path]
    assert unfinished == ([broken.path] if can_be_placed else [])
    (cell,) = from_runs(finished, unfinished).cells.values()
    assert len(cell.missing) == can_be_placed
    with pytest.raises(DamagedRunError, match=said):
        find_runs([broken.path])


def test_predictions_that_were_not_copied_are_no_damage(tmp_path: Path) -> None:
    run = write(tmp_path)
    (run.path / "predictions.parquet").unlink()
    assert len(find_runs([tmp_path])[0]) == 1


def test_predictions_damaged_inside_are_an_error_of_ours(tmp_path: Path) -> None:
    run = write(tmp_path)
    (run.path / "predictions.parquet").write_bytes(b"x")
    with pytest.raises(DamagedRunError, match="cannot be read"):
        _ = Run(run.path, run.metrics).predictions


def test_other_folders_with_a_config_are_no_runs(tmp_path: Path) -> None:
    run = write(tmp_path)
    for place in ("wandb/run-1/files", ".cache", "notes", "other"):
        (run.path / place).mkdir(parents=True)
        (run.path / place / "config.yaml").write_text("wandb_version: 1\n")
    (run.path / ".cache" / "config.yaml").write_text((run.path / "config.yaml").read_text())
    (run.path / "other" / "config.yaml").unlink()
    (run.path / "other" / "metrics.json").write_text(json.dumps({"loss": 1}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        finished, unfinished = find_runs([tmp_path])
    assert [run.path for run in finished] == [run.path]
    assert not unfinished
    with pytest.raises(UserError, match="No run in"):
        find_runs([ROOT / "conf"])


def test_commands_name_the_folder_of_results_unless_it_is_the_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(runs: str) -> str:
        write(tmp_path / runs, seed=0)
        write(tmp_path / runs, seed=1, finished=False)
        (cell,) = from_runs(*find_runs([Path(runs)])).cells.values()
        return cell.missing[0]

    monkeypatch.chdir(tmp_path)
    assert "runs=" not in missing("runs")
    assert " runs=other/place " in missing("other/place")
    assert " \"runs='my runs'\" " in missing("my runs")
    missing("more")
    monkeypatch.chdir(tmp_path / "more" / "toy")
    (cell,) = from_runs(*find_runs([Path()])).cells.values()
    assert f" runs={tmp_path}/more " in cell.missing[0]
