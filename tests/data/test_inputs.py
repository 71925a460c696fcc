"""The images that a command line names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ltmed.data.inputs import list_images
from ltmed.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    for name in (
        "images/a.JPG",
        "images/deep/nævus.png",
        "images/deep/x.dcm",
        "images/notes.txt",
        "images/.hidden.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_files_and_repetitions(folder):
    listed = list_images(
        [Path("images"), Path("images/notes.txt"), Path("images/../images/a.JPG"), Path("images/deep")]
    )
    assert listed.names == ["images/a.JPG", "images/deep/nævus.png", "images/deep/x.dcm", "images/notes.txt"]
    assert [str(path) for path in listed.paths] == listed.names
    assert listed.repeated == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "label,Image\nNV,images/a\nMEL,images/deep/nævus.png\nNV,gone.jpg\n"),
        ("list.tsv", "filename\tx\nimages/a\t1\nimages/deep/nævus.png\t2\ngone.jpg\t3\n"),
        ("images/up.csv", "image_id;n\r\n../images/a;1\r\ndeep/nævus.png;2\r\ngone.jpg;3\r\n"),
    ],
)
def test_tables_are_relative_to_themselves(folder, monkeypatch, name, text):
    (folder / name).write_text(text)
    monkeypatch.chdir("/")
    listed = list_images([folder / name])
    real = [os.path.relpath(path, folder) for path in listed.paths]
    assert real[:2] == ["images/a.JPG", "images/deep/nævus.png"]
    assert real[2].endswith("gone.jpg")
    assert listed.names[2] == "gone.jpg"


def test_the_extension_of_a_listed_file_is_found(folder):
    for name in ("b.png", "patient.1.png", "patient.2.TIF"):
        (folder / "images" / name).touch()
    (folder / "list.csv").write_text("image\nb\nc\npatient.1\npatient.2\npatient.3\n" + 300 * "x" + "\n~nobody/b\n")
    (folder / "list.csv").rename(folder / "images/list.csv")
    listed = [path.name for path in list_images([Path("images/list.csv")]).paths]
    assert listed == ["b.png", "c", "patient.1.png", "patient.2.TIF", "patient.3", 300 * "x", "b"]


def test_a_name_without_extension_that_two_files_have_is_refused(folder):
    (folder / "images/a.png").touch()
    (folder / "list.csv").write_text("Image Name\nimages/a\n")
    with pytest.raises(UserError, match="line 2: 'images/a' is a.JPG as well as a.png"):
        list_images([Path("list.csv")])


def test_tables_of_other_formats_and_dicom_files_without_extension(folder):
    (folder / "images/IM1").write_bytes(b"\0" * 128 + b"DICM")
    (folder / "images/README").touch()
    (folder / "list.json").write_text('[{"file_path": "images\\\\a"}, {"file_path": "images/IM1"}]')
    assert [path.name for path in list_images([Path("list.json")]).paths] == ["a.JPG", "IM1"]
    assert [path.name for path in list_images([Path("images")]).paths] == ["IM1", "a.JPG", "nævus.png", "x.dcm"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere", "nowhere does not exist"),
        ("empty", "There is no image in empty"),
        ("labels.csv", r"labels.csv has no column of images \(it has name, label\). Call it one of image, "),
        ("blank.csv", "blank.csv, line 3: no image"),
        ("header.csv", "has no rows"),
    ],
)
def test_mistakes(folder, given, message):
    (folder / "empty").mkdir()
    (folder / "labels.csv").write_text("name,label\na,b\n")
    (folder / "blank.csv").write_text("image,label\na,b\n,b\n")
    (folder / "header.csv").write_text("image,label\n")
    with pytest.raises(UserError, match=message):
        list_images([Path(given)])


def test_a_name_that_results_could_not_hold(folder):
    name = os.fsdecode(b"n\xe6vus.jpg")
    Path(name).touch()
    with pytest.raises(UserError, match="not UTF-8"):
        list_images([Path(name)])
