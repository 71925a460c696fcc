"""Classes of another data set find their place, or a message says which have none."""

from __future__ import annotations

import pytest

from ltmed.errors import UserError
from ltmed.inference.class_map import DROP, OTHER, match

OURS, NAMES = ("MEL", "NV", "AKIEC"), ("melanoma", "nevus", "actinic keratosis")


def test_by_code_and_by_name_in_any_case():
    found = match(OURS, NAMES, ("nv", "Melanoma"), ("Nevus", "Melanoma"))
    assert found.targets.tolist() == [1, 0]
    assert found.assigned == {"MEL": ["Melanoma"], "NV": ["nv"]}


def test_a_map_comes_before_codes():
    given = {"AKIEC": ["AK", "scc"], "drop": ["mel"], "other": ["UNK"]}
    theirs = ("AK", "SCC", "MEL", "NV", "UNK")
    assert match(OURS, NAMES, theirs, theirs, given).targets.tolist() == [2, 2, DROP, 1, OTHER]


def test_a_class_that_is_called_other_is_that_class():
    found = match(("nv", "other"), ("nv", "other"), ("a", "nv"), ("a", "nv"), {"other": ["a"]})
    assert found.targets.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"AKIEK": ["AK"]}, "AKIEC"),
        ({"AKIEC": ["AKX"]}, "AKX"),
        ({"AKIEC": ["AK"], "NV": ["ak"]}, "twice"),
        (None, "no class for AK"),
    ],
)
def test_what_has_no_place_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        match(OURS, NAMES, ("AK", "NV"), ("AK", "NV"), given)


def test_the_code_of_one_class_with_the_name_of_another_is_refused():
    """Numbers that count the same classes in another order."""
    ours, theirs = ("0", "1", "2"), ("0", "1", "2")
    with pytest.raises(UserError, match="'0' of the data set is called 'Nevus', which is the name of another class"):
        match(ours, NAMES, theirs, ("Nevus", "melanoma", "actinic keratosis"))
    given = {"1": ["0"], "0": ["1"]}
    assert match(ours, NAMES, theirs, ("Nevus", "melanoma", "x"), given).targets.tolist() == [1, 0, 2]
    assert match(ours, NAMES, theirs, ("mel", "naevus", "x")).targets.tolist() == [0, 1, 2], "names nobody knows"
    # A class without a name has its code for one, which says nothing against the code.
    assert match(("a", "b"), ("b", "c"), ("b",), ("b",)).targets.tolist() == [1]
