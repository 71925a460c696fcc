"""NIH ChestX-ray14 on miniature trees with the published header, whose last names hold unquoted commas."""

from __future__ import annotations

import numpy as np
import pytest

from ltmed.data.readers import chestxray14
from ltmed.data.readers.chestxray14 import COUNTS, FINDINGS
from ltmed.errors import UserError
from tests.data.readers.reading import put, read, write

HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
HEADERS = {
    "published": (HEADER + "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],", ","),
    "v2020": (HEADER + "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]", ""),
    "quoted": (HEADER + '"OriginalImage[Width,Height]","OriginalImagePixelSpacing[x,y]"', ","),
}
CELLS = ["No Finding", "Cardiomegaly", "Cardiomegaly|Emphysema", "Hernia|Mass|Nodule", "Pleural_Thickening"]


def name(n: int) -> str:
    return f"{n // 3 + 1:08d}_{n % 3:03d}.png"


def tree(root, kind="published", *, number=60, cells=CELLS, lists=True):
    """Patients of three images; the last 6 of 20 patients are the test part, and the images of one are in no list."""
    header, end = HEADERS[kind]
    rows = [
        f"{name(n)},{cells[n % len(cells)]},{n % 3},{n // 3 + 1},58,M,PA,2682,2749,0.143,0.143{end}"
        for n in range(number)
    ]
    write(root / "Data_Entry_2017.csv", header, *rows)
    put(root, *(f"images_{n % 12 + 1:03d}/images/{name(n)}" for n in range(number)))
    if lists:
        write(root / "train_val_list.txt", *(name(n) for n in range(number - 18)))
        write(root / "test_list.txt", *(name(n) for n in range(number - 18, number - 3)))


@pytest.mark.parametrize("kind", HEADERS)
def test_findings_patients_and_parts_whatever_the_header(tmp_path, kind):
    tree(tmp_path, kind)
    actual, _ = read("chestxray14", tmp_path)
    assert [image.rpartition("/")[2] for image in actual.images] == [name(n) for n in range(60)]
    assert actual.codes(np.arange(5)) == ["", "Cardiomegaly", "Cardiomegaly|Emphysema", "Mass|Nodule|Hernia", CELLS[4]]
    assert not np.isnan(actual.labels).any()
    assert len({(group, n // 3) for n, group in enumerate(actual.groups.tolist())}) == len(set(actual.groups)) == 20
    assert actual.parts.tolist() == ["train"] * 42 + ["test"] * 15 + [""] * 3
    assert actual.classes == FINDINGS
    assert {name: set(cells) for name, cells in actual.attributes.items()} == {"age": {"58"}, "sex": {"M"}}


def test_ages_of_the_newer_table_and_a_table_without_them(tmp_path):
    tree(tmp_path)
    table = tmp_path / "Data_Entry_2017.csv"
    text = table.read_text()
    table.write_text(text.replace(",58,M,", ",058Y,F,"))
    actual, _ = read("chestxray14", tmp_path)
    assert {name: set(cells) for name, cells in actual.attributes.items()} == {"age": {"58"}, "sex": {"F"}}
    table.write_text(text.replace("Patient Age,Patient Gender", "a,b"))
    assert read("chestxray14", tmp_path)[0].attributes is None


def test_no_finding_as_a_label(tmp_path):
    tree(tmp_path)
    actual, _ = read("chestxray14", tmp_path, "dataset.no_finding=label")
    assert actual.classes[14] == "No Finding"
    assert len(actual.class_names) == 15
    assert actual.labels[:, 14].tolist() == [1, 0, 0, 0, 0] * 12


def test_without_lists_there_are_no_parts(tmp_path):
    tree(tmp_path, lists=False)
    actual, _ = read("chestxray14", tmp_path, "split=grouped")
    assert actual.parts is None


def test_missing_images_are_an_error_or_left_out(tmp_path):
    tree(tmp_path)
    (tmp_path / f"images_001/images/{name(0)}").unlink()
    with pytest.raises(UserError, match="1 of 60"):
        read("chestxray14", tmp_path)
    actual, _ = read("chestxray14", tmp_path, "dataset.on_bad_image=skip")
    assert len(actual) == 59
    assert actual.codes(np.array([0])) == ["Cardiomegaly"]
    assert actual.groups[0] == actual.groups[1] != actual.groups[2]


def test_an_unknown_finding_and_one_beside_no_finding_are_refused(tmp_path):
    tree(tmp_path, cells=["Mass", "Mass|Fracture"])
    with pytest.raises(UserError, match="line 3: 'Fracture'"):
        read("chestxray14", tmp_path)
    tree(tmp_path, cells=["Mass", "No Finding|Mass"])
    with pytest.raises(UserError, match="line 3"):
        read("chestxray14", tmp_path)


def test_rows_twice_columns_and_lists_that_are_missing_are_refused(tmp_path):
    tree(tmp_path)
    (tmp_path / "test_list.txt").unlink()
    with pytest.raises(UserError, match="test_list"):
        read("chestxray14", tmp_path)
    write(tmp_path / "test_list.txt", name(0))
    with pytest.raises(UserError, match="both lists"):
        read("chestxray14", tmp_path)
    table = tmp_path / "Data_Entry_2017.csv"
    text = table.read_text()
    table.write_text(text + text.splitlines()[5] + "\n")
    with pytest.raises(UserError, match="line 62.*twice"):
        read("chestxray14", tmp_path)
    table.write_text(text.replace("Patient ID", "Person"))
    with pytest.raises(UserError, match="Patient ID"):
        read("chestxray14", tmp_path)


def test_a_whole_table_with_other_counts_is_warned_of(tmp_path, monkeypatch):
    tree(tmp_path)
    assert "findings" not in read("chestxray14", tmp_path)[1]
    monkeypatch.setattr(chestxray14, "N_IMAGES", 60)
    assert "Hernia 12 of 227" in read("chestxray14", tmp_path)[1]
    right = [12 if name in "Emphysema Hernia Mass Nodule Pleural_Thickening" else 0 for name in FINDINGS]
    right[FINDINGS.index("Cardiomegaly")] = 24
    monkeypatch.setattr(chestxray14, "COUNTS", tuple(right))
    assert "findings" not in read("chestxray14", tmp_path, "dataset.no_finding=label")[1]


def test_the_published_counts():
    counts = dict(zip(FINDINGS, COUNTS, strict=True))
    assert (counts["Infiltration"], counts["Hernia"], sum(COUNTS)) == (19_894, 227, 81_176)
