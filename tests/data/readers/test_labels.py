"""Labels are names or positions and never both; nothing that is no class becomes one."""

from __future__ import annotations

import pytest

from ltmed.data.readers._labels import class_names, in_order, read_labels, require_classes, spelled
from ltmed.errors import UserError


def where(row: int) -> str:
    return f"t.csv, line {row + 2}"


def read(cells, order=None):
    classes, labels = read_labels(cells, where, "t.csv", order)
    return classes, [classes[label] for label in labels]


def test_names_are_sorted_or_in_the_order_given():
    assert read(["b", "a", "b"]) == (("a", "b"), ["b", "a", "b"])
    assert read(["b", "a", "b"], ["b", "a"]) == (("b", "a"), ["b", "a", "b"])


def test_numbers_are_indices_into_named_classes():
    assert read(["0", "2", "1.0"], ["p", "q", "r"]) == (("p", "q", "r"), ["p", "r", "q"])


def test_numbers_are_names_among_numbers():
    assert read(["1", "2", "0"], [2, 1, 0]) == (("2", "1", "0"), ["1", "2", "0"])
    assert read(["1.0", "2.0", "1"], [1, 2]) == (("1", "2"), ["1", "2", "1"])


@pytest.mark.parametrize(
    ("cells", "order", "message"),
    [
        (["0", "1", "2", "3", "4", "5"], [1, 2, 3, 4, 5], r"line 2: '0' is not a class\. Known: 1, 2"),
        (["1", "0", "2", "0"], [1, 2], r"line 3: '0' is not a class \(2 of 4 rows"),
        (["1", "2", "3"], ["p", "q", "r"], r"line 4: '3' is not a class\. Numbers are positions .* 0 to 2"),
        (["0", "1", "q"], ["p", "q"], r"line 2: some labels are numbers \(here '0'\) and some are names \('q'\)"),
        (["0", "-1", "1"], ["p", "q"], "line 3: '-1' is not a class"),
        (["a", "b"], ["a", "c"], r"line 3: 'b' is not a class"),
        (["0", "1"], None, r"labels are numbers \(here 0\).*dataset.classes="),
        (["a", "nan", "b", "nan"], None, r"line 3: no label but 'nan' \(2 of 4 rows have none\)"),
        (["a", "", "b"], None, "line 3: no label"),
        (["a", "NA", "b"], None, "line 3: no label but 'NA'"),
        (["Melanoma", "melanoma", "nevus"], None, "'Melanoma' and 'melanoma' differ in spelling alone"),
        (["in situ", "in_situ", "nevus"], None, "differ in spelling alone"),
        (["a", "a"], None, "one class only"),
        (["a", "a"], ["a"], "one class only"),
        (["a", "a"], ["a", "b"], "every one of 2 rows has the label 'a'"),
        (["A", "B", "A|B", "A|B"], None, r"line 4: 'A\|B' are several labels joined by '\|'; 2 of 4 rows"),
        (["A", "B", "C;D"], None, "1 of 3 rows have several labels"),
        (["A", "B", "A, B"], None, "joined by ','; 1 of 3"),
        (["A,B", "B,C", "C,A"], None, "joined by ','; 3 of 3"),
        (["A", "B", "A+B"], None, r"joined by '\+'"),
        (["A", "B", "B/A"], None, "joined by '/'"),
        (["a", "b"], ["a", "b", "a"], "names a class twice: 'a'"),
        (
            ["True", "False", "1", "0"],
            None,
            r"line 4: some labels are numbers \(here '1'\) and some are names \('False'\)",
        ),
        (["0", "1", "ungradable"], None, r"If each is a class, say dataset.classes=\[0,1,ungradable\]"),
    ],
)
def test_what_is_refused(cells, order, message):
    with pytest.raises(UserError, match=message):
        read(cells, order)


