"""Tables of several labels per image: a column for each label, one column of joined labels, and ODIR's keywords."""

from __future__ import annotations

import csv

import numpy as np
import pytest

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
    place = {image: row for row, image in enumerate(found.images)}
    return found.labels[[place[f"{n}.png"] for n in NUMBERS]]


@pytest.mark.parametrize(
    ("uncertain", "blank", "unknown", "empty"),
    [("ignore", "ignore", np.nan, np.nan), ("ones", "ignore", 1, np.nan), ("zeros", "zeros", 0, 0)],
)
def test_every_spelling_of_present_absent_and_uncertain(tmp_path, uncertain, blank, unknown, empty):
    table(tmp_path, ["1,0,0", "1.0,yes,-1", "0,No,", "0.0,TRUE,-1.0", "False,0,1"])
    found, _ = read(
        "manifest", tmp_path, COLUMNS, "dataset.multilabel=true", f"dataset.uncertain={uncertain}",
        f"dataset.blank={blank}",
    )  # fmt: skip
    expected = [[1, 0, 0], [1, 1, unknown], [0, 0, empty], [0, 1, unknown], [0, 0, 1]]
    np.testing.assert_array_equal(by_number(found), np.array(expected * 8, np.float32))
    assert found.labels.dtype == np.float32
    assert found.classes == ("Mass", "Nodule", "Edema")
    assert len(np.unique(found.groups)) == 20


def test_joined_labels(tmp_path):
    table(tmp_path, ["Mass", "Nodule | Mass", "", "No Finding", "Edema"], "Image Index,Finding Labels,Patient ID")
    found, _ = read("manifest", tmp_path, "dataset.separator='|'")
    assert found.classes == ("Edema", "Mass", "No Finding", "Nodule")
    expected = [[0, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]
    np.testing.assert_array_equal(by_number(found), np.array(expected * 8, np.float32))
    found, _ = read("manifest", tmp_path, "dataset.separator='|'", "dataset.no_finding=absence")
    assert found.classes == ("Edema", "Mass", "Nodule")
    np.testing.assert_array_equal(by_number(found), np.delete(np.array(expected * 8, np.float32), 2, axis=1))


def test_no_finding_as_absence_makes_the_other_columns_known(tmp_path):
    table(tmp_path, ["1,0,0", "0,1,", "0,0,1"], "image,No Finding,Nodule,Edema,patient")
    columns = "dataset.label_columns=['No Finding',Nodule,Edema]"
    found, _ = read("manifest", tmp_path, columns, "dataset.multilabel=true", "dataset.no_finding=absence")
    assert found.classes == ("Nodule", "Edema")
    np.testing.assert_array_equal(by_number(found)[:3], np.array([[0, 0], [1, np.nan], [0, 1]], np.float32))


def test_images_without_a_label_are_kept_dropped_or_refused(tmp_path):
    table(tmp_path, ["1,0,0", "0,0,0", "0,1,1", "0,0,1"])
    words = [COLUMNS, "dataset.multilabel=true"]
    kept, _ = read("manifest", tmp_path, *words)
    assert len(kept) == 40
    assert any("10 images have no label" in note for note in kept.notes)
    dropped, _ = read("manifest", tmp_path, *words, "dataset.unlabelled=drop")
    assert len(dropped) == 30
    assert (dropped.labels == 1).any(axis=1).all()
    with pytest.raises(UserError, match="line 3"):
        read("manifest", tmp_path, *words, "dataset.unlabelled=error")


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
    words = ["normal fundus", "cataract", "glaucoma", "drusen"]
    rows = []
    for n in range(12):
        eyes = [words[n % 4], words[(n // 4 + n) % 4]]
        flags = np.maximum(*(np.array(labels_of(word), int) for word in eyes)).tolist()
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
    found, said = read("odir", tmp_path)
    place = found.images.index("images/5_left.jpg"), found.images.index("images/5_right.jpg")
    assert found.codes(np.array(place)) == ["C", "G"]
    assert found.groups[place[0]] == found.groups[place[1]]
    assert "of the patient" not in said
    without, _ = read("odir", tmp_path, "dataset.no_finding=absence")
    assert without.classes == CODES[1:]
    np.testing.assert_array_equal(without.labels, found.labels[:, 1:])


def test_odir_flags_of_patients_are_warned_of(tmp_path):
    odir(tmp_path, keywords=False)
    _, said = read("odir", tmp_path)
    assert "of the patient" in said


def test_odir_keywords_as_labels(tmp_path):
    odir(tmp_path)
    table = tmp_path / "full_df.csv"
    table.write_text(
        table.read_text()
        .replace(",cataract,", ",suspected cataract\uff0clens dust,")
        .replace("drusen", "drusen\uff0cnormal fundus")
    )
    found, _ = read("odir", tmp_path, "dataset.labels=keywords")
    assert found.classes == ("cataract", "drusen", "glaucoma", "normal fundus")
    assert found.codes(np.array([found.images.index(f"images/{n}_left.jpg") for n in range(4)])) == [
        "normal fundus", "cataract", "glaucoma", "drusen",
    ]  # fmt: skip
    assert found.counts.tolist() == [6, 6, 6, 6]
    without, _ = read("odir", tmp_path, "dataset.labels=keywords", "dataset.no_finding=absence")
    assert without.classes == ("cataract", "drusen", "glaucoma")
    np.testing.assert_array_equal(without.labels, found.labels[:, :3])
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
    found, said = read("odir", folder)
    assert found.counts.tolist() == [2873, 1722, 313, 301, 279, 192, 256, 880]
    assert "of the patient" not in said
    assert set(found.attributes["sex"]) == {"Female", "Male"}
    place = found.images.index("images/0_left.jpg")
    assert (found.attributes["age"][place], found.attributes["sex"][place]) == ("69", "Female")
    with (folder / "eye_labels.csv").open(encoding="utf-8") as file:
        rows = {row["filename"]: [float(row[code]) for code in CODES] for row in csv.DictReader(file)}
    for image, labels in zip(found.images, found.labels.tolist(), strict=True):
        assert rows[image.rpartition("/")[2]] == labels
