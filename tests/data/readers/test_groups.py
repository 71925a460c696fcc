"""Images that share an id, directly or through others, are one group; what stands for no id connects nothing."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from ltmed.data.readers._groups import (
    compile_pattern,
    connected,
    find_groups,
    ids_in_names,
    refuse_divided_groups,
    suggest_pattern,
)
from ltmed.data.readers._parts import normalised_id
from ltmed.errors import UserError


def slow_components(number: int, columns: list[list[str]]) -> list[set[int]]:
    """Merges sets of images until nothing changes."""
    sets = [{row} for row in range(number)]
    for cells in columns:
        for cell in set(cells) - {""}:
            sets.append({row for row in range(number) if cells[row] == cell})
    changed = True
    while changed:
        changed = False
        for one in sets:
            for other in sets:
                if one is not other and one & other:
                    one |= other
                    sets.remove(other)
                    changed = True
                    break
            if changed:
                break
    return sets


@pytest.mark.parametrize("seed", range(8))
def test_components_are_those_of_a_slow_search(seed):
    rng = np.random.default_rng(seed)
    number = 40
    columns = [[rng.choice(["", *map(str, range(12))]) for _ in range(number)] for _ in range(2)]
    actual = connected(number, [list(enumerate(cells)) for cells in columns])
    sets = {frozenset(np.flatnonzero(actual == group).tolist()) for group in np.unique(actual)}
    assert sets == {frozenset(rows) for rows in slow_components(number, columns)}


@pytest.mark.parametrize(
    "cell", ["", " ", "-1", "-1.0", "nan", "NaN", "NA", "None", "null", "unknown", "Unknown", "?", "-", "<NA>", "n/a"]
)
def test_what_stands_for_no_id(cell):
    assert normalised_id(cell) == ""


def test_ids_are_compared_as_they_are_meant():
    assert normalised_id("12.0") == normalised_id("12") == "12"
    assert normalised_id("0") == "0"
    assert normalised_id("Nävus") == normalised_id("Nävus")
    assert normalised_id("12.5") == "12.5"


def test_a_patient_with_several_lesions_is_one_group_though_most_lesions_are_unknown():
    patients = [f"p{row // 4}" for row in range(40)]
    lesions = [f"l{row}" if row % 5 == 0 else "" for row in range(40)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        groups = find_groups("d", {"lesion_id": lesions, "patient_id": patients}, 40)
    assert groups is not None
    assert (groups.unit, groups.alone, len(np.unique(groups.numbers))) == ("patient", 0, 10)
    assert all(len(set(groups.numbers[row : row + 4].tolist())) == 1 for row in range(0, 40, 4))
    assert "32 without lesion_id" in groups.how


def test_images_without_any_id_are_alone_counted_and_warned_of():
    with pytest.warns(UserWarning, match="2 of 6 images have no lesion and no patient"):
        groups = find_groups(
            "d", {"lesion": ["", "a", "-1", "", "", "a"], "patient": ["x", "", "nan", "x", "", "?"]}, 6
        )
    assert groups is not None
    assert groups.alone == 2
    first, second = groups.numbers[0], groups.numbers[1]
    assert groups.numbers.tolist().count(first) == groups.numbers.tolist().count(second) == 2
    assert len(set(groups.numbers.tolist())) == 4


def test_a_column_without_ids_gives_no_groups_and_says_so():
    with pytest.warns(UserWarning, match="patient hold no id"):
        assert find_groups("d", {"patient": ["", "nan", "-1"]}, 3) is None
    assert find_groups("d", {}, 3) is None


def test_equal_ids_of_two_kinds_are_different_and_further_pairs_connect():
    groups = find_groups("d", {"patient": ["1", "2", "", ""], "lesion": ["", "", "1", "2"]}, 4)
    assert groups is not None
    assert len(set(groups.numbers.tolist())) == 4
    groups = find_groups("d", {"patient": ["1", "2", "3"]}, 3, {"patient": [(0, "2"), (1, "unknown")]})
    assert groups is not None
    assert groups.numbers[0] == groups.numbers[1] != groups.numbers[2]


def test_a_column_that_joins_nearly_everything_is_pointed_out():
    with pytest.warns(UserWarning, match="largest study has 30 of 30"):
        find_groups("d", {"study": ["ABC"] * 30}, 30)


def test_ids_in_names_of_files():
    pattern = compile_pattern("(?P<patient>[0-9]+)_(?:left|right)")
    assert pattern is not None
    assert ids_in_names(pattern, ["a/10_left.png", "b/10_right.png", "b/other.png"]) == {
        "patient (dataset.group_pattern)": ["10", "10", ""]
    }
    both = compile_pattern("p([0-9]+)|IM-([0-9]+)")
    assert both is not None
    assert list(ids_in_names(both, ["p1_2", "IM-7-3", "p1_3"]).values()) == [["1", "7", "1"]]
    whole = compile_pattern("^[a-z]+")
    assert whole is not None
    assert list(ids_in_names(whole, ["ab1", "cd2"]).values()) == [["ab", "cd"]]


@pytest.mark.parametrize(("pattern", "message"), [("x([0-9]+)", "matches none of 2"), ("a", "one group")])
def test_patterns_that_find_nothing_or_one_thing_are_refused(pattern, message):
    compiled = compile_pattern(pattern)
    assert compiled is not None
    with pytest.raises(UserError, match=message):
        ids_in_names(compiled, ["a1", "a2"])


def test_no_regular_expression_is_refused():
    with pytest.raises(UserError, match="no regular expression"):
        compile_pattern("([0-9")


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        ([f"x/person{row // 3}_virus_{row}.jpeg" for row in range(30)], 10),
        ([f"x/IM-{row // 2:04d}-{row % 2:04d}.jpeg" for row in range(30)], 15),
        ([f"{row // 2}_{'left' if row % 2 else 'right'}.jpeg" for row in range(30)], 15),
        ([f"i/{row // 3:08d}_{row % 3:03d}.png" for row in range(30)], 10),
        ([f"patient{row // 5:05d}/study1/view{row % 5}.jpg" for row in range(30)], 6),
        ([f"sub-{row // 5:02d}_slice{row}.png" for row in range(30)], 6),
    ],
)
def test_a_pattern_is_suggested_that_finds_the_patients(names, groups):
    actual = suggest_pattern(names)
    assert actual is not None
    pattern = compile_pattern(actual[0])
    assert pattern is not None
    (ids,) = ids_in_names(pattern, names).values()
    assert len(set(ids)) == groups
    assert actual[1] == 30


@pytest.mark.parametrize(
    "names",
    [
        [f"nv/ISIC_{row:07d}.jpg" for row in range(30)],
        [f"a/{row}.png" for row in range(30)],
        [f"class/img ({row}).png" for row in range(30)],
        [],
    ],
)
def test_nothing_is_suggested_for_numbered_files(names):
    assert suggest_pattern(names) is None


def test_a_divided_group_is_named_with_both_rows_and_their_number():
    numbers = np.array([0, 1, 0, 1, 2, 2])
    with pytest.raises(UserError, match=r"row 2: 'c' is in part test, and 'a' of the same lesion is in part train"):
        refuse_divided_groups(
            numbers, "lesion", ["train", "train", "test", "", "val", "val"], list("abcdef"), lambda row: f"row {row}"
        )
    refuse_divided_groups(numbers, "lesion", ["train", "test", "train", "", "", "val"], list("abcdef"), str)


@pytest.mark.parametrize("second", ["p7", "P07", "P-7", "P 7", "P_007"])
def test_one_id_spelled_in_two_ways_is_one_group_with_a_warning(second):
    with pytest.warns(UserWarning, match="spelled in several ways"):
        groups = find_groups("set", {"patient": ["P7", "P8", second, "P10"]}, 4)
    assert groups is not None
    numbers = groups.numbers.tolist()
    assert numbers[0] == numbers[2]
    assert len(set(numbers)) == 3


def test_ids_that_differ_in_more_than_spelling_stay_apart():
    ids = ["1", "10", "100", "1-2", "12", "P1", "P10", "1.5", "15", "a-1", "a-1-1"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        groups = find_groups("set", {"patient": ids}, len(ids))
    assert groups is not None
    assert len(set(groups.numbers.tolist())) == len(ids)


@pytest.mark.parametrize("cell", ["Anonymous", "anonymised", "not recorded", "Not Provided", "n.a."])
def test_words_for_no_id(cell):
    assert normalised_id(cell) == ""
