"""What is shown: figures by hand, marks, ranks, comparisons, and what is missing."""

from __future__ import annotations

import re
from dataclasses import replace

from ltmed.report.build import from_runs, separate
from ltmed.report.document import document
from ltmed.report.model import Cell, Document, FormattedCell, Grid, Table
from ltmed.runs.reader import find_runs
from ltmed.studies.published import Published
from tests.report.factory import HOSTILE, METRIC, write


def grid(shown: Document, title: str) -> Grid:
    return next(one for one in shown.grids if one.title.startswith(title))


def cells(one: Grid, row: str) -> dict[str, FormattedCell]:
    return dict(zip(one.headings, dict(one.rows)[row], strict=True))


def test_figures_marks_and_ties(three):
    shown = grid(document(three), "Test results")
    # Two seeds: standard deviation .1 / sqrt 2, half width 12.7062 * .05, cut at 100.
    assert cells(shown, "erm")["balanced accuracy"] == FormattedCell("65.0 ± 7.1", "[1.5, 100.0]", "second")
    assert cells(shown, "aduni")["balanced accuracy"] == FormattedCell("65.0", "[60.0, 69.0]\none run", "second")
    assert cells(shown, "proco")["balanced accuracy"] == FormattedCell("71.1", "[66.1, 75.1]\none run", "best")


def test_less_calibration_error_is_better(three):
    shown = grid(document(replace(three, metrics=("ece",))), "Test results")
    assert [cells(shown, row)["ECE"].mark for row in ("erm", "aduni", "proco")] == ["", "second", "best"]


def test_recall_by_tier(three):
    shown = grid(document(three), "Recall by class frequency")
    assert [cell.text for cell in cells(shown, "proco").values()] == ["100.0", "50.0", "100.0"]


def test_comparison_with_the_reference(three):
    shown = grid(document(three), "Compared with erm")
    assert [row for row, _ in shown.rows] == ["aduni", "proco"]
    difference, bootstrap, ranks = dict(shown.rows)["proco"]
    assert difference.text == "-16.7"  # A sixth: half of one of three classes is wrong.
    assert re.fullmatch(r"\[-\d+\.\d, 0\.0\]|\[-\d+\.\d, \+0\.0\]", difference.small)
    assert bootstrap.small == "12 images"
    assert (ranks.text, ranks.small) == ("too few", "1 seed\n5 needed")


def test_protocol_in_words(three):
    shown = document(three)
    ((column, facts),) = shown.facts
    said = dict(facts)
    assert column == "toy, grouped, 5 folds"
    assert said["hash"] == "hash0"
    assert said["folds"] == "0 of 5 (0 to 4)"
    assert said["leakage"].startswith("unknown")
    assert cells(grid(shown, "Runs"), "erm") == {
        heading: FormattedCell(text)
        for heading, text in {
            "runs": "2", "folds": "0", "seeds": "0, 1", "epochs": "7", "image size": "64",
            "training": "5 min (CPU)", "commit": "012345678",
        }.items()
    }  # fmt: skip
    assert "a single run of aduni, proco" in shown.warnings[0]


def test_what_differs_between_folds_is_said_of_each(tmp_path):
    """Ranks by training images, and classes that are tested, may be others in every fold."""
    runs = [write(tmp_path, fold=fold) for fold in range(3)]
    for run, (head, medium), ratio in zip(runs, ("AB", "AB", "BA"), (99.96, 98.44, 100.12), strict=True):
        run.metrics["tiers"] |= {"head": [head], "medium": [medium]}
        run.metrics["split"]["imbalance"] = {"ratio": 100, "achieved_ratio": ratio}
    runs[0].metrics["test"]["absent"] = ["C"]
    runs[2].metrics["test"]["absent"] = ["A", "C"]

    def said(runs) -> dict[str, str]:
        return dict(document(from_runs(runs)).facts[0][1])

    assert said(runs)["tiers"] == (
        "thirds (head -; medium -; tail C; A is head in folds 0, 1, medium in fold 2; "
        "B is medium in folds 0, 1, head in fold 2)"
    )
    assert said(runs)["not tested"] == (
        "no test image of A in fold 2; C in folds 0, 2, which no average there includes"
    )
    assert said(runs)["long tail"] == "100 : 1 requested, 98.4 to 100.1 : 1 achieved"
    assert said(runs[:1])["tiers"] == "thirds (head A; medium B; tail C)"
    assert said(runs[:1])["not tested"] == "no test image of C, which no average includes"
    assert said(runs[:1])["long tail"] == "100 : 1 requested, 100.0 : 1 achieved"
    assert "not tested" not in said(runs[1:2])


