"""Tables of several labels per image: a column for each label, one column of joined labels, and ODIR's keywords."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from ltmed.data.readers._multilabel import read_columns, read_joined, require_known_absences, without_absence
from ltmed.data.readers.odir import CODES, keyword_labels, labels_of
from ltmed.errors import UserError
from tests.data.readers.reading import put, read, write

NUMBERS = range(40)
COLUMNS = "dataset.label_columns=[Mass,Nodule,Edema]"


def table(root, rows, header="image,Mass,Nodule,Edema,patient"):
    """Row n is `n.png`, the cells of `rows` in turn, and patient n // 2."""
    put(root, *(f"{n}.png" for n in NUMBERS))
    write(root / "manifest.csv", header, *(f"{n}.png,{rows[n % len(rows)]},{n // 2}" for n in NUMBERS))


def by_number(found) -> np.ndarray:
    """Labels in the order of the rows of `table`."""
    index = {image: row for row, image in enumerate(found.images)}
    return found.labels[[index[f"{n}.png"] for n in NUMBERS]]


@pytest.mark.parametrize(
    ("uncertain", "blank", "unknown", "empty"),
    [("ignore", "ignore", np.nan, np.nan), ("ones", "ignore", 1, np.nan), ("zeros", "zeros", 0, 0)],
)
def test_every_spelling_of_present_absent_and_uncertain(tmp_path, uncertain, blank, unknown, empty):
    table(tmp_path, ["1,0,0", '"1,0",yes,-1', "0,No,", '0.0,TRUE,"-1,0"', "False,0,1"])
    actual, _ = read(
        "manifest", tmp_path, COLUMNS, "dataset.multilabel=true", f"dataset.uncertain={uncertain}",
        f"dataset.blank={blank}",
    )  # fmt: skip
    expected = [[1, 0, 0], [1, 1, unknown], [0, 0, empty], [0, 1, unknown], [0, 0, 1]]
    np.testing.assert_array_equal(by_number(actual), np.array(expected * 8, np.float32))
    assert actual.labels.dtype == np.float32
    assert actual.classes == ("Mass", "Nodule", "Edema")
    assert len(np.unique(actual.groups)) == 20


