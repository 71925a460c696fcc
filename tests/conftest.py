"""Fixtures shared by all tests."""

from __future__ import annotations

import atexit
import gc
import os
from pathlib import Path

import pytest

from tests import economy

ROOT = Path(__file__).resolve().parents[1]

economy.apply()
gc.disable()  # Until all is collected: nothing is freed before, and looking for it takes a fifth of the time.


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules with long tests come first: at the end no process waits for another one's last test."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Takes the libraries, the modules and the collected tests out of the garbage collector's sight."""
    gc.enable()
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # So that extension modules find nothing leaked; after pytest's own five collections.


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real label files and images, if this machine has one."""
    folder = Path(os.environ.get("LTMED_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data at {folder} (set LTMED_SHARED)")
    return folder


@pytest.fixture(scope="session")
def tiny_ham(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HAM10000 folder of 138 small images."""
    from tests.harness import make_tiny_ham  # Here: the process that only hands out tests needs no torch.

    root = tmp_path_factory.mktemp("data") / "ham"
    make_tiny_ham(root)
    return root


@pytest.fixture
def tiny(tiny_ham: Path, tmp_path: Path) -> list[str]:
    """Overrides of a run that takes seconds, with its results and cache in a folder of its own."""
    from tests.harness import TINY

    return [*TINY, f"dataset.root={tiny_ham}", f"runs={tmp_path / 'runs'}", f"cache_dir={tmp_path / 'cache'}"]
