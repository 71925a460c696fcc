"""SIGTERM: raised in the main thread, left to others who asked for it first, and not swallowed by Lightning."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ltmed.losses.classification import cross_entropy
from ltmed.methods.erm import ERM
from ltmed.nn.heads import Linear
from ltmed.training import termination
from ltmed.training.termination import SigtermCallback, Terminated, terminable
from ltmed.utils import processes
from tests.harness import run_process
from tests.methods.small_decoupling import Data, make, trainer_for


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
    termination._ending.clear()


def test_it_ends_the_body_with_the_code_of_the_signal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(termination, "_exit_later", lambda: None)

    def body() -> None:
        with terminable():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    with pytest.raises(Terminated) as ended:
        body()
    assert ended.value.code == 143
    assert capfd.readouterr().err.count("Terminated") == 1
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_handler_of_somebody_else_stays() -> None:
    """Submitit has one, which lets the run go on until it is told to write a checkpoint."""
    heard: list[int] = []

    def theirs(number: int, frame: object) -> None:
        heard.append(number)

    signal.signal(signal.SIGTERM, theirs)
    with terminable():
        os.kill(os.getpid(), signal.SIGTERM)
        trainer = trainer_for(1)
        trainer.callbacks.append(SigtermCallback())  # pyright: ignore[reportAttributeAccessIssue]
        trainer.callbacks.append(Ask(heard))  # pyright: ignore[reportAttributeAccessIssue]
        trainer.fit(make(ERM, Linear, loss=cross_entropy), datamodule=Data())
        assert trainer.current_epoch == 1, "Lightning stopped"
    assert heard == [signal.SIGTERM] * 2
    assert signal.getsignal(signal.SIGTERM) is theirs


class Ask(SigtermCallback):
    """Sends the signal in the middle of an epoch."""

    def __init__(self, heard: list[int]) -> None:
        super().__init__()
        self.heard = heard

    def on_train_batch_start(self, *_: object) -> None:
        if len(self.heard) == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def blocked() -> None:
    """Terminates itself, and does not come to its end."""
    termination._PATIENCE_SECONDS = 0.5
    with terminable():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(600)
        finally:
            time.sleep(600)  # As in a collective that no other rank joins.


def forked() -> None:
    with terminable():
        child = os.fork()
        if child == 0:
            time.sleep(60)
        time.sleep(0.2)
        os.kill(child, signal.SIGTERM)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def test_a_process_that_does_not_come_to_its_end_is_ended(tmp_path: Path) -> None:
    assert run_process(blocked, tmp_path).code == 143


def test_a_forked_worker_ends_quietly(tmp_path: Path) -> None:
    """Those of `dataset.workers` inherit the handler."""
    done = run_process(forked, tmp_path)
    assert (done.code, done.out, done.err) == (0, "143\n", "")


def killed_sweep() -> None:
    """Ends as kill -9 ends a sweep, while a job of it runs in a process of its own."""
    processes.announce_program()
    if os.fork() == 0:
        termination.end_with_sweep()
        try:
            with terminable():
                Path("job.txt").write_text("running\n")
                time.sleep(60)
        except Terminated:
            Path("job.txt").write_text("terminated\n")
            os._exit(0)
    wait_for(Path("job.txt"), "running\n")
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(file: Path, text: str) -> None:
    deadline = time.monotonic() + 30
    while not file.exists() or file.read_text() != text:
        assert time.monotonic() < deadline, f"{file} is not {text!r}"
        time.sleep(0.05)


def test_a_job_in_a_process_of_its_own_ends_with_the_sweep(tmp_path: Path) -> None:
    """It would otherwise train on, hold the run's folder, and share the machine with the sweep that continues it."""
    assert run_process(killed_sweep, tmp_path).code == -signal.SIGKILL
    wait_for(tmp_path / "job.txt", "terminated\n")


@pytest.mark.parametrize("program", [None, "1"])
def test_only_processes_that_a_launcher_started_watch_the_sweep(
    program: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable reaches jobs on other machines (submitit) and programs that a run starts, too."""
    monkeypatch.delenv("LTMED_PROGRAM", raising=False)
    if program:
        monkeypatch.setenv("LTMED_PROGRAM", program)
    termination.end_with_sweep()
    assert not termination._following.is_set()
