"""Mistakes on the command line of `ltmed train`: one line that names the setting that was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_commands import refused


@pytest.mark.parametrize(
    ("overrides", "hint"),
    [
        (["lr=0.1"], "Did you mean method.stages.train.optimizer.lr?"),
        (["epochs", "=", "3"], "without blanks around '='"),
        (["erm"], "Settings are written key=VALUE"),
        (["method=[erm"], "']' is missing"),
        (["dataset.classes=[a,b"], "']' is missing"),
        (["method=erm,"], "Remove the comma"),
        (["method=ERM"], "Did you mean 'erm'?"),
        (["monitor=f1"], "Did you mean 'macro_f1'"),
        (["trainer.precision=bf17"], "Did you mean 'bf16-mixed'?"),
        (["image_size=1"], "at least 8"),
        (["+foo=1"], "'foo' is neither a setting nor the folder of a study"),
        (["+lmd=tabel3"], "Did you mean 'lmd/table3'"),
        (["~method"], "method=NAME"),
        (["seed=0,1"], "Add -m"),
        (
            ["method=lmd", "method.stages.represent.sampler.q=1"],
            "Set sampler.q, or add +sampler@method.stages.represent.sampler=NAME",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_the_line_says_what_was_meant(
    overrides: list[str], hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, "train", "dataset=phantom", *overrides)
    assert hint in line
    assert "object_type" not in line
    assert "hydra.cc" not in line
    assert not list(tmp_path.iterdir()), "a refused command leaves nothing"
