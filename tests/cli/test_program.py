"""`ltmed` and `ltmed train` as programs: options of their own, and arguments that are Hydra's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ltmed
from ltmed.cli import train
from ltmed.cli.main import COMMANDS, main
from ltmed.config import paths
from ltmed.errors import UserError
from tests.harness import ROOT


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("arguments", [["--version"], ["train", "--version"]])
def test_the_version_is_that_of_the_package(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments)
    assert capsys.readouterr().out == f"ltmed {ltmed.__version__}\n"


def test_help_of_train_names_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "--help"])
    out = capsys.readouterr().out
    assert out.count("  ltmed train ") >= 5
    assert "run.py" not in out
    train.main(["method=erm", "-h"])
    assert capsys.readouterr().out == out.replace("ltmed train", "python run.py")


def test_every_command_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    for name in COMMANDS:
        assert any(len(line.split()) > 3 for line in lines if line.startswith(f"  {name} "))


def test_train_is_the_program_of_run_py_from_any_folder(tmp_path: Path) -> None:
    """With options before and after settings, and an own folder of configuration files."""
    (tmp_path / "conf/loss").mkdir(parents=True)
    (tmp_path / "conf/loss/mine.yaml").write_text((ROOT / "conf/loss/ce.yaml").read_text())
    arguments = ["loss=mine", "--cfg", "job", "--config-dir", "conf", "seed=7", "--package", "loss"]
    by_module = run("-m", "ltmed.cli", "train", *arguments, cwd=tmp_path)
    by_script = run(str(ROOT / "run.py"), *arguments, cwd=tmp_path)
    assert by_module.returncode == 0, by_module.stderr
    assert "cross_entropy" in by_module.stdout
    assert (by_module.stdout, by_module.returncode) == (by_script.stdout, by_script.returncode)


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (["--config-dir", "{}", "seed=1"], ["seed=1"]),
        (["seed=1", "--config-dir={}"], ["seed=1"]),
        (["-cd", "{}", "-m"], ["-m"]),
        (["-m", "x=--config-dir"], ["-m", "x=--config-dir"]),
    ],
)
def test_own_folders_are_taken_from_the_command_line(
    given: list[str], left: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(paths.VARIABLE, "")
    assert train._take_own_folders([argument.format(tmp_path) for argument in given]) == left
    assert paths.own_folders() == ((tmp_path,) if "{}" in "".join(given) else ())


@pytest.mark.parametrize("given", [["--config-dir"], ["--config-dir", "none"], ["--config-dir="]])
def test_no_folder_is_a_mistake(given: list[str]) -> None:
    with pytest.raises(UserError, match="--config-dir"):
        train._take_own_folders(given)


def test_no_printed_command_needs_a_checkout() -> None:
    """The help of `run.py` itself names it."""
    for file in (ROOT / "ltmed").rglob("*.py"):
        if file != ROOT / "ltmed/cli/train.py":
            assert "run.py" not in file.read_text(encoding="utf-8"), file
