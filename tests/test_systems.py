"""Nothing needs what Linux and macOS have and Windows has not."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT, ok, run_command

MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty"}
FUNCTIONS = {
    "fork", "getuid", "geteuid", "getpgid", "killpg", "pread", "pwrite", "sched_getaffinity", "setsid", "uname",
    "posix_fallocate", "posix_fadvise", "mkfifo", "getloadavg",
}  # fmt: skip


@pytest.mark.parametrize("file", sorted((ROOT / "ltmed").rglob("*.py")), ids=lambda file: file.stem)
def test_no_module_needs_another_system(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not MODULES & {name.split(".")[0] for name in names}
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert node.attr not in FUNCTIONS or f'hasattr(os, "{node.attr}")' in text


def without_posix() -> None:
    """In the new process: as on Windows, of what Python itself can do without there."""
    for name in ("fcntl", "resource"):
        sys.modules[name] = None  # pyright: ignore[reportArgumentType]
    for name in ("pwrite", "pread", "sched_getaffinity"):
        delattr(os, name)


@pytest.mark.slow
def test_a_run_needs_no_posix(tiny: list[str], tmp_path: Path) -> None:
    done = ok(run_command(*tiny, "epochs=1", cwd=tmp_path, before=without_posix))
    assert "Results are in" in done.out
    # What was decoded without pwrite is what is decoded with it.
    (cache,) = (tmp_path / "cache").glob("isic2018-*/pixels.*")
    alone = cache.read_bytes()
    other = [override for override in tiny if not override.startswith(("runs=", "cache_dir="))]
    ok(run_command(*other, "runs=again", "cache_dir=other", "epochs=1", cwd=tmp_path))
    (cache,) = (tmp_path / "other").glob("isic2018-*/pixels.*")
    assert alone == cache.read_bytes()