def leakage(runs) -> str:
    ((_, facts),) = document(from_runs(runs)).facts
    return dict(facts)["leakage"]


def test_leakage_of_all_folds(tmp_path):
    runs = [write(tmp_path, fold=fold, groups=list(range(12))) for fold in (0, 1)]
    assert leakage(runs).startswith("25.0 % of the test images (6 of 24) are of a lesion")
    ((_, facts),) = document(from_runs(runs)).facts
    assert dict(facts)["hash"] == "hash0 (fold 0), hash1 (fold 1)"


def test_leakage_of_a_test_part_that_folds_share_is_counted_once(tmp_path):
    """Their folds only choose the validation images."""
    images = [f"{n}.png" for n in range(12)]
    runs = [write(tmp_path, fold=fold, groups=list(range(12)), images=images) for fold in range(5)]
    assert leakage(runs).startswith("25.0 % of the test images (3 of 12) are of a lesion")
    runs[2].metrics["split"]["leakage"]["leaking"] = 5
    assert leakage(runs).startswith("3 to 5 of the 12 test images, which all folds share, are of a lesion")
    overlapping = write(tmp_path, fold=5, groups=list(range(12)), images=[f"{n}.png" for n in range(6, 18)])
    assert leakage([runs[0], overlapping]).startswith("25.0 % of the test images (6 of 24)")
    assert leakage([runs[0], overlapping]).endswith("; 18 images, counted once for each division that tests them")


def test_what_the_data_set_warned_of_is_repeated_once(tmp_path):
    runs = [write(tmp_path, method) for method in ("a", "b")]
    for run in runs:
        run.metrics["warnings"] = ["toy: the classes come from different sources"]
    said = [warning for warning in document(from_runs(runs)).warnings if "sources" in warning]
    assert said == ["toy: the classes come from different sources."]


def marks(runs, metric=METRIC) -> dict[str, str]:
    shown = grid(document(replace(from_runs(runs), metrics=(metric,))), "Test results")
    return {row: line[0].mark for row, line in shown.rows}


def small(runs, row) -> str:
    return cells(grid(document(from_runs(runs)), "Test results"), row)["balanced accuracy"].small


def test_rows_that_lack_folds_are_not_ranked(tmp_path):
    runs = [write(tmp_path, m, f, scalars={METRIC: v}) for m, v in (("a", 0.5), ("b", 0.6)) for f in (0, 1)]
    runs.append(write(tmp_path, "c", 0, scalars={METRIC: 1.0}))
    assert marks(runs) == {"a": "second", "b": "best", "c": ""}
    assert small(runs, "c") == "[95.0, 104.0]\none run\nnot ranked: without fold 1"
    said = "toy, grouped, 5 folds: rows have different repetitions; ranks are of folds 0, 1, which most rows have."
    assert said in document(from_runs(runs)).warnings
    apart = document(from_runs([runs[0], runs[3]])).warnings  # a on fold 0, b on fold 1.
    assert any("different repetitions; none is one that most rows have, and no row is ranked." in one for one in apart)


def test_a_fold_that_one_row_has_alone_takes_no_ranks(tmp_path):
    """That row is ranked by the folds of the others; its fold 2 was easy."""
    figures = {"a": (0.5, 0.5, 1.0), "b": (0.6, 0.6), "c": (0.55, 0.55)}
    runs = [write(tmp_path, m, f, scalars={METRIC: v}) for m, of in figures.items() for f, v in enumerate(of)]
    assert marks(runs) == {"a": "", "b": "best", "c": "second"}
    assert small(runs, "a").endswith("ranked by 50.0")
    assert "ranked" not in small(runs, "b")


def test_one_of_three_seeds_is_not_ranked(tmp_path):
    runs = [write(tmp_path, m, seed=s, scalars={METRIC: 0.5}) for m in "ab" for s in range(3)]
    runs.append(write(tmp_path, "c", scalars={METRIC: 0.9}))
    assert marks(runs) == {"a": "best", "b": "best", "c": ""}
    assert small(runs, "c").endswith("not ranked: 1 of 3 seeds")


