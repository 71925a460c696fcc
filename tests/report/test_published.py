"""The figures of published.csv, as they are printed and as fractions."""

from __future__ import annotations

import pytest

from ltmed.errors import UserError
from ltmed.report import study_table
from ltmed.report.comparison import figure
from ltmed.report.model import Cell
from ltmed.studies import catalogue
from ltmed.studies.published import Published, figures
from ltmed.studies.study import NOT_RUN
from tests.report.factory import write

HEAD = "paper,table,method,backbone,dataset,classes,metric,mean_percent,std_percent\n"


def read(tmp_path, *lines: str, **column) -> tuple[Published, ...]:
    file = tmp_path / "published.csv"
    file.write_text(HEAD + "".join(f"p,1,CE,resnet50,toy,{line}\n" for line in lines))
    return figures(file, "1", {"toy": {"published": {"dataset": "toy"}, **column}})["CE", "toy"]


def test_figures_keep_every_printed_digit(tmp_path):
    two, three, alone = read(tmp_path, "all,macro_f1,83.65,1.52", "all,accuracy,84.10,0.0232", "all,mcc,68.0,")
    assert (two.text, three.text, alone.text) == ("83.65 ± 1.52", "84.10 ± 0.0232", "68.0")
    assert (two.mean, two.std, alone.std) == (pytest.approx(0.8365), pytest.approx(0.0152), None)


def test_a_group_of_classes_is_the_tier_that_stands_for_it(tmp_path):
    printed = read(
        tmp_path, "small_sample,macro_f1,73.67,3.62", "small_sample,macro_precision,79.03,0.76",
        "small_sample,macro_recall,69.39,6.24", classes={"small_sample": "tail"},
    )  # fmt: skip
    assert [(one.metric, one.part) for one in printed] == [("f1", "tail"), ("precision", "tail"), ("recall", "tail")]
    run = write(tmp_path, predicted=list("AAAAAABBBBBC"))
    assert [figure(Cell((run,)), one) for one in printed] == [0.25, 0.5, 0.5], "of class C alone"


def small_sample(tmp_path, meant) -> Published:
    return read(tmp_path, "small_sample,macro_recall,69.39,6.24", classes={"small_sample": meant})[0]


def test_a_group_of_classes_is_the_mean_of_its_list_or_of_the_small_ones(tmp_path):
    run = write(tmp_path, predicted=list("AAAAAABBBBBC"))  # Recalls 1, 1 and 0.5.
    cell, sizes = Cell((run,)), run.metrics["split"]["counts"]
    assert {code: sum(part[code] for part in sizes.values()) for code in "ABC"} == {"A": 60, "B": 30, "C": 12}
    for meant, expected in ((["C"], 0.5), (["B", "C"], 0.75), ({"at_most": 12}, 0.5), ({"at_most": 30}, 0.75)):
        one = small_sample(tmp_path, meant)
        assert (one.metric, one.part) == ("recall", "small_sample")
        assert figure(cell, one) == pytest.approx(expected)


@pytest.mark.parametrize("meant", [["C", "D"], ["D"], {"at_most": 11}])
def test_a_group_with_a_class_that_the_run_lacks_has_no_figure(tmp_path, meant):
    assert figure(Cell((write(tmp_path),)), small_sample(tmp_path, meant)) is None


@pytest.mark.parametrize("meant", [[], [1], {"at_least": 3}, {"at_most": "3"}, 20])
def test_what_a_group_of_classes_may_be(tmp_path, meant):
    with pytest.raises(UserError, match="small_sample"):
        small_sample(tmp_path, meant)


def test_our_figure_is_the_mean_that_the_tables_show(tmp_path):
    """Not that of the runs: fold 0 has two seeds."""
    values = {(0, 0): 0.5, (0, 1): 0.7, (1, 0): 0.9}
    runs = tuple(write(tmp_path, fold=f, seed=s, scalars={"accuracy": v}) for (f, s), v in values.items())
    assert figure(Cell(runs), Published("accuracy", 0.8)) == pytest.approx(0.75)


def test_every_figure_of_table_iv_has_one_of_ours(tmp_path):
    printed = catalogue.load("pcct/table4").published
    run = write(tmp_path)
    for row, code in zip(run.metrics["test"]["per_class"], ("NV", "DF", "COVID-19"), strict=True):
        row["class"] = code
    run.metrics["split"]["counts"] = {"train": {"NV": 5000, "DF": 9, "COVID-19": 100}}
    own = {figure(Cell((run,)), one) for cell in printed.values() for one in cell}
    assert sum(map(len, printed.values())) == 63
    assert None not in own


def test_quoted_rows_are_quoted_at_every_scale():
    for scale in (None, "smoke"):
        table = study_table.table("proco/table2", scale)
        quoted = [table.cells[row, column] for row in ("MTL", "DANIL") for column in table.columns]
        assert {cell.note for cell in quoted} == {NOT_RUN}
