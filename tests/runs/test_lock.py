"""One job at a time in a run's folder."""

from __future__ import annotations

import csv
import errno
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ltmed.errors import UserError
from ltmed.runs import lock
from ltmed.utils import files, processes
from tests.harness import ROOT, ok, only_run, run_command

CFG = OmegaConf.create({"seed": 0, "fold": 0, "method": {"name": "erm"}})
HOLD = """
import sys, pathlib
from ltmed.runs import lock
with lock.held(pathlib.Path(sys.argv[1]), 'other', print):
    print('held', flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the folder until its stdin ends."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, **pipes)
    assert other.stdout
    assert other.stdout.readline() == "held\n"
    return other


def test_the_second_waits_and_says_for_whom_even_if_the_first_is_killed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = holder(tmp_path)
    threading.Timer(0.5, other.kill).start()
    began = time.monotonic()
    with lock.claimed(tmp_path, CFG):
        assert time.monotonic() - began > 0.4
        assert (tmp_path / "config.yaml").exists()
    said = capfd.readouterr().err
    assert said.startswith(f"waiting: process {other.pid} on ")
    assert said.endswith(f" trains in {tmp_path}\n")
    with lock.claimed(tmp_path, CFG):
        pass
    assert not capfd.readouterr().err
    other.wait()


def test_another_configuration_is_refused_without_waiting_and_a_finished_run_is_not_locked(tmp_path: Path) -> None:
    with lock.claimed(tmp_path, CFG):
        pass
    other = holder(tmp_path)
    changed = OmegaConf.create({**CFG, "seed": 1})
    with pytest.raises(UserError, match="seed: 0 there, 1 now"), lock.claimed(tmp_path, changed):
        pass
    (tmp_path / "metrics.json").write_text("{}")
    with lock.claimed(tmp_path, CFG):
        assert other.poll() is None
    other.kill()
    other.wait()


def test_a_folder_deleted_while_one_waits_is_made_anew(tmp_path: Path) -> None:
    run = tmp_path / "run"
    other = holder(run)

    def delete() -> None:
        shutil.rmtree(run)
        other.kill()

    threading.Timer(0.3, delete).start()
    with lock.claimed(run, CFG):
        assert (run / lock.FILE).exists()
        assert (run / lock.HOLDER).exists()
    other.wait()


@pytest.mark.parametrize("folder", ["/proc/none", "/proc/self"])
def test_a_folder_that_cannot_be_written_is_refused(folder: str) -> None:
    with pytest.raises(UserError, match=folder), lock.claimed(Path(folder), CFG):
        pass


def test_other_ranks_of_a_launcher_wait_for_their_first_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "1")
    entered = threading.Event()

    def second_rank() -> None:
        with lock.claimed(tmp_path, CFG):
            entered.set()

    with lock.held(tmp_path, "another job", print):
        threading.Thread(target=second_rank, daemon=True).start()
        assert not entered.wait(0.7)
    with lock.held(tmp_path, processes.job(), print):
        assert entered.wait(5)
    assert not (tmp_path / "config.yaml").exists()


def test_without_locks_there_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.FileLock, "acquire", fail)
    with pytest.warns(UserWarning, match="cannot be locked"), lock.claimed(tmp_path, CFG):
        assert (tmp_path / "config.yaml").exists()


@dataclass(frozen=True)
class PauseUntilWritten:
    """Holds the first step until the file has something in it."""

    file: Path

    def __call__(self) -> None:
        from ltmed.training.stage import Stage

        file = self.file

        def pause(stage: Any) -> None:
            last = time.monotonic() + 60
            while time.monotonic() < last and not (file.exists() and file.stat().st_size):
                time.sleep(0.1)

        Stage.on_train_epoch_start = pause  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.slow
def test_one_command_given_twice_at_once_trains_once(tiny: list[str], tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    with ThreadPoolExecutor(2) as pool:
        jobs = []
        for folder, other in zip(folders, reversed(folders), strict=True):
            folder.mkdir()
            pause = PauseUntilWritten(other / "stderr.txt")
            jobs.append(pool.submit(run_command, *tiny, "epochs=1", cwd=folder, before=pause))
        done = [ok(job.result()) for job in jobs]
    assert sorted("waiting: process" in one.err for one in done) == [False, True]
    assert sorted("train 1/1" in one.out for one in done) == [False, True]
    assert all("Results are in" in one.out for one in done)
    with (only_run(tmp_path / "runs") / "metrics.csv").open() as file:
        rows = Counter((row["stage"], row["epoch"], row["step"], row["name"]) for row in csv.DictReader(file))
    assert set(rows.values()) == {1}
