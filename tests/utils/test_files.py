"""Files that are whole or absent, and the lock between processes."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import Timeout

from ltmed.errors import UserError
from ltmed.utils import files
from tests.harness import ROOT

HOLD = "import sys, pathlib\nfrom ltmed.utils.files import locked\nwith locked(pathlib.Path(sys.argv[1])):\n  "
HOLD += "print('held', flush=True)\n  sys.stdin.read()"


def holder(file: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until its stdin ends."""
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout
    assert other.stdout.readline() == "held\n"
    return other


def test_write_atomic_leaves_no_partial_file(tmp_path: Path) -> None:
    files.write_atomic(tmp_path / "a.json", "1")
    files.write_atomic(tmp_path / "a.json", "ü")
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == "ü".encode()


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("old")

    def write() -> None:
        with files.replacing(tmp_path / "a.json") as partial:
            partial.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


def test_a_users_file_gets_its_folder_or_a_message(tmp_path: Path) -> None:
    with files.whole_file(tmp_path / "new" / "a.md") as partial:
        partial.write_text("text")
    assert (tmp_path / "new" / "a.md").read_text() == "text"
    for file in (tmp_path / "new", tmp_path / "new" / "a.md" / "b.md"):
        with pytest.raises(UserError), files.whole_file(file):
            pass


def test_a_lock_keeps_other_processes_out_and_ends_with_its_process(tmp_path: Path) -> None:
    file = tmp_path / ".lock"
    other = holder(file)
    with pytest.raises(Timeout), files.locked(file, wait=False):
        pass
    waited: list[float] = []
    threading.Timer(0.5, other.kill).start()
    with files.locked(file, busy=lambda: waited.append(time.monotonic())) as held:
        assert held
        assert time.monotonic() - waited[0] > 0.3
    assert len(waited) == 1
    with files.locked(file, wait=False, busy=pytest.fail) as held:
        assert held
    other.wait()


def test_an_error_raised_instead_of_waiting_ends_the_wait(tmp_path: Path) -> None:
    def refuse() -> None:
        raise UserError("no")

    other = holder(tmp_path / ".lock")
    with pytest.raises(UserError), files.locked(tmp_path / ".lock", busy=refuse):
        pass
    other.kill()
    other.wait()


def test_a_file_system_without_locks_is_a_warning_and_other_errors_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for file in (tmp_path / "none" / ".lock", tmp_path / "file" / ".lock", Path("/proc/.lock")):
        with pytest.raises(OSError), files.locked(file):  # noqa: PT011 - the class differs by system
            pass

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.FileLock, "acquire", fail)
    with pytest.warns(UserWarning, match="cannot be locked"), files.locked(tmp_path / ".lock") as held:
        assert not held


def test_without_any_locks_nobody_waits_for_the_file_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lustre without `flock`: filelock took the existence of the file for the lock, and waited for ever."""
    fcntl = pytest.importorskip("fcntl")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", fail)
    for _ in range(2):  # The file of the first time stays.
        with (
            pytest.warns(UserWarning, match="cannot be locked"),
            files.locked(tmp_path / ".lock", busy=lambda: pytest.fail("waits")) as held,
        ):
            assert not held
