"""The helpers of the readers where the data sets' own tests do not reach them."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from ltmed.data.readers._files import class_folders, onehot, read_list, read_table, scan, stem, walk
from ltmed.errors import UserError


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def test_walk_is_sorted_skips_hidden_files_and_survives_a_loop_of_links(tmp_path):
    touch(tmp_path, "b/2.png", "b/1.png", "a/x.csv", ".git/c.png", "b/.ipynb_checkpoints/1.png", "__MACOSX/1.png")
    (tmp_path / "b/again").symlink_to(tmp_path)
    assert list(walk(tmp_path)) == ["a/x.csv", "b/1.png", "b/2.png"]


def test_walk_follows_links_to_folders(tmp_path):
    touch(tmp_path, "elsewhere/1.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/images").symlink_to(tmp_path / "elsewhere")
    assert list(walk(tmp_path / "root")) == ["images/1.png"]


def test_scan_keeps_the_first_image_of_a_stem_and_the_outermost_file(tmp_path):
    touch(tmp_path, "A/one.JPG", "a/One.png", "a/deep/Labels.csv", "b/labels.csv", "b/note.txt")
    tree = scan(tmp_path, "help")
    assert tree.images == {"one": "A/one.JPG"}
    assert tree.file("nothing.csv", "LABELS.csv") == tmp_path / "b/labels.csv"
    assert tree.file("nothing.csv") is None


def test_scan_takes_a_folder_of_masks_last_and_says_which_file_is_read(tmp_path):
    touch(tmp_path, "A_masks/1.png", "Input/1.jpg", "Input/3.dcm", "A_masks/3.png", "A_masks/4.png")
    (tmp_path / "A_masks/1.png").write_bytes(b"mask")
    with pytest.warns(UserWarning, match=r"1 images .*'Input/1.jpg' is read and not 'A_masks/1.png'"):
        tree = scan(tmp_path, "help")
    assert tree.images == {"1": "Input/1.jpg", "3": "Input/3.dcm", "4": "A_masks/4.png"}


def test_scan_warns_of_files_of_one_name_unless_they_are_copies(tmp_path):
    touch(tmp_path, "part_1/1.jpg", "again/part_1/1.jpg", "raw/2.dcm", "png/2.png")
    (tmp_path / "png/2.png").write_bytes(b"smaller")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scan(tmp_path, "help").images == {"1": "again/part_1/1.jpg", "2": "png/2.png"}
    (tmp_path / "part_1/1.jpg").write_bytes(b"resized")
    with pytest.warns(UserWarning, match=r"'again/part_1/1.jpg' is read and not 'part_1/1.jpg'"):
        assert scan(tmp_path, "help").images["1"] == "again/part_1/1.jpg"


def test_scan_of_a_file_says_so(tmp_path):
    touch(tmp_path, "x")
    with pytest.raises(UserError, match="x is not a folder. help"):
        scan(tmp_path / "x", "help")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ISIC_0000017_downsampled.jpg", "isic_0000017_downsampled"),
        ("a\\b\\X.JPEG", "x"),
        ("images/v1.2", "v1.2"),
        (" ISIC_1 ", "isic_1"),
    ],
)
def test_stem(name, expected):
    assert stem(name) == expected


def test_class_folders_are_sorted_nested_and_may_be_empty(tmp_path):
    touch(tmp_path, "ART/0001-1000/ART_1.jpg", "ART/1001-1003/ART_2.JPG", "ABE/ABE_1.jpg", "ABE/notes.txt", "top.jpg")
    (tmp_path / "ZZZ").mkdir()
    folders = class_folders(tmp_path)
    assert folders == {
        "ABE": ["ABE/ABE_1.jpg"],
        "ART": ["ART/0001-1000/ART_1.jpg", "ART/1001-1003/ART_2.JPG"],
        "ZZZ": [],
    }
    assert list(folders) == sorted(folders)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_of_any_separator(tmp_path, separator):
    text = '\ufeffImage,"Class, name" ,n\r\n\r\na.jpg,"x, y",1\r\nb.jpg,z,2,\r\n,,\r\n'
    if separator != ",":
        text = text.replace(", ", " ").replace(",", separator)
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    table = read_table(path)
    assert table["image"] == ["a.jpg", "b.jpg"]
    assert table["n"] == ["1", "2"]


def test_tables_that_are_no_utf8_text_are_named(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"image,sex\na,\xe9\n")
    with pytest.raises(UserError, match=r"t.csv is not UTF-8 text \(byte 12\)"):
        read_table(tmp_path / "t.csv")


def test_onehot_takes_integers_and_ignores_other_columns():
    table = {"b": ["0", "1", "0"], "weight": ["1", "1", "1"], "a": ["1", "0", "0.0"], "c": ["0", "0", "1.0"]}
    assert onehot(table, Path("t.csv"), ["x", "y", "z"], ("A", "B", "C")) == [0, 1, 2]


def test_lists_keep_the_first_line_and_spaces_in_names(tmp_path):
    (tmp_path / "l.txt").write_bytes("\ufeffBecker's Nevus (1)/a b.jpg 3\r\n\r\nx.jpg\t0\r\n".encode())
    assert read_list(tmp_path / "l.txt") == [("Becker's Nevus (1)/a b.jpg", 3), ("x.jpg", 0)]


@pytest.mark.parametrize(
    ("text", "mend"), [("image,label\n", "Add them"), ("image,label\na.png\n", "Correct that line")]
)
def test_a_table_of_ones_own_is_not_to_be_downloaded_again(text, mend, tmp_path):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(UserError, match=mend):
        read_table(tmp_path / "mine.csv")
