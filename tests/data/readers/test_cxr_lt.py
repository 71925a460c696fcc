"""The lists of NIH-CXR-LT, MIMIC-CXR-LT and CXR-LT on miniature trees with their headers."""

from __future__ import annotations

import numpy as np
import pytest

from ltmed.data.readers.cxr_lt import LISTS
from ltmed.errors import UserError
from tests.data.readers.reading import put, read, write

NUMBER = {"nih": 20, "nih_single": 20, "mimic": 19, "mimic_single": 19, "cxr_lt_2023": 26, "cxr_lt_2024": 40}
PARTS = {"train": range(80), "val": range(80, 120), "test": range(120, 160)}
MIMIC = "dicom_id,subject_id,study_id,path"


def nih(n: int) -> str:
    return f"{n // 2 + 1:08d}_{n % 2:03d}.png"


def mimic(n: int) -> str:
    return f"files/p1{n % 10}/p1{n // 2:07d}/s5{n:07d}/{n:08x}-aa.jpg"


def one_hot(n: int, number: int) -> list[int]:
    return [int(n % number == k) for k in range(number)]


def tree(root, name: str, *, patients: bool = True):
    """Two images of every patient, one label each, and with several labels every third image has the next one too."""
    lists = LISTS[name]
    of_nih, number = name.startswith("nih"), len(lists.labels)
    for part, numbers in PARTS.items():
        rows = []
        for n in numbers:
            cells = one_hot(n, number)
            if not lists.single and n % 3 == 0:
                cells[(n + 1) % number] = 1
            joined = ",".join(map(str, cells))
            ids = f"{nih(n)},{joined}" if of_nih else f"{n:08x}-aa,1{n // 2:07d},5{n:07d},{mimic(n)},{joined}"
            rows.append(ids + (f",{n // 2 + 1}" if of_nih and patients else ""))
        header = ",".join(["id" if of_nih else MIMIC, *lists.labels, *(["subj_id"] if of_nih and patients else [])])
        write(root / "lists" / lists.files[part][0], header, *rows)
        put(root, *(f"images/{nih(n)}" if of_nih else mimic(n) for n in numbers))


@pytest.mark.parametrize("name", NUMBER)
def test_labels_patients_and_parts(tmp_path, name):
    tree(tmp_path, name)
    actual, _ = read("cxr_lt", tmp_path, f"dataset.lists={name}")
    assert actual.classes == LISTS[name].labels
    assert len(actual.classes) == len(set(actual.classes)) == NUMBER[name]
    assert [(actual.parts == part).sum() for part in PARTS] == [80, 40, 40]
    groups = actual.groups.tolist()
    assert all(groups.count(group) == 2 for group in groups)
    index = {image.rpartition("/")[2]: row for row, image in enumerate(actual.images)}
    for n in (0, 3, 80, 121):
        row = index[(nih(n) if name.startswith("nih") else mimic(n)).rpartition("/")[2]]
        if LISTS[name].single:
            assert actual.labels[row] == n % NUMBER[name]
        else:
            expected = {n % NUMBER[name]} | ({(n + 1) % NUMBER[name]} if n % 3 == 0 else set())
            assert set(np.flatnonzero(actual.labels[row]).tolist()) == expected
    assert actual.multilabel != LISTS[name].single


def test_the_task_of_26_labels_reads_the_training_list_of_40(tmp_path):
    tree(tmp_path, "cxr_lt_2024")
    for part in ("development", "test"):
        lists = tmp_path / "lists"
        (lists / f"{part}_labeled_task2.csv").write_bytes((lists / f"{part}_labeled_task1.csv").read_bytes())
    actual, _ = read("cxr_lt", tmp_path, "dataset.lists=cxr_lt_2024_task2")
    assert len(actual.classes) == 26
    assert "Normal" in actual.classes
    assert "Tuberculosis" not in actual.classes


def test_headers_with_other_blanks_and_no_column_of_patients(tmp_path):
    tree(tmp_path, "nih_single", patients=False)
    for file in (tmp_path / "lists").iterdir():
        file.write_text(file.read_text().replace("Pleural Thickening", "Pleural_Thickening"))
        file.rename(file.with_name(file.name.replace("nih-cxr-lt", "nih-lt")))
    actual, _ = read("cxr_lt", tmp_path, "dataset.lists=nih_single")
    assert len(set(actual.groups.tolist())) == 80


def test_absence_of_findings(tmp_path):
    tree(tmp_path, "mimic")
    for file in (tmp_path / "lists").iterdir():  # No Finding has a 1 beside a finding in these made rows.
        lines = [line.split(",") for line in file.read_text().splitlines()]
        index = lines[0].index("No Finding")
        for line in lines[1:]:
            if line[index] == "1":
                line[4:] = ["1" if k in (4, index) else "0" for k in range(4, len(line))]
        file.write_text("\n".join(map(",".join, lines)) + "\n")
    actual, _ = read("cxr_lt", tmp_path, "dataset.lists=mimic", "dataset.no_finding=absence")
    assert "No Finding" not in actual.classes
    rows = (actual.labels.sum(1) == 1) & (actual.labels[:, actual.classes.index("Support Devices")] == 1)
    assert rows.any()


def test_the_balanced_test_list(tmp_path):
    tree(tmp_path, "nih_single")
    lists = tmp_path / "lists"
    text = (lists / "nih-cxr-lt_single-label_test.csv").read_text().splitlines()
    write(lists / "nih-cxr-lt_single-label_balanced-test.csv", *text[:21])
    actual, _ = read("cxr_lt", tmp_path, "dataset.lists=nih_single", "dataset.balanced_test=true")
    assert (actual.parts == "test").sum() == 20
    with pytest.raises(UserError, match="no balanced test list"):
        read("cxr_lt", tmp_path, "dataset.lists=nih", "dataset.balanced_test=true")


def test_lists_that_cannot_be_meant_are_refused(tmp_path):
    tree(tmp_path, "nih")
    lists = tmp_path / "lists"
    val = lists / LISTS["nih"].files["val"][0]
    text = val.read_text()
    for change, message in (
        (text + f"{nih(0)},{','.join(map(str, one_hot(0, 20)))},1\n", "in the train and in the val list"),
        (text + text.splitlines()[3] + "\n", "listed twice"),
        (text.replace("Hernia", "Hernias"), "no column 'Hernia'"),
        (text.replace(",1,", ",7,"), "'7' in column"),
    ):
        val.write_text(change)
        with pytest.raises(UserError, match=message):
            read("cxr_lt", tmp_path)
    val.unlink()
    with pytest.raises(UserError, match=val.name):
        read("cxr_lt", tmp_path)
    with pytest.raises(UserError, match="one label per image"):
        read("cxr_lt", tmp_path, "dataset.lists=mimic_single", "dataset.no_finding=absence")


def test_missing_images_are_left_out_with_their_rows(tmp_path):
    tree(tmp_path, "nih")
    (tmp_path / f"images/{nih(0)}").unlink()
    with pytest.raises(UserError, match="1 of 160"):
        read("cxr_lt", tmp_path)
    actual, _ = read("cxr_lt", tmp_path, "dataset.on_bad_image=skip")
    assert len(actual) == 159
    assert np.flatnonzero(actual.labels[0]).tolist() == [1]
