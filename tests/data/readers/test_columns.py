"""Columns are recognised in any spelling, and can be named without a plus."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from ltmed.data.readers._columns import ALIASES, find_roles, parse_columns, refuse_descriptions
from ltmed.data.readers._tables import Table
from ltmed.errors import UserError
from tests.data.readers.reading import composed


def roles(header, chosen=None, cells=None, onehot=False):
    table = Table(Path("t.csv"), {name.lower(): (cells or {}).get(name, ["1", "2"]) for name in header}, [2, 3])
    return find_roles(table, parse_columns(chosen), onehot=onehot)


@pytest.mark.parametrize(
    "name", ["Patient ID", "patient_id", "PatientID", "PATIENT-ID", "patientid", "Patient_Id", "Subject ID", "Case_Num"]
)
def test_ids_of_groups_in_any_spelling(name):
    assert roles(["image", "label", name]).groups == [name.lower()]


def test_all_ids_are_taken():
    assert roles(["isic_id", "target", "patient_id", "Lesion ID"]).groups == ["lesion id", "patient_id"]


@pytest.mark.parametrize(
    ("header", "image", "label"),
    [
        (["Image Index", "Finding Labels"], "image index", "finding labels"),
        (["image_name", "diagnosis"], "image_name", "diagnosis"),
        (["id", "label"], "id", "label"),
        (["Filename", "Class"], "filename", "class"),
        (["Path", "Category"], "path", "category"),
    ],
)
def test_images_and_labels_of_known_sets(header, image, label):
    actual = roles(header)
    assert (actual.images, actual.label) == ([image], label)


def test_the_users_choice_comes_first_and_may_be_a_list():
    actual = roles(["image", "derm", "clinic", "label", "case", "patient"],
                  {"image": ["Derm", "clinic"], "group": "case", "label": None})  # fmt: skip
    assert (actual.images, actual.groups, actual.label) == (["derm", "clinic"], ["case"], "label")
    actual = roles(["image", "label", "site"], {"group": ["site", "image"], "source": "site"})
    assert actual.groups == []


@pytest.mark.parametrize(
    ("header", "chosen", "message"),
    [
        (["scan", "label"], None, "has no column 'image'. It has scan, label; say dataset.columns.image=NAME"),
        (["image", "kind"], None, "has no column 'label'"),
        (["a.jpg", "x"], None, "first line seems to hold data"),
        (["image", "label"], {"label": "lable"}, r"no column 'lable' \(dataset.columns.label\). Did you mean 'label'"),
        (["image", "label"], {"lable": "label"}, "no role 'lable'. Did you mean 'label'"),
        (["image", "label"], {"label": ["a", "b"]}, "names 2 columns"),
    ],
)
def test_missing_columns_are_named(header, chosen, message):
    with pytest.raises(UserError, match=message):
        roles(header, chosen)


def test_columns_of_zeros_and_ones_are_offered_as_labels():
    cells = {"image": ["a", "b"], "MEL": ["0", "1"], "NV": ["1.0", "0.0"], "age": ["50", "60"]}
    with pytest.raises(UserError, match=r"dataset.label_columns=\[mel,nv\]"):
        roles(cells, cells=cells)
    assert roles(cells, cells=cells, onehot=True).label is None


def test_a_column_of_parts_by_a_vague_name_must_hold_parts():
    assert roles(["image", "label", "set"], cells={"set": ["train", "Validate"]}).part == "set"
    assert roles(["image", "label", "set"], cells={"set": ["A", "B"]}).part is None
    assert roles(["image", "label", "split"], cells={"split": ["A", "B"]}).part == "split"


def test_a_second_column_of_labels_that_says_otherwise_is_pointed_out():
    cells = {"image": list("abcdef"), "diagnosis": list("nmknmk"), "target": list("010101")}
    with pytest.warns(UserWarning, match="taken from the column 'diagnosis'.*dataset.columns.label=target"):
        roles(cells, cells=cells)
    same = {"image": list("abcd"), "label": list("0101"), "class_name": list("nmnm")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        roles(same, cells=same)
        roles(cells, {"label": "diagnosis"}, cells=cells)


def test_every_role_is_a_setting():
    columns = composed("manifest", Path("x"), "dataset.columns.image=a", "dataset.columns.group=[b,c]").dataset.columns
    assert set(columns) == set(ALIASES)
    assert (columns.image, list(columns.group), columns.source) == ("a", ["b", "c"], None)


@pytest.mark.parametrize(
    "name",
    [
        "pat_id",
        "PatNr",
        "anon_patient_id",
        "Patient Hash",
        "lesion_code",
        "SubjectCode",
        "participantUID",
        "Patientennummer",
    ],
)
def test_other_names_of_ids_are_taken_beside_a_known_one(name):
    assert roles(["image", "label", "lesion_id", name]).groups == ["lesion_id", name.lower()]


@pytest.mark.parametrize(
    "name", ["patient_age", "patient_sex", "lesion_type", "lesion location", "patch_id", "person_height", "case", "pt"]
)
def test_what_is_no_id_is_not_taken(name):
    assert roles(["image", "label", "lesion_id", name]).groups == ["lesion_id"]


TYPES = ["nevus", "melanoma", "bcc", "df"]


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("lesion", TYPES * 20),
        ("group", ["1", "2", "3"] * 20),
        ("lesion", ["nevus"] * 500 + [f"type {n}" for n in range(40)]),
        ("case name", [f"{a}{b}" for a in "abcdefgh" for b in "abcdefgh"] * 11),
    ],
)
def test_a_column_found_as_ids_that_describes_images_is_refused(name, ids):
    with pytest.raises(UserError, match=rf"t.csv: the column '{name}'.*group=.*{name}.*, else .*group=\[pid\]"):
        refuse_descriptions("t.csv", {"pid": [str(row) for row in range(len(ids))], name: ids})


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("patient_id", ["P1", "P2", "P3"] * 20),
        ("Case No", ["1", "2"] * 50),
        ("patient", ["0", "7", "8"] * 50),
        ("subject_id", ["SA", "SF", "SG"] * 50),
        ("patient_id", ["aaaaaa", "ffffff"] * 50),
        ("lesion", TYPES * 2 + [f"L{n}" for n in range(100)]),
        ("patient", [f"P{n}" for n in range(50)] * 11),
        ("patient", [f"P{n}" for n in range(12)] * 10 + [""] * 500),
        ("group", [""] * 30),
    ],
)
def test_ids_of_groups_are_accepted(name, ids):
    refuse_descriptions("t.csv", {name: ids})


def test_a_message_names_some_of_very_many_columns():
    with pytest.raises(UserError) as caught:
        roles([f"c{n}" for n in range(10_000)])
    assert len(str(caught.value)) < 400
