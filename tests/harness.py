"""Runs `run.py` as a user does, without paying ten seconds of imports each time.

A fork server imports the slow libraries once; every command is a fresh process forked from it.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from tests import economy

economy.apply_to_training()
economy.apply_to_exports()
# Here and not at the first command: another test may start the server before.
multiprocessing.set_forkserver_preload(
    ["lightning.pytorch", "timm", "torchvision", "pandas", "pyarrow.parquet", "cv2", "tests.warm"]
)

ROOT = Path(__file__).resolve().parents[1]
_METHODS = {file.stem: "\nstages:" in file.read_text() for file in sorted((ROOT / "conf/method").glob("*.yaml"))}
METHODS = [name for name, has_stages in _METHODS.items() if has_stages]
"""A method that is added is tested at once."""
PRESETS = [name for name, has_stages in _METHODS.items() if not has_stages]
"""Methods that only choose a loss, a sampler or a head for another one's stages: `tests/test_presets.py`."""
TINY = (
    "dataset=isic2018",
    "image_size=32",
    "backbone=smallest",
    "batch_size=14",
    "trainer.accelerator=cpu",
    "figures=false",
)
"""Overrides of every quick run; `dataset.root`, `runs` and `cache_dir` come from the fixture `tiny`."""
QUICK = {
    "lmd": ["method.stages.calibrate.module.virtual_per_class=300"],
    "flexible_sampling": ["method.stages.curriculum.module.warmup=0"],  # So that the second of two epochs has a query.
}
"""What else a method needs to be quick."""


def stages(method: str) -> list[str]:
    """The stages of a method, in order."""
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        return list(compose("config", [f"method={method}"]).method.stages)


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Command:
    """Runs a program of the repository with its command line, in the process that calls it."""

    program: str
    arguments: tuple[str, ...]
    before: Callable[[], None] | None = None
    """Called before anything else, to make it fail or to slow it down."""

    def __call__(self) -> None:
        sys.argv = [str(ROOT / self.program), *self.arguments]
        if self.before:
            self.before()
        runpy.run_path(sys.argv[0], run_name="__main__")


def run_command(
    *arguments: str,
    cwd: Path,
    before: Callable[[], None] | None = None,
    timeout: float = 240,
    program: str = "run.py",
) -> Finished:
    """Runs `python run.py WORDS` in the folder `cwd`; the other arguments are those of `Command` and `run_process`."""
    return run_process(Command(program, arguments, before), cwd, timeout)


def run_process(function: Callable[[], None], cwd: Path, timeout: float = 240) -> Finished:
    """Calls a function in a process of its own.

    Args:
        function: one that can be pickled.
        cwd: working folder; stdout and stderr are kept there too.
        timeout: seconds after which the process is killed and the test fails.
    """
    context = multiprocessing.get_context("forkserver")
    out, err = cwd / "stdout.txt", cwd / "stderr.txt"
    process = context.Process(target=_call, args=(function, cwd, out, err))
    process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"{function} did not end in {timeout} s:\n{out.read_text()}\n{err.read_text()}")
    assert process.exitcode is not None
    return Finished(process.exitcode, out.read_text(), err.read_text())


def _call(function: Callable[[], None], cwd: Path, out: Path, err: Path) -> None:
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    os.chdir(cwd)
    os.environ["PYTHONPATH"] = str(ROOT)
    function()


def run_torchrun(*arguments: str, cwd: Path, before: Callable[[], None] | None = None) -> list[Finished]:
    """Runs the command in two processes as `torchrun --nproc-per-node=2` would."""
    return run_ranks(Command("run.py", (*arguments, "trainer.devices=2"), before), cwd)


