"""Which runs of several methods are compared: those of equal folds and seeds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ltmed.plots.runs.comparisons import Comparison, _describe, comparisons, shared
from ltmed.runs.reader import Run, read_run
from tests.plots.cases import make_run


def of(*repetitions: str) -> list[frozenset[tuple[int, ...]]]:
    return [frozenset((int(digit),) for digit in one) for one in repetitions]


@pytest.mark.parametrize(
    ("have", "chosen"),
    [
        (("012", "012"), "012"),
        (("1", "1", "1", "1", "01"), "1"),
        (("12", "12", "12", "12", "12", "12", "012", "01"), "12"),
        (("012", "012", "012", "0"), "012"),
        (("0", "0", "0", "012", "012", "012"), "0"),
        (("01", "12"), "1"),
        (("0", "1", "1"), "1"),
    ],
)
def test_repetitions_are_those_of_nearly_all_methods(have, chosen):
    assert shared(of(*have)) == of(chosen)[0]


def test_two_divisions_of_one_fold_are_named():
    chosen = frozenset([(0, "a", 0), (0, "b", 0)])
    assert _describe(chosen) == "fold 0, 2 divisions, seed 0"
    assert _describe(frozenset([(0, "a", 0), (1, "b", 1)])) == "fold 0 seed 0, fold 1 seed 1"


def compared(folder: Path, *made: tuple[str, int, int]) -> list[Comparison]:
    """Of runs with these methods, folds and seeds."""
    runs: list[Run | None] = []
    for method, fold, seed in made:
        path = make_run(folder / f"{method}{fold}{seed}", method, seed=seed)
        config, metrics = path / "config.yaml", path / "metrics.json"
        config.write_text(config.read_text().replace("fold: 0", f"fold: {fold}"))
        found = json.loads(metrics.read_text())
        found["run"]["fold"], found["split"]["hash"] = fold, f"hash{fold}"
        metrics.write_text(json.dumps(found))
        runs.append(read_run(path))
    return list(comparisons([run for run in runs if run]))


def title(comparison: Comparison) -> str:
    return comparison.figure.legends[0].get_title().get_text()


def test_folds_are_not_mixed_and_the_title_says_which(tmp_path):
    bars, lines = compared(tmp_path, ("erm", 1, 0), ("proco", 0, 0), ("proco", 1, 0))
    for comparison in (bars, lines):
        assert title(comparison).endswith(": fold 1, seed 0\nleft out: 1 run of other folds or seeds")
        assert comparison.left_out == "1 run of other folds or seeds"
    both = [line.get_ydata() for line in lines.figure.axes[0].lines]
    assert list(both[0]) == list(both[1]), "runs of one seed in these tests have equal predictions"


def test_a_method_of_other_folds_is_left_out_by_name(tmp_path):
    bars, _ = compared(tmp_path, ("erm", 0, 0), ("proco", 0, 0), ("lmd", 1, 0))
    assert bars.left_out == "lmd (other folds or seeds)"
    assert "fold 0, seed 0" in title(bars)


def test_means_name_their_folds_and_seeds(tmp_path):
    made = [(method, fold, seed) for method in ("erm", "lmd") for fold in (0, 1) for seed in (0, 1)]
    bars, _ = compared(tmp_path, *made)
    assert "mean of folds 0, 1, seeds 0, 1" in title(bars)
    assert not bars.left_out


def test_without_a_common_fold_nothing_is_compared_and_without_a_common_seed_it_is_said(tmp_path):
    assert compared(tmp_path / "folds", ("erm", 0, 0), ("lmd", 1, 0)) == []
    bars, _ = compared(tmp_path / "seeds", ("erm", 0, 0), ("lmd", 0, 1))
    assert "fold 0, whatever seeds each has" in title(bars)
