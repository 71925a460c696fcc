"""Runs `run.py` as a user does, without paying ten seconds of imports each time.

A fork server imports the slow libraries once; every command is a fresh process forked from it.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TINY = ("dataset=isic2018", "image_size=32", "backbone=tiny", "batch_size=16", "trainer.accelerator=cpu")
"""Overrides of every quick run; `dataset.root`, `runs` and `cache_dir` come from the fixture `tiny`."""


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str


def run_command(*words: str, cwd: Path, before: Callable[[], None] | None = None, timeout: float = 240) -> Finished:
    """Runs `python run.py WORDS` in the folder `cwd`.

    Args:
        words: the command line.
        cwd: working folder; stdout and stderr are kept there too.
        before: called in the new process before anything else, to make it fail or to slow it down.
        timeout: seconds after which the process is killed and the test fails.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lightning.pytorch", "timm", "torchmetrics", "torchvision", "hydra", "pandas"])
    out, err = cwd / "stdout.txt", cwd / "stderr.txt"
    process = context.Process(target=_run, args=(words, cwd, out, err, before))
    process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(
            f"run.py {' '.join(words)} did not end in {timeout} s:\n{out.read_text()}\n{err.read_text()}"
        )
    assert process.exitcode is not None
    return Finished(process.exitcode, out.read_text(), err.read_text())


def _run(words: tuple[str, ...], cwd: Path, out: Path, err: Path, before: Callable[[], None] | None) -> None:
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    os.chdir(cwd)
    os.environ["PYTHONPATH"] = str(ROOT)
    sys.argv = [str(ROOT / "run.py"), *words]
    if before:
        before()
    runpy.run_path(sys.argv[0], run_name="__main__")


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
