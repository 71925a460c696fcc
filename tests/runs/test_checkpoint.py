"""Checkpoints on disk: whole or not there, on full disks and after kills; damaged ones are found out."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from ltmed.errors import UserError
from ltmed.runs import checkpoint
from ltmed.runs.checkpoint import DamagedCheckpointError, ResumePoint, resume_point
from ltmed.utils.files import replacing
from tests.harness import run_process, small_disk


def state(epoch: int = 0, size: int = 1000) -> dict[str, Any]:
    return {"epoch": epoch, "state_dict": {"w": torch.full((size,), float(epoch))}, "callbacks": {"a": {"best": 0.5}}}


def epoch_of(file: Path) -> int:
    saved = checkpoint.read(file)
    assert torch.equal(saved["state_dict"]["w"], torch.full_like(saved["state_dict"]["w"], saved["epoch"]))
    return saved["epoch"]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "stages" / "train" / "last.ckpt"
    checkpoint.write(file, state(3))
    assert epoch_of(file) == 3
    assert [path.name for path in file.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_names_the_file_and_keeps_the_old_one(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "last.ckpt"
    checkpoint.write(file, state(1))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((os, "fsync", full) if call == "fsync" else (Path, "replace", full)))
    with pytest.raises(OSError, match="No space") as failed:
        checkpoint.write(file, state(2))
    assert (failed.value.errno, failed.value.filename) == (errno.ENOSPC, str(file))
    assert epoch_of(file) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small", "1m") as folder:
        yield folder


def test_a_full_disk_keeps_the_old_one_and_nothing_goes_elsewhere(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room in the temporary folder, on another file system, where Lightning's own writer puts the new file."""
    elsewhere = tmp_path / "tmp"
    elsewhere.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    file = small / "last.ckpt"
    checkpoint.write(file, state(1, 100_000))
    with pytest.raises(OSError, match="No space") as failed:
        checkpoint.write(file, state(2, 200_000))
    assert failed.value.filename == str(file)
    assert epoch_of(file) == 1
    assert [path.name for path in small.iterdir()] == ["last.ckpt"]
    assert not list(elsewhere.iterdir())


@dataclass(frozen=True)
class WriteAndDie:
    """Kills its own process in the middle of writing a checkpoint."""

    file: Path
    call: str

    def __call__(self) -> None:
        def die(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(*((os, "fsync", die) if self.call == "fsync" else (Path, "replace", die)))
        checkpoint.write(self.file, state(2))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_kill_during_the_write_keeps_the_old_one(call: str, small: Path, tmp_path: Path) -> None:
    checkpoint.write(small / "last.ckpt", state(1))
    assert run_process(WriteAndDie(small / "last.ckpt", call), tmp_path).code == -signal.SIGKILL
    assert resume_point(small).epochs == 2
    assert [path.name for path in small.iterdir()] == ["last.ckpt"], "what was being written is removed"


def spoil(file: Path, how: str) -> None:
    data = bytearray(file.read_bytes())
    if how == "cut":
        data = data[: len(data) // 2]
    elif how == "empty":
        data = bytearray()
    elif how == "zeros":  # As after a crash, or a copy with holes: the size and the directory at the end are right.
        middle = data.index(torch.full((1000,), 1.0).numpy().tobytes())
        data[middle : middle + 2000] = bytes(2000)
    elif how == "text":
        data = bytearray(b"<html>404</html>")
    file.write_bytes(data)


@pytest.mark.parametrize("how", ["cut", "empty", "zeros", "text"])
def test_a_damaged_checkpoint_is_found_out(how: str, tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    checkpoint.write(file, state(1))
    spoil(file, how)
    with pytest.raises(DamagedCheckpointError):
        checkpoint.read(file)


class Evil:
    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)

    def __init__(self, path: Path) -> None:
        self.path = path


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    torch.save({"epoch": 0, "state_dict": {"w": Evil(tmp_path / "ran")}}, file)
    with pytest.raises(DamagedCheckpointError):
        checkpoint.read(file)
    assert not (tmp_path / "ran").exists()


def test_training_resumes_from_the_newest_whole_checkpoint(tmp_path: Path) -> None:
    assert resume_point(tmp_path / "nothing") == ResumePoint()
    checkpoint.write(tmp_path / "best.ckpt", state(1))
    checkpoint.write(tmp_path / "last.ckpt", state(4))
    assert resume_point(tmp_path) == ResumePoint(tmp_path / "last.ckpt", 5, {"a": {"best": 0.5}})
    spoil(tmp_path / "last.ckpt", "cut")
    with pytest.warns(UserWarning, match=r"last.ckpt is damaged.*best.ckpt, epoch 2"):
        assert resume_point(tmp_path) == ResumePoint(tmp_path / "best.ckpt", 2, {"a": {"best": 0.5}})
    spoil(tmp_path / "best.ckpt", "empty")
    with pytest.raises(DamagedCheckpointError) as refused:
        resume_point(tmp_path)
    assert str(tmp_path) in refused.value.hint


def test_a_late_rank_leaves_what_the_first_one_writes(tmp_path: Path) -> None:
    """It removed the file with which the first rank was marking the stage as finished, and so ended the run."""
    checkpoint.write(tmp_path / "last.ckpt", state(1))
    (tmp_path / ".last.ckpt.partial").touch()
    with replacing(tmp_path / "finished.json") as partial:
        partial.touch()
        assert resume_point(tmp_path).epochs == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["finished.json", "last.ckpt"]


def test_a_file_without_permission_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.write(tmp_path / "last.ckpt", state())

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(UserError) as refused:
        checkpoint.read(tmp_path / "last.ckpt")
    assert not isinstance(refused.value, DamagedCheckpointError)
