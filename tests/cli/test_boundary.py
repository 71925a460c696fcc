"""The help screen and the one-line errors of the command line."""

from __future__ import annotations

import errno
import io
import shlex
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ltmed.cli import boundary, job
from ltmed.cli.error_lines import error_line
from ltmed.cli.help import help_screen
from ltmed.errors import UserError, suggest
from tests.harness import run_command

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"


def test_help_names_every_choice_of_every_group() -> None:
    screen = help_screen("ltmed train")
    for group in (path for path in CONF.iterdir() if path.is_dir() and path.name not in ("hydra", "stage")):
        section = screen.split(f"{group.name}=\n")[1].split("=\n")[0]
        for file in group.glob("[!_]*.yaml"):
            line = next(line for line in section.splitlines() if line.split()[:1] == [file.stem])
            assert len(line.split()) > 3, f"{file} has no description in its first line"


def test_help_is_quick_and_imports_no_torch() -> None:
    started = time.perf_counter()
    code = "import sys, runpy; sys.argv = ['run.py', '--help']\ntry: runpy.run_path('run.py', run_name='__main__')\n"
    code += "except SystemExit as end: assert not end.code\n"
    code += "assert not {'torch', 'hydra'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    # A whole second is the promise; importing torch alone takes several.
    assert time.perf_counter() - started < 3
    assert done.stdout.count("python run.py ") >= 5


def test_config_printing_imports_no_torch() -> None:
    code = "import sys, runpy; sys.argv = ['run.py', '--cfg', 'job']\nrunpy.run_path('run.py', run_name='__main__')\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["seeed=1"], "'seed'"),
        (["trainer.device=2"], "'devices'"),
        (["method.stages.train.optimizer.lrr=1"], "'lr'"),
        (["methd=erm"], "'method'"),
        (["method=prco"], "'proco'"),
        (["dataset=isic2081"], "'isic2018'"),
        (["seed=[1"], "seed=[1"),
        (["loss=null"], "name of one of its choices"),
    ],
)
def test_misspelt_override_names_what_is_near(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = run_command(*arguments, cwd=tmp_path)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert said in done.err


def test_full_disk_and_unknown_errors() -> None:
    assert "disk is full" in str(error_line(OSError(errno.ENOSPC, "No space left on device", "x.ckpt")))
    assert "x.ckpt" in str(error_line(OSError(errno.ENOSPC, "No space left on device", "x.ckpt")))
    assert error_line(ValueError("a bug")) is None


@pytest.mark.parametrize("value", ["/data/archive (1)", "/data/Bilder ä, neu", "/data/a=b,c", "/data/x [1]'s"])
def test_a_path_that_hydra_cannot_read_is_shown_quoted(value: str) -> None:
    with pytest.raises(HydraException) as caught:
        OverridesParser.create().parse_overrides([f"dataset.root={value}("])
    line = str(error_line(caught.value))
    (argument,) = shlex.split(line.partition("Quote its value: ")[2])
    (override,) = OverridesParser.create().parse_overrides([argument])
    assert override.value() == f"{value}("


def test_a_search_for_the_worst_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna minimises where nothing is said."""
    from hydra.core.hydra_config import HydraConfig

    sweeper: dict[str, Any] = {"direction": "minimize"}
    monkeypatch.setattr(job, "is_sweep", lambda: True)
    monkeypatch.setattr(HydraConfig, "get", lambda: SimpleNamespace(sweeper=sweeper))
    job._require_direction("ece")
    with pytest.raises(UserError, match=r"worst macro_f1\. Add hydra\.sweeper\.direction=maximize"):
        job._require_direction("macro_f1")
    sweeper["direction"] = "maximize"
    job._require_direction("macro_f1")
    sweeper.clear()
    job._require_direction("macro_f1")


def test_what_may_not_be_read_is_named() -> None:
    assert str(error_line(PermissionError(errno.EACCES, "Permission denied", "/r/config.yaml"))).startswith(
        "/r/config.yaml: Permission denied."
    )


def test_a_warning_is_one_line_whatever_lightning_does_to_warnings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with warnings.catch_warnings():
        boundary.tidy_output()
        monkeypatch.setattr(warnings, "formatwarning", lambda *_, **__: "file.py:1: raw\n")
        show = warnings.showwarning  # pytest records warnings in place of showing them.
        show(UserWarning("the data are odd"), UserWarning, "file.py", 1)
        frozen = "Found 71 module(s) in eval mode at the start of training. This may lead to unexpected behavior."
        with warnings.catch_warnings(record=True) as caught:
            warnings.warn(frozen, stacklevel=1)
    assert capsys.readouterr().err == "warning: the data are odd\n"
    assert not caught


def test_letters_that_the_output_lacks_are_escaped_and_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="cp1252", newline=""))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with warnings.catch_warnings():
        boundary.tidy_output()
    print("84.1 ± 0.6", "痣", flush=True)
    assert raw.getvalue() == b"84.1 \xb1 0.6 \\u75e3\n"


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, boundary.one_line_errors(single=True):
        raise UserError("What", "Mend.")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: What. Mend.\n"
    with pytest.raises(SystemExit) as ended, boundary.one_line_errors(single=True):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    with pytest.raises(ZeroDivisionError), boundary.one_line_errors(single=True):
        raise ZeroDivisionError
    with pytest.raises(UserError), boundary.one_line_errors(single=False):
        raise UserError("What")


def test_nearest() -> None:
    assert suggest("resnt18", ["resnet18", "resnet50", "tiny"]).startswith("Did you mean 'resnet18'")
    assert suggest("xyz", ["a", "b"]) == "Known: a, b."
    assert suggest("xyz", []) == ""
