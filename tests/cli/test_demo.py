"""`ltmed demo`, on fewer images."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltmed.data.phantom import write_phantom
from tests.harness import ok, run_command

SMALL = {"train": (30, 20, 15, 12, 10, 8, 7), "val": (4,) * 7, "test": (6,) * 7}


def _undrawn() -> None:
    """The report's figures are made and not drawn: tests/plots/runs/test_report_figures.py looks at them."""
    from ltmed.plots import embedded

    embedded._svg = lambda figure: b"<svg/>"


@pytest.mark.slow
def test_the_demo_compares_three_methods_and_names_its_report(tmp_path: Path) -> None:
    write_phantom(tmp_path / "phantom", counts=SMALL)
    arguments = [f"dataset.root={tmp_path}/phantom", "epochs=1", "batch_size=14", "cache_dir=cache", "figures=false"]
    command = ["demo", *arguments, "runs=here", "trainer=cpu"]
    done = ok(run_command(*command, cwd=tmp_path, program="ltmed/cli/__main__.py", before=_undrawn))
    table = done.out[done.out.index("Recall in percent") :].splitlines()
    assert table[0].split() == ["Recall", "in", "percent", "head", "medium", "tail", "all", "classes"]
    for row, name in zip(table[1:4], ("ERM", "Balanced softmax", "Decoupling, cRT"), strict=True):
        assert row.startswith(name)
        assert all(0 <= int(value) <= 100 for value in row.split()[-4:])
    report = tmp_path / "here/phantom/report.html"
    assert done.out.splitlines()[-1] == "Written: here/phantom/report.html"
    assert "Balanced softmax" in report.read_text(encoding="utf-8")
    assert len(list((tmp_path / "here").rglob("metrics.json"))) == 3