def test_joined_labels(tmp_path):
    table(tmp_path, ["Mass", "Nodule | Mass", "", "No Finding", "Edema"], "Image Index,Finding Labels,Patient ID")
    actual, _ = read("manifest", tmp_path, "dataset.separator='|'")
    assert actual.classes == ("Edema", "Mass", "No Finding", "Nodule")
    expected = [[0, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]
    np.testing.assert_array_equal(by_number(actual), np.array(expected * 8, np.float32))
    actual, _ = read("manifest", tmp_path, "dataset.separator='|'", "dataset.no_finding=absence")
    assert actual.classes == ("Edema", "Mass", "Nodule")
    np.testing.assert_array_equal(by_number(actual), np.delete(np.array(expected * 8, np.float32), 2, axis=1))


def test_labels_in_lists_as_python_and_json_write_them():
    cells = ["['mass', 'nodule']", "['nodule']", '["nodule","mass"]', "[]", "", """["Barrett's", 'a, b', ' mass']"""]
    labels, values = read_joined(cells, ",", str, None)
    assert labels == ("Barrett's", "a, b", "mass", "nodule")
    expected = [[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]]
    np.testing.assert_array_equal(values, expected)
    labels, values = read_joined(["[0, 2]", "[2]", "[1,0]"], ",", str, ("0", "1", "2"))
    np.testing.assert_array_equal(values, [[1, 0, 1], [0, 0, 1], [1, 1, 0]])
    labels, values = read_joined(["[Barrett's, it's]"], ",", str, None)
    assert labels == ("Barrett's", "it's")
    with pytest.raises(UserError, match="in spelling alone"):
        read_joined(["[a]|[b]", "[a]"], "|", str, None)


@pytest.mark.parametrize(
    ("cells", "where"),
    [
        (["Mass|Nodule", "Nodule", "mass", "Edema"], "line 4: the labels 'Mass' and 'mass' differ"),
        (
            ["Pleural_Thickening", "Mass|Pleural Thickening"],
            "line 2: the labels 'Pleural Thickening' and 'Pleural_Thickening' differ",
        ),
    ],
)
def test_joined_labels_that_differ_in_spelling_alone_are_refused(tmp_path, cells, where):
    table(tmp_path, cells, "image,label,patient")
    with pytest.raises(UserError, match=f"({where}).*in spelling alone"):
        read("manifest", tmp_path, "dataset.separator='|'")


@pytest.mark.parametrize("several", ["true", "false"])
def test_columns_and_classes_that_differ_in_spelling_alone_are_refused(tmp_path, several):
    rows, multilabel = ["1,0,0", "0,1,0", "0,0,1"], f"dataset.multilabel={several}"
    table(tmp_path, rows, "image,Pleural_Thickening,Pleural Thickening,Edema,patient")
    with pytest.raises(UserError, match="dataset.label_columns: the labels 'Pleural_Thickening' and 'Pleural Thick"):
        read("manifest", tmp_path, "dataset.label_columns=[Pleural_Thickening,Pleural Thickening,Edema]", multilabel)
    table(tmp_path, rows)
    with pytest.raises(UserError, match="dataset.classes: the labels 'Mass' and 'mass' differ in spelling alone"):
        read("manifest", tmp_path, COLUMNS, "dataset.classes=[Mass,mass,Edema]", multilabel)


def test_no_finding_as_absence_makes_the_other_columns_known(tmp_path):
    table(tmp_path, ["1,0,0", "0,1,", "0,0,1"], "image,No Finding,Nodule,Edema,patient")
    columns = "dataset.label_columns=['No Finding',Nodule,Edema]"
    actual, _ = read("manifest", tmp_path, columns, "dataset.multilabel=true", "dataset.no_finding=absence")
    assert actual.classes == ("Nodule", "Edema")
    np.testing.assert_array_equal(by_number(actual)[:3], np.array([[0, 0], [1, np.nan], [0, 1]], np.float32))


def test_no_finding_as_absence_may_be_never_0():
    rows = [["1", "", "0"], ["", "1", "0"], ["", "", "1"]]
    values = read_columns(list(zip(*rows, strict=True)), ("No Finding", "Nodule", "Edema"), str)
    with pytest.raises(UserError, match="^1: 'No Finding' is unknown here and never 0"):
        require_known_absences(values, ("No Finding", "Nodule", "Edema"), str)
    labels, values = without_absence(("No Finding", "Nodule", "Edema"), values, str)
    require_known_absences(values, labels, str)
    np.testing.assert_array_equal(values, [[0, 0], [1, 0], [np.nan, 1]])


def test_images_without_a_label_are_kept_dropped_or_refused(tmp_path):
    table(tmp_path, ["1,0,0", "0,0,0", "0,1,1", "0,0,1"])
    texts = [COLUMNS, "dataset.multilabel=true"]
    selected, _ = read("manifest", tmp_path, *texts)
    assert len(selected) == 40
    assert any("10 images have no label" in note for note in selected.notes)
    dropped, _ = read("manifest", tmp_path, *texts, "dataset.unlabelled=drop")
    assert len(dropped) == 30
    assert (dropped.labels == 1).any(axis=1).all()
    with pytest.raises(UserError, match="line 3"):
        read("manifest", tmp_path, *texts, "dataset.unlabelled=error")


@pytest.mark.parametrize(
    ("rows", "words", "message"),
    [
        (["1,0,0", "2,0,1", "0,1,0"], [COLUMNS, "dataset.multilabel=true"], "line 3"),
        (["1,0,0", "0,perhaps,1", "0,1,0"], [COLUMNS, "dataset.multilabel=true"], "perhaps.*Nodule"),
        (["1,0,", "0,1,1"], [COLUMNS, "dataset.multilabel=true"], "Edema"),  # Never 0: nothing could be learned.
        (["0,0,0"], [COLUMNS, "dataset.multilabel=true"], "no image"),
        (["1,1,0", "0,0,1"], [COLUMNS], "not exactly one class"),
        (["1,0,0", "0,1,1"], ["dataset.multilabel=true"], "where the labels are"),
        (["1,0,0", "0,1,1"], [COLUMNS, "dataset.separator='|'"], "separator"),
        (["1,0,0", "0,1,0"], [COLUMNS, "dataset.uncertain=ones"], "uncertain"),
        (["1,0,0", "0,1,1"], [COLUMNS, "dataset.multilabel=true", "dataset.uncertain=maybe"], "uncertain"),
        (["1,0,0", "0,1,1"], [COLUMNS, "dataset.multilabel=true", "dataset.classes=[A,B]"], "classes"),
        (["1,0,0", "0,1,1"], [COLUMNS, "dataset.multilabel=true", "dataset.no_finding=absence"], "no_finding"),
    ],
)
def test_wrong_tables_and_settings_are_refused(tmp_path, rows, words, message):
    table(tmp_path, rows)
    with pytest.raises(UserError, match=message):
        read("manifest", tmp_path, *words)


def test_a_joined_label_that_classes_does_not_name_is_refused(tmp_path):
    table(tmp_path, ["Mass", "Mass|Nodul", "Nodule"], "image,label,patient")
    with pytest.raises(UserError, match="line 3: 'Nodul'"):
        read("manifest", tmp_path, "dataset.separator='|'", "dataset.classes=[Mass,Nodule]")


def test_no_finding_beside_a_finding_is_refused(tmp_path):
    table(tmp_path, ["Mass", "No Finding|Mass", "Nodule"], "image,label,patient")
    with pytest.raises(UserError, match="line 3"):
        read("manifest", tmp_path, "dataset.separator='|'", "dataset.no_finding=absence")


@pytest.mark.parametrize(
    ("keywords", "labels"),
    [
        ("normal fundus", "N"),
        ("lens dust\uff0cnormal fundus", "N"),
        ("cataract", "C"),
        ("moderate non proliferative retinopathy\uff0claser spot", "DO"),
        ("mild nonproliferative retinopathy,suspected glaucoma", "DG"),
        ("normal fundus\uff0cdrusen", "O"),
        ("hypertensive retinopathy|pathological myopia", "HM"),
        ("wet age-related macular degeneration", "A"),
        ("lens dust", ""),
    ],
)
def test_keywords_of_an_eye(keywords, labels):
    assert labels_of(keywords) == [float(code in labels) for code in CODES]


def odir(root, *, keywords=True):
    put(root, *(f"images/{n}_{side}.jpg" for n in range(12) for side in ("left", "right")))
    texts = ["normal fundus", "cataract", "glaucoma", "drusen"]
    rows = []
    for n in range(12):
        eyes = [texts[n % 4], texts[(n // 4 + n) % 4]]
        flags = np.maximum(*(np.array(labels_of(text), int) for text in eyes)).tolist()
        for side in ("left", "right"):
            cells = [str(n), f"{n}_{side}.jpg", *(eyes if keywords else []), *map(str, flags)]
            rows.append(",".join(cells))
    header = [
        "ID",
        "filename",
        *(["Left-Diagnostic Keywords", "Right-Diagnostic Keywords"] if keywords else []),
        *CODES,
    ]
    write(root / "full_df.csv", ",".join(header), *rows)


def test_odir_labels_are_of_the_eye(tmp_path):
    odir(tmp_path)
    actual, messages = read("odir", tmp_path)
    index = actual.images.index("images/5_left.jpg"), actual.images.index("images/5_right.jpg")
    assert actual.codes(np.array(index)) == ["C", "G"]
    assert actual.groups[index[0]] == actual.groups[index[1]]
    assert "of the patient" not in messages
    without, _ = read("odir", tmp_path, "dataset.no_finding=absence")
    assert without.classes == CODES[1:]
    np.testing.assert_array_equal(without.labels, actual.labels[:, 1:])


def test_odir_flags_of_patients_are_warned_of(tmp_path):
    odir(tmp_path, keywords=False)
    _, messages = read("odir", tmp_path)
    assert "of the patient" in messages


def test_odir_keywords_as_labels(tmp_path):
    odir(tmp_path)
    table = tmp_path / "full_df.csv"
    table.write_text(
        table.read_text()
        .replace(",cataract,", ",suspected cataract\uff0clens dust,")
        .replace("drusen", "drusen\uff0cnormal fundus")
    )
    actual, _ = read("odir", tmp_path, "dataset.labels=keywords")
    assert actual.classes == ("cataract", "drusen", "glaucoma", "normal fundus")
    assert actual.codes(np.array([actual.images.index(f"images/{n}_left.jpg") for n in range(4)])) == [
        "normal fundus", "cataract", "glaucoma", "drusen",
    ]  # fmt: skip
    assert actual.counts.tolist() == [6, 6, 6, 6]
    without, _ = read("odir", tmp_path, "dataset.labels=keywords", "dataset.no_finding=absence")
    assert without.classes == ("cataract", "drusen", "glaucoma")
    np.testing.assert_array_equal(without.labels, actual.labels[:, :3])
    with pytest.raises(UserError, match=r"dataset\.fewest"):
        read("odir", tmp_path, "dataset.fewest=2")
    odir(tmp_path, keywords=False)
    with pytest.raises(UserError, match="no keywords"):
        read("odir", tmp_path, "dataset.labels=keywords")


def test_rare_keywords_are_left_out_and_counted():
    names, values, left_out = keyword_labels(["a, b", "a", "suspicious b", "c", "Low image quality"], 2)
    assert (names, left_out) == (("a", "b"), 1)
    np.testing.assert_array_equal(values, np.array([[1, 1], [1, 0], [0, 1], [0, 0], [0, 0]], np.float32))


def test_the_keywords_of_the_real_odir(shared):
    with (shared / "data/odir5k/eye_labels.csv").open(encoding="utf-8") as file:
        cells = [row["Diagnostic Keywords"] for row in csv.DictReader(file)]
    names, values, left_out = keyword_labels(cells, 1)
    assert (len(names), left_out) == (53, 0)
    assert values[:, names.index("normal fundus")].sum() == 2873
    assert (values.sum(1) > 0).all()
    assert len(keyword_labels(cells, 10)[0]) == 23


def test_the_real_odir_has_the_labels_of_the_derived_table(shared):
    folder = shared / "data/odir5k"
    actual, messages = read("odir", folder)
    assert actual.counts.tolist() == [2873, 1722, 313, 301, 279, 192, 256, 880]
    assert "of the patient" not in messages
    assert set(actual.attributes["sex"]) == {"Female", "Male"}
    index = actual.images.index("images/0_left.jpg")
    assert (actual.attributes["age"][index], actual.attributes["sex"][index]) == ("69", "Female")
    with (folder / "eye_labels.csv").open(encoding="utf-8") as file:
        rows = {row["filename"]: [float(row[code]) for code in CODES] for row in csv.DictReader(file)}
    for image, labels in zip(actual.images, actual.labels.tolist(), strict=True):
        assert rows[image.rpartition("/")[2]] == labels