def test_a_metric_that_some_runs_do_not_define_is_not_ranked(tmp_path):
    runs = [write(tmp_path, m, seed=s, scalars={METRIC: 0.5}) for m in "ab" for s in range(2)]
    runs += [write(tmp_path, "c", seed=s, scalars={METRIC: (0.9, None)[s]}) for s in range(2)]
    assert marks(runs) == {"a": "best", "b": "best", "c": ""}
    assert small(runs, "c").endswith("not ranked: defined in 1 of 2 runs")


def test_five_random_splits_are_one_column(tmp_path):
    """ProCo's protocol: mean and deviation over the splits, one difference to the paper, pairs by split."""
    rows = {}
    for row, base in (("CE", 0.5), ("ProCo", 0.6)):
        runs = tuple(
            write(
                tmp_path, row, seed=s, overrides=f"s{s}", split_hash=f"draw{s}", settings={"split.seed": s},
                images=[f"{n + s}.png" for n in range(12)], scalars={"accuracy": base + s / 100},
            )
            for s in range(5)
        )  # fmt: skip
        rows[row] = Cell(runs, published=(Published("accuracy", 0.841, 0.00537, text="84.1 ± 0.537"),))
    cells_of = {(row, "toy"): cell for row, cell in rows.items()}
    shown = document(separate(Table("t", tuple(rows), ("toy",), cells_of, metrics=("accuracy",))))
    assert cells(grid(shown, "Test results"), "CE")["accuracy"].text == "52.0 ± 1.6"
    assert cells(grid(shown, "Difference"), "CE")["accuracy"] == FormattedCell("-32.1", "(84.1 ± 0.537)")
    tests = cells(grid(shown, "Compared with CE"), "ProCo")
    assert tests["Wilcoxon, accuracy"] == FormattedCell("p = 0.062", "5 splits\nleast possible 0.0625")
    assert tests["balanced accuracy, same images"].text == tests["accuracy, same images"].text == "+0.0"
    ((_, facts),) = shown.facts
    assert dict(facts)["hash"] == ", ".join(f"draw{s} (split seed {s})" for s in range(5))
    assert dict(facts)["split seeds"].startswith("0, 1, 2, 3, 4:")


def test_two_splits_have_two_columns(tmp_path):
    write(tmp_path, "erm")
    other = {"split._target_": "ltmed.data.splits.protocols.random"}
    write(tmp_path, "proco", name="random", split_hash="else", settings=other)
    whole = document(from_runs(*find_runs([tmp_path])))
    shown = grid(whole, "Test results: balanced accuracy")
    assert shown.headings == ("toy, grouped, 5 folds", "toy, random, 5 folds")
    texts = {row: [cell.text for cell in line] for row, line in shown.rows}
    assert texts == {"erm": ["100.0", "missing"], "proco": ["missing", "100.0"]}
    assert whole.warnings == ("every column: a single run of every row; another seed may change the order.",)


def test_a_column_without_the_reference_takes_the_first_row_that_ran(tmp_path):
    write(tmp_path, "erm")
    for method in ("proco", "rs"):
        write(tmp_path, method, dataset="other")
    shown = document(from_runs(*find_runs([tmp_path])))
    assert [row for row, _ in grid(shown, "Compared with proco: other").rows] == ["rs"]
    assert "other, grouped, 5 folds: erm was not run; the others are compared with proco." in shown.warnings


def test_difference_to_the_published_figures(study):
    shown = grid(document(study), "Difference to the published")
    mine = cells(shown, HOSTILE)
    assert mine["accuracy"] == FormattedCell("+1.3", "(84.1 ± 0.5)")
    assert mine["Class A recall"] == FormattedCell("-6.7", "(90.0)")  # 5 of 6.
    assert mine["tail recall"] == FormattedCell("+0.0", "(100.0)")
    assert mine["B F1"] == FormattedCell("-5.0", "(30.0)")
    assert mine["A AUROC"] == FormattedCell("not measured", "(90.0)", "missing")
    assert cells(shown, "B")["accuracy"] == FormattedCell("not run", "(50.0)", "missing")
    assert cells(shown, "C")["accuracy"] == FormattedCell("reported, not re-run", "(60.0)", "missing")
    results = grid(document(study), "Test results")
    assert cells(results, "B")["accuracy"] == FormattedCell("missing", mark="missing")
    assert cells(results, "C")["accuracy"] == FormattedCell("reported, not re-run", mark="missing")