@pytest.mark.parametrize(
    "cells",
    [
        ["actinic keratosis / Bowen", "nevus"],
        ["eczema, acute", "eczema, chronic", "nevus"],
        ["grade 1+2", "grade 3"],
        ["5-10", "11-20"],
        ["v1.5", "v15", "x"],
        ["HER2-", "HER2+", "x"],
    ],
)
def test_names_with_commas_and_slashes_are_one_class(cells):
    assert read(cells)[1] == cells


def test_numbers_and_names_can_be_classes_that_are_all_named():
    assert read(["0", "1", "ungradable"], [0, 1, "ungradable"])[1] == ["0", "1", "ungradable"]


def test_a_missing_value_marker_can_be_a_named_class():
    assert read(["NA", "x", "nan"], ["NA", "x", "nan"])[1] == ["NA", "x", "nan"]
    assert read(["A|B", "C"], ["A|B", "C"])[1] == ["A|B", "C"]


@pytest.mark.parametrize(
    ("cells", "order", "expected"),
    [
        (["FALSE", "TRUE"], [False, True], ("FALSE", "TRUE")),
        (["true", "False"], [False, True], ("False", "true")),
        (["yes", "no"], [False, True], ("no", "yes")),
        (["null", "x"], [None, "x"], ("null", "x")),
        (["True", "TRUE", "false"], [False, True], ("false", "TRUE")),
    ],
)
def test_class_names_that_yaml_reads_as_other_types(cells, order, expected):
    classes, labels = read(cells, order)
    assert classes == expected
    assert [label.lower() for label in labels] == [cell.lower() for cell in cells]


def test_positions_also_fit_booleans():
    assert read(["0", "1"], [False, True])[1] == ["False", "True"]


def test_names_in_settings_are_spelled_as_in_the_data():
    assert spelled([0, True, "x", 1.0, None], ["0", "TRUE", "x"]) == ["0", "TRUE", "x", "1", "None"]
    assert class_names(["Nävus"], ["Nävus"]) == ("Nävus",)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["10", "2", "0", "1"], ["0", "1", "2", "10"]),
        (["1", "-1", "0.5"], ["-1", "0.5", "1"]),
        (["grade 10", "grade 2"], ["grade 2", "grade 10"]),
        (["stage_2", "stage_10", "stage_1"], ["stage_1", "stage_2", "stage_10"]),
        (["10", "2", "x"], ["10", "2", "x"]),
        (["a2", "b10"], ["a2", "b10"]),
        (["0001-1000", "1001-2000"], ["0001-1000", "1001-2000"]),
    ],
)
def test_numbers_are_sorted_by_value(names, expected):
    assert list(in_order(names)) == expected


def test_classes_are_two_at_least():
    require_classes("here", ["a", "b"])
    with pytest.raises(UserError, match="one class only"):
        require_classes("here", ["a"])


@pytest.mark.parametrize(
    "names",
    [
        ("a", "a."),
        ("a", "a "),
        ("1", "01"),
        ("grade 1", "grade 01", "grade 2"),
        ("mel\u200bx", "melx"),
        ("A", "a"),
        ("a", "'a'"),
        ("a1", "\uff411"),
        ("1", "\uff11"),
    ],
)
def test_classes_that_differ_in_spelling_alone_are_refused(names):
    with pytest.raises(UserError, match="differ in spelling alone"):
        require_classes("t.csv", names)


@pytest.mark.parametrize("names", [("1", "10", "100"), ("0", "1"), ("T1.5", "T1.05"), ("a.b", "ab")])
def test_classes_that_differ_in_more_are_fine(names):
    require_classes("t.csv", names)


def test_characters_without_width_are_no_difference():
    assert read(["mel\u200b", "\ufeffmel", "nv", "nv\u2060"]) == (("mel", "nv"), ["mel", "mel", "nv", "nv"])


def test_decimal_commas_are_numbers():
    assert read(["0,0", "1,0", "2,00"], ["p", "q", "r"]) == (("p", "q", "r"), ["p", "q", "r"])


def test_positions_that_seem_to_count_from_one_are_warned_of():
    with pytest.warns(UserWarning, match="count from 1"):
        assert read(["1", "2", "1"], ["p", "q", "r"])[1] == ["q", "r", "q"]
