"""CheXpert on miniature trees with the published header and folders."""

from __future__ import annotations

import numpy as np
import pytest

from ltmed.data.readers.chexpert import OBSERVATIONS
from ltmed.errors import UserError
from tests.data.readers.reading import put, read, write

HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(OBSERVATIONS)
ROWS = [
    "1.0,,,,,,,,,0.0,,,,1.0",  # No Finding with a device, as in the first row of the published table.
    ",,-1.0,1.0,,-1.0,,,,,1.0,,,",
    ",0.0,1.0,,,1.0,,-1.0,,0.0,,,1.0,",
]


def view(n: int) -> str:
    return "view2_lateral" if n % 2 else "view1_frontal"


def path(part: str, n: int) -> str:
    return f"{part}/patient{n // 2 + 1:05d}/study{n // 2 % 3 + 1}/{view(n)}.jpg"


def tree(root, rows=ROWS, *, above="CheXpert-v1.0-small/", train=48, valid=12, images=True):
    """Two views of every patient; the valid patients come after those of the training part."""
    for part, numbers in (("train", range(train)), ("valid", range(train, train + valid))):
        cells = rows if part == "train" else ["0.0,1.0,0.0,1.0" + ",0.0" * 10]
        sides = ["Frontal,AP", "Lateral,"]
        lines = [f"{above}{path(part, n)},Female,{20 + n},{sides[n % 2]},{cells[n // 2 % len(cells)]}" for n in numbers]
        write(root / above / f"{part}.csv", HEADER, *lines)
        if images:
            put(root / above, *(path(part, n) for n in numbers))


@pytest.mark.parametrize("above", ["", "CheXpert-v1.0-small/"])
def test_labels_patients_parts_and_attributes(tmp_path, above):
    tree(tmp_path, above=above)
    actual, _ = read("chexpert", tmp_path)
    assert len(actual) == 60
    assert actual.images[0] == above + path("train", 0)
    assert all((tmp_path / image).is_file() for image in actual.images)
    assert actual.classes == OBSERVATIONS
    unknown = np.nan
    expected = [
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        [0, 0, unknown, 1, 0, unknown, 0, 0, 0, 0, 1, 0, 0, 0],
        [0, 0, 1, 0, 0, 1, 0, unknown, 0, 0, 0, 0, 1, 0],
    ]
    np.testing.assert_array_equal(actual.labels[0:6:2], np.array(expected, np.float32))
    assert actual.parts.tolist() == ["train"] * 48 + ["test"] * 12
    assert actual.groups.tolist() == [n // 2 for n in range(60)]
    assert actual.attributes["age"].tolist() == [str(20 + n) for n in range(60)]
    assert actual.attributes["sex"][0] == "Female"


@pytest.mark.parametrize(("rule", "value"), [("ones", 1), ("zeros", 0)])
def test_uncertain_as_present_or_absent(tmp_path, rule, value):
    tree(tmp_path)
    actual, _ = read("chexpert", tmp_path, f"dataset.uncertain={rule}")
    assert not np.isnan(actual.labels).any()
    assert actual.labels[2, [2, 5]].tolist() == [value, value]


def test_empty_cells_that_are_unknown_and_a_label_that_is_never_absent_then(tmp_path):
    tree(tmp_path, [",".join("10"[n in (k, 13 - k)] if n != 4 else "" for n in range(14)) for k in range(7)])
    actual, _ = read("chexpert", tmp_path, "dataset.blank=ignore")
    assert np.isnan(actual.labels[:48, 4]).all()
    tree(tmp_path)
    with pytest.raises(UserError, match="'No Finding' is unknown"):
        read("chexpert", tmp_path, "dataset.blank=ignore")


def test_absence_of_findings_keeps_devices_and_makes_findings_known(tmp_path):
    tree(tmp_path, ["1.0,,,,,,-1.0,,,,,,,1.0", ",1.0,,,,,,,,,,,,0.0"])
    actual, _ = read("chexpert", tmp_path, "dataset.no_finding=absence")
    assert actual.classes == OBSERVATIONS[1:]
    assert actual.labels[0].tolist() == [0] * 12 + [1]
    assert actual.labels[2].tolist() == [1] + [0] * 12
    # No Finding is never 0 in the published table, which does not matter where it is no label.
    actual, _ = read("chexpert", tmp_path, "dataset.no_finding=absence", "dataset.blank=ignore")
    np.testing.assert_array_equal(actual.labels[[0, 2]], [[0] * 12 + [1], [1] + [np.nan] * 11 + [0]])
    tree(tmp_path, ["1.0,1.0,,,,,,,,,,,,", ",,1.0,,,,,,,,,,,"])
    with pytest.raises(UserError, match="train.csv, line 2: 'No Finding'"):
        read("chexpert", tmp_path, "dataset.no_finding=absence")


def test_one_view(tmp_path):
    tree(tmp_path)
    frontal, _ = read("chexpert", tmp_path, "dataset.view=frontal")
    assert len(frontal) == 30
    assert all(image.endswith("view1_frontal.jpg") for image in frontal.images)
    assert frontal.attributes["age"].tolist() == [str(n) for n in range(20, 80, 2)]
    lateral, _ = read("chexpert", tmp_path, "dataset.view=lateral")
    assert not set(frontal.images) & set(lateral.images)


def test_without_valid_there_are_no_parts_and_missing_images_are_named(tmp_path):
    tree(tmp_path, above="")
    (tmp_path / "valid.csv").unlink()
    actual, _ = read("chexpert", tmp_path, "split=grouped")
    assert actual.parts is None
    (tmp_path / path("train", 0)).unlink()
    with pytest.raises(UserError, match="1 of 48"):
        read("chexpert", tmp_path, "split=grouped")
    actual, _ = read("chexpert", tmp_path, "split=grouped", "dataset.on_bad_image=skip")
    assert len(actual) == 47
    assert actual.attributes["age"][0] == "21"


def test_rows_that_cannot_be_meant_are_refused(tmp_path):
    tree(tmp_path, above="")
    table = tmp_path / "train.csv"
    text = table.read_text()
    for change, message in (
        ((text + text.splitlines()[3] + "\n"), "twice"),
        (text.replace("patient00001/study1/", ""), "line 2: .*no patient"),
        (text.replace("Pleural Other", "Pleura"), "no column 'Pleural Other'"),
        (text.replace(",-1.0,", ",2.0,"), "'2.0' in column 'Cardiomegaly'"),
    ):
        table.write_text(change)
        with pytest.raises(UserError, match=message):
            read("chexpert", tmp_path)
    with pytest.raises(UserError, match=r"dataset\.view"):
        read("chexpert", tmp_path, "dataset.view=side")
