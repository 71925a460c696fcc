"""`import ltmed`: quick, and what docs/howto/python.md shows."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import ltmed
from ltmed.data.samplers.single import EpochBatches, PowerSampler
from ltmed.errors import UserError
from ltmed.studies.catalogue import load
from ltmed.studies.study import Study
from tests.harness import ROOT, ok, run_command

PAGE = ROOT / "docs/howto/python.md"


def blocks() -> list[str]:
    """The Python on the page."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_import_is_quick_and_has_the_names() -> None:
    code = "import sys, ltmed\n"
    code += "assert not {'torch', 'numpy', 'omegaconf', 'click'} & set(sys.modules)\n"
    code += "assert {'train', 'load', 'Predictor', 'Study', 'Run'} <= set(dir(ltmed))\n"
    code += "assert not hasattr(ltmed, 'trian')"
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert time.perf_counter() - started < 3


@pytest.mark.parametrize("first", ["", "ltmed.train\n"])
def test_train_is_callable_whatever_was_imported_first(first: str, tmp_path: Path) -> None:
    """A submodule takes its name in the package when it is imported."""
    code = "import ltmed.train\nfrom ltmed.train import train, from_overrides\nimport ltmed\n"
    code += "assert callable(ltmed.train) and ltmed.train.train is train\n"
    code += "try: ltmed.train(['dataset=isic2018', 'trainer.accelerator=cpu', 'runs=/proc/none'])\n"
    code += "except ltmed.errors.UserError as error: print('refused')\n"
    fresh = "import sys\nfor name in [n for n in sys.modules if n.split('.')[0] == 'ltmed']: del sys.modules[name]\n"
    (tmp_path / "script.py").write_text(f"{fresh}import ltmed\n{first}{code}")
    done = ok(run_command(cwd=tmp_path, program=str(tmp_path / "script.py")))
    assert done.out.splitlines()[-1] == "refused"


def test_train_is_no_rank_of_another_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UserError, match="ltmed train"):
        ltmed.train(["method=erm"])


def test_a_study_by_its_name() -> None:
    study = ltmed.Study("lmd/table3")
    assert isinstance(study, Study)
    assert [cell.run_dir for cell in study.cells()] == [cell.run_dir for cell in load("lmd/table3").cells()]
    assert "dataset=phantom" in next(ltmed.Study("lmd/table3", scale="smoke").cells()).overrides
    with pytest.raises(UserError, match="'lmd/table3'"):
        ltmed.Study("lmd/tabel3")


@pytest.mark.parametrize("world", [1, 2])
def test_batches_of_an_epoch_are_those_of_the_sampler(world: int) -> None:
    sampler = PowerSampler(np.arange(24) % 3, batch_size=4, epochs=2, seed=0, q=0.0)
    parts = [EpochBatches(sampler, rank, world) for rank in range(world)]
    for epoch in (0, 1):
        for part in parts:
            part.sampler.set_epoch(epoch)
        joined = np.concatenate([list(part) for part in parts], axis=1)
        np.testing.assert_array_equal(joined, sampler.batches(epoch))
        assert len(parts[0]) == len(joined) == 6


@pytest.mark.slow
def test_the_page_runs_as_it_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label, name in enumerate(("keratosis", "melanoma", "nevus")):
        (tmp_path / "lesions" / name).mkdir(parents=True)
        for number in range(30):
            pixels = np.clip(60 * label + 60 + rng.normal(0, 40, (48, 48, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / f"lesions/{name}/{name}{number}.jpg"), pixels)
    (tmp_path / "new").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"new/{name}.jpg").write_bytes((tmp_path / f"lesions/nevus/nevus{len(name)}.jpg").read_bytes())
    first = blocks()[0].replace('"epochs=5"', '"epochs=1", "batch_size=16", "cache_dir=cache", "image_size=40"')
    checks = "assert list(table.image) == ['new/a.jpg', 'new/b.jpg'] and table.error.isna().all()\n"
    checks += "assert network.training is False and run.path.parts[0] == 'runs'\n"
    checks += "import warnings; warnings.simplefilter('ignore')\n"
    (tmp_path / "script.py").write_text("\n".join([first, checks, *blocks()[1:]]))
    done = ok(run_command(cwd=tmp_path, program=str(tmp_path / "script.py")))
    assert "train 1/1  loss" in done.out
    assert "LMD, Table 3" in done.out
    assert re.fullmatch(r"tensor\(0\.\d+\)|tensor\(1\.\)", done.out.splitlines()[-1])
