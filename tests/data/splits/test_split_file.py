"""`split=file`: divisions from a table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from omegaconf import OmegaConf

from ltmed.config.instantiate import build
from ltmed.data.splits.split_file import from_file
from ltmed.errors import UserError
from tests.data.manifests import manifest_of
from tests.harness import ROOT

MANIFEST = manifest_of([0, 1] * 10, groups=[row // 2 for row in range(20)])


def table(path, parts: dict[int, str], *, end: str = "\n", header: str = "image,part", name="{:06d}"):
    rows = [f"{name.format(row)},{part}" for row, part in parts.items()]
    path.write_bytes((end.join([header, *rows]) + end).encode())
    return str(path)


PARTS = {row: "train" if row < 12 else "val" if row < 15 else "test" for row in range(19)}


@pytest.mark.parametrize("name", ["{:06d}", "images/{:06d}.jpg", "{:06d}.JPG", "other\\{:06d}.png"])
def test_parts_are_those_of_the_file_however_images_are_named(tmp_path, name):
    split = from_file(MANIFEST, 0, path=table(tmp_path / "s.csv", PARTS, end="\r\n", name=name))
    assert split.name == "file"
    assert split.train.tolist() == list(range(12))
    assert split.val.tolist() == [12, 13, 14]
    assert split.test.tolist() == [15, 16, 17, 18]
    assert split.leakage(MANIFEST)["leaking"] == 0


def test_an_image_of_another_folder_is_another_image(tmp_path):
    images = ("normal/1.jpg", "normal/2.jpg", "tumour/3.jpg", "tumour/4.jpg", "tumour/5.jpg", "normal/6.jpg")
    manifest = replace(manifest_of([0, 0, 1, 1, 1, 0]), images=images)
    rows = [
        "x/normal/1.jpg,test",
        "old\\3.png,test",
        "2,train",
        "tumour/4,train",
        "tumour/5.jpg,val",
        "part_1/6.jpg,val",
    ]
    (tmp_path / "s.csv").write_text("\n".join(["image,part", *rows]))
    split = from_file(manifest, 0, path=str(tmp_path / "s.csv"))
    assert [part.tolist() for part in split.parts.values()] == [[1, 3], [4, 5], [0, 2]]
    for wrong in ("tumour/1.jpg", "x\\tumour\\1.jpg", "Tumour/extra/1.png"):
        (tmp_path / "s.csv").write_text("\n".join(["image,part", f"{wrong},test", *rows[1:]]))
        with pytest.raises(UserError, match=r"s.csv, line 2: .* has no image '.*1\.(jpg|png)'"):
            from_file(manifest, 0, path=str(tmp_path / "s.csv"))


def test_columns_in_any_order_other_spellings_and_unused_images(tmp_path):
    (tmp_path / "s.tsv").write_text(
        "split\tx\timage\nTraining\t1\t000000\ntraining\t1\t000001\nvalid\t1\t000004\ntesting\t1\t000006\n\t1\t000008\n"
    )
    split = from_file(MANIFEST, 0, path=str(tmp_path / "s.tsv"))
    assert [rows.tolist() for rows in split.parts.values()] == [[0, 1], [4], [6]]


def test_validation_images_are_taken_from_training_by_group_where_the_file_has_none(tmp_path):
    parts = {row: "train" if row < 16 else "test" for row in range(20)}
    split = from_file(MANIFEST, 0, path=table(tmp_path / "s.csv", parts), val=0.25)
    assert len(split.val) == 4
    assert not set(MANIFEST.groups[split.val]) & set(MANIFEST.groups[split.train])
    assert np.array_equal(split.test, np.arange(16, 20))


def test_the_yaml_takes_a_path(tmp_path):
    node = OmegaConf.load(ROOT / "conf/split/file.yaml")
    with pytest.raises(UserError, match="split.path=FILE"):
        build(node)(MANIFEST, 0)
    node.path = table(tmp_path / "s.csv", PARTS)
    assert build(node)(MANIFEST, 0).digest(MANIFEST) == from_file(MANIFEST, 0, path=node.path).digest(MANIFEST)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,part\n000001,train\n\n999999,test\n", "line 4: toy in /toy has no image '999999'"),
        ("image,part\n000001,train\n000002,exam\n", "line 3: 'exam' is not a part"),
        ("image,part\n000001,train\n000001.jpg,test\n", "line 3: '000001.jpg' is in part 'test' here and .* line 2"),
        ("name,part\n000001,train\n", "no column 'image'"),
        ("image,fold\n000001,1\n", "no column 'part'"),
        ("image,part\n000001,train\n", "split=file has no test image of toy"),
        ("image,part\n", "no rows under its header"),
    ],
)
def test_mistakes_name_the_file_and_the_line(tmp_path, text, message):
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        from_file(MANIFEST, 0, path=str(path))


def test_missing_files_and_folds_are_named(tmp_path):
    with pytest.raises(UserError, match="none.csv cannot be read: No such file"):
        from_file(MANIFEST, 0, path=str(tmp_path / "none.csv"))
    with pytest.raises(UserError, match="fold 1 is out of range: split=file has fold 0 only"):
        from_file(MANIFEST, 1, path=table(tmp_path / "s.csv", PARTS))


def test_a_short_name_that_two_images_have_needs_its_path(tmp_path):
    manifest = manifest_of([0, 1, 0, 1])
    object.__setattr__(manifest, "images", ("a/1.jpg", "b/1.jpg", "a/2.jpg", "a/3.jpg"))
    (tmp_path / "s.csv").write_text("image,part\n1,train\n")
    with pytest.raises(UserError, match="line 2: several images are called '1'"):
        from_file(manifest, 0, path=str(tmp_path / "s.csv"))
    (tmp_path / "s.csv").write_text("image,part\na/1.jpg,train\nb/1.jpg,val\n2,test\n")
    assert from_file(manifest, 0, path=str(tmp_path / "s.csv")).val.tolist() == [1]
