"""APTOS 2019: the table, and files that are copies of each other."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ltmed.data.readers.aptos2019 import APTOS2019
from ltmed.data.splits.protocols import grouped, official
from ltmed.errors import UserError
from tests.data.readers.folder_trees import classes_of, put, reader, together, write

pytestmark = pytest.mark.filterwarnings("ignore:aptos2019.*images, not 3662")
GRADES = {f"{number:012x}": number % 5 for number in range(30)}


def tree(root: Path, **contents: bytes) -> Path:
    """30 images of different content, some of equal size, but for `contents`; unlabelled test images beside them."""
    for number, name in enumerate(GRADES):
        put(
            root,
            f"train_images/{name}.png",
            data=contents.get(f"n{number}", f"{number:02d}".encode() * (1 + number % 3)),
        )
    put(root, "test_images/ffff.png")
    write(root / "test.csv", "id_code", "ffff")
    write(root / "sample_submission.csv", "id_code,diagnosis", "ffff,0")
    write(root / "train.csv", "id_code,diagnosis", *reversed([f"{name},{grade}" for name, grade in GRADES.items()]))
    return root


def read(root: Path, duplicates: str = "keep"):
    return reader(APTOS2019, duplicates=duplicates).read(root)


def test_labels_images_and_no_groups_without_copies(tmp_path):
    manifest = read(tree(tmp_path))
    assert classes_of(manifest) == {f"train_images/{name}.png": f"DR{grade}" for name, grade in GRADES.items()}
    assert list(manifest.images) == sorted(manifest.images)
    assert together(manifest) == set()
    with pytest.raises(UserError, match="no parts of its own"):
        official(manifest, 0)


def test_copies_stay_in_one_part_and_two_grades_are_warned_about(tmp_path):
    tree(tmp_path, n1=b"same", n2=b"same", n6=b"copy", n11=b"copy", n7=b"kopy")
    with pytest.warns(UserWarning, match=r"4 images in 2 sets of identical files; 1 sets have more than one grade"):
        manifest = read(tmp_path)
    names = [f"train_images/{name}.png" for name in GRADES]
    assert together(manifest) == {frozenset((names[1], names[2])), frozenset((names[6], names[11]))}
    for fold in range(5):
        split = grouped(manifest, fold)
        assert split.leakage(manifest)["leaking"] == 0
        for part in split.parts.values():
            assert len(np.intersect1d(manifest.groups[part], np.delete(manifest.groups, part))) == 0


def test_copies_can_be_dropped(tmp_path):
    tree(tmp_path, n1=b"same", n2=b"same", n6=b"copy", n11=b"copy", n16=b"copy")
    with pytest.warns(UserWarning, match="they are left out"):
        manifest = read(tmp_path, "drop")
    gone = {f"{number:012x}" for number in (1, 2, 11, 16)}
    assert {Path(image).stem for image in manifest.images} == GRADES.keys() - gone
    assert together(manifest) == set()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("00000000000f,5", "train.csv, line 32: '00000000000f' has the grade '5', not 0 to 4"),
        ("00000000000f,", "has the grade ''"),
        ("00000000000f,1", "line 32: '00000000000f' is listed twice"),
        ("00000000000f", "line 32.* has 1 cells"),
        ("0000000000ff,1", r"1 of 31 listed images are not under .*\(DR1 1\)"),
    ],
)
def test_mistakes_in_the_table_are_named(tmp_path, line, message):
    path = tree(tmp_path) / "train.csv"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_a_missing_table_is_named(tmp_path):
    (tree(tmp_path) / "train.csv").unlink()
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "train.csv") + " does not exist")):
        read(tmp_path)


def test_unknown_options_are_named():
    with pytest.raises(UserError, match="dataset.duplicates=dorp is not known. Did you mean 'drop'"):
        APTOS2019(duplicates="dorp")


@pytest.mark.filterwarnings("error")
def test_real_labels(tmp_path, shared):
    table = shared / "labels/aptos2019_train.csv"
    names = [line.partition(",")[0] for line in table.read_text().splitlines()[1:]]
    for number, name in enumerate(names):
        put(tmp_path, f"train_images/{name}.png", data=bytes(number))
    (tmp_path / "train.csv").write_bytes(table.read_bytes())
    manifest = read(tmp_path)
    assert manifest.counts.tolist() == [1805, 370, 999, 193, 295]
