"""Tables that several tests show."""

from __future__ import annotations

import pytest

from ltmed.report.build import from_runs
from ltmed.report.model import Cell, Table
from ltmed.runs.reader import find_runs
from ltmed.studies.published import Published
from tests.report.factory import HOSTILE, METRIC, write


@pytest.fixture
def three(tmp_path) -> Table:
    """Two seeds of erm, one of proco, and of aduni one equal to erm's mean."""
    folder = tmp_path / "three"
    for seed, value in enumerate((0.60, 0.70)):
        write(folder, "erm", seed=seed, scalars={METRIC: value, "ece": 0.3})
    write(folder, "proco", scalars={METRIC: 0.7114, "ece": 0.1}, predicted=list("AAAAAABBAACC"))
    write(folder, "aduni", scalars={METRIC: 0.6504, "ece": 0.2})
    return from_runs(*find_runs([folder]))


@pytest.fixture
def study(tmp_path) -> Table:
    run = write(tmp_path, scalars={"accuracy": 0.854}, predicted=list("AAAAABBBBBCC"))
    published = (
        Published("accuracy", 0.841, 0.005),
        Published("recall", 0.9, part="Class A"),
        Published("recall", 1.0, part="tail"),
        Published("f1", 0.3, part="B"),
        Published("auroc", 0.9, part="A"),
    )
    rows = {
        HOSTILE: Cell((run,), published=published),
        "B": Cell(missing=("python run.py method='<b>'",), published=(Published("accuracy", 0.5),)),
        "C": Cell(published=(Published("accuracy", 0.6),), note="reported, not re-run"),
    }
    return Table("A & B < C", tuple(rows), ("toy",), {(row, "toy"): cell for row, cell in rows.items()})