def run_ranks(function: Callable[[], None], cwd: Path, timeout: float = 150) -> list[Finished]:
    """Calls a function in two processes with the environment that `torchrun --nproc-per-node=2` gives them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    folders = [cwd / f"rank{rank}" for rank in range(2)]
    with ThreadPoolExecutor(2) as pool:
        jobs = []
        for rank, folder in enumerate(folders):
            folder.mkdir(exist_ok=True)
            prepared = Environment({**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}, function)
            jobs.append(pool.submit(run_process, prepared, folder, timeout))
        return [job.result() for job in jobs]


@dataclass(frozen=True)
class Environment:
    """Sets environment variables in the new process, then does what else is to be done there."""

    variables: dict[str, str]
    then: Callable[[], None] | None = None

    def __call__(self) -> None:
        os.environ.update(self.variables)
        if self.then:
            self.then()


@dataclass(frozen=True)
class SignalAt:
    """Sends the first rank a signal in the middle of an epoch."""

    epoch: int
    step: int
    number: int = signal.SIGKILL
    stage: str | None = None
    """None for whichever comes there first."""

    def __call__(self) -> None:
        from ltmed.training.stage import Stage

        # A shell's background jobs, and so perhaps these tests, are started with Ctrl-C ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        original = Stage.on_train_batch_end

        def hook(stage: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            here = (stage.current_epoch, batch_idx) == (self.epoch, self.step) and stage.global_rank == 0
            if here and self.stage in (None, stage.context.name):
                os.kill(os.getpid(), self.number)
            original(stage, outputs, batch, batch_idx)

        Stage.on_train_batch_end = hook  # pyright: ignore[reportAttributeAccessIssue]


class StoppedError(BaseException):
    """Ends training in this process as a kill would end the process: no handler expects it."""


@contextmanager
def stopped(epoch: int, step: int, stage: str | None = None) -> Iterator[None]:
    """Stops what the body trains in the middle of an epoch, and fails if it does not come so far.

    Where it is not the process that matters, this shows the same as `SignalAt` for a third of the time. Afterwards the
    global random numbers are others than those that a run would go on with.
    """
    from ltmed.training.stage import Stage

    original = Stage.on_train_batch_end

    def hook(module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (module.current_epoch, batch_idx) == (epoch, step) and stage in (None, module.context.name):
            raise StoppedError
        original(module, outputs, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Stage, "on_train_batch_end", hook)
        try:
            yield
        except StoppedError:
            torch.manual_seed(7)
        else:
            raise AssertionError(f"training did not come to step {step} of epoch {epoch}")


def weights(runs: Path, name: str = "last") -> dict[str, torch.Tensor]:
    """The states of all stages of the only run below `runs`, as `stage/tensor`."""
    return {
        f"{file.parent.name}/{key}": tensor
        for file in only_run(runs).glob(f"stages/*/{name}.ckpt")
        for key, tensor in torch.load(file, weights_only=True)["state_dict"].items()
    }


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Every tensor of two state dicts is equal to the last bit."""
    assert one.keys() == other.keys()
    for key in one:
        assert torch.equal(one[key], other[key]), key


def only_run(runs: Path) -> Path:
    """The folder of the only run below `runs`."""
    (file,) = runs.rglob("config.yaml")
    return file.parent


def ok(done: Finished) -> Finished:
    """Fails with the output of a command that failed."""
    assert done.code == 0, done.out + done.err
    return done


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own (tmpfs) of a few bytes on `folder`; skips where that takes more rights."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root on Linux only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def make_tiny_ham(root: Path, counts: tuple[int, ...] = (20, 48, 14, 12, 20, 12, 12)) -> None:
    """Writes a HAM10000 tree of small images, one colour a class with noise, two images to most lesions."""
    rng = np.random.default_rng(0)
    folder = root / "HAM10000_images_part_1"
    folder.mkdir(parents=True)
    rows = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    number = 0
    for label, (code, count) in enumerate(zip(("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc"), counts, strict=True)):
        colour = np.random.default_rng(label).integers(60, 200, 3)
        for i in range(count):
            pixels = np.clip(colour + rng.normal(0, 40, (36, 48, 3)), 0, 255).astype(np.uint8)
            name = f"ISIC_{number:07d}"
            cv2.imwrite(str(folder / f"{name}.jpg"), pixels)
            rows.append(f"HAM_{label}{i // 2:05d},{name},{code},histo,50,male,back")
            number += 1
    (root / "HAM10000_metadata.csv").write_text("\n".join(rows) + "\n")
