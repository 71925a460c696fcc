"""`ltmed export`: one line on the terminal, one file, and mistakes."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

from tests.cli.test_commands import refused, said
from tests.trained_runs import untrained


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return untrained(tmp_path_factory.mktemp("run"), "method=erm")


@pytest.mark.parametrize("form", ["onnx", "torchscript", "torch"])
def test_the_terminal_is_quiet(capfd, run, tmp_path, form):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        if form == "torch":  # The quickest, to be replaced.
            said(capfd, "export", str(run), "--format", form, "--output", str(tmp_path / "net"))
        out = said(capfd, "export", str(run), "--format", form, "--output", str(tmp_path / "net"))
    assert not warned
    assert re.fullmatch(rf"{tmp_path}/net: \d+\.\d MiB, at most \S+ from the network\n", out)
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN"], "--format is missing. Choose --format=onnx"),
        (["RUN", "--format", "onxx"], "'onnx'"),
        (["nowhere", "--format", "onnx"], "nowhere is not the folder of a run"),
        (["RUN", "--format", "torch", "-o", "folder"], "folder is a folder"),
        (["--format", "torch"], "Missing argument 'RUN'"),
    ],
)
def test_mistakes_end_in_one_line_and_two(capsys, run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    assert message in refused(
        capsys, "export", *(str(run) if argument == "RUN" else argument for argument in arguments)
    )
