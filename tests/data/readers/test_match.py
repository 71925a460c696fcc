"""The file that a table means is found however the two spell it, and never guessed."""

from __future__ import annotations

import unicodedata

import pytest

from ltmed.data.readers._masks import masks_among, same_names
from ltmed.data.readers._match import ImageFiles
from ltmed.errors import UserError
from tests.data.readers.folder_trees import put


def find(root, names, hints=None, classes=(), include=()):
    files = ImageFiles(root, include)
    return files.find(names, lambda row: f"line {row + 2}", lambda row: hints[row] if hints else (), classes)


@pytest.mark.parametrize(
    ("files", "names", "expected"),
    [
        (["i/a.png", "i/b.png"], ["i/a.png", "i/b"], ["i/a.png", "i/b.png"]),
        (["i/a.png", "i/b.png"], ["a.png", "./i/b.png"], ["i/a.png", "i/b.png"]),
        (["i/a.PNG"], ["I\\A.png"], ["i/a.PNG"]),
        (["i/a.jpg"], ["a.png"], ["i/a.jpg"]),
        (["i/a.dcm", "i/b"], ["a", "b.dcm"], ["i/a.dcm", "i/b"]),
        (["i/patient.1.png"], ["patient.1"], ["i/patient.1.png"]),
        (["i/1.2.840.10"], ["1.2.840.10"], ["i/1.2.840.10"]),
        (["train/p1/v.jpg", "train/p2/v.jpg"], ["X-v1.0/train/p1/v.jpg", "X-v1.0/train/p2/v.jpg"],
         ["train/p1/v.jpg", "train/p2/v.jpg"]),
        (["images_1/images/x.png", "images_2/images/y.png"], ["/home/me/images/x.png", "/home/me/images/y.png"],
         ["images_1/images/x.png", "images_2/images/y.png"]),
        (["x/1.png", "y/1.png"], ["C:\\data\\x\\1.png", "C:\\data\\y\\1.png"], ["x/1.png", "y/1.png"]),
        (["x/1.png", "y/1.png"], ["../input/set/x/1.png", "../input/set/y/1.png"], ["x/1.png", "y/1.png"]),
        (["deep/x/1.png", "deep/y/1.png"], ["x/1.png", "y/1.png"], ["deep/x/1.png", "deep/y/1.png"]),
        (["images/1.png", "masks/1.png"], ["1.png"], ["images/1.png"]),
        (["i/I_1_downsampled.jpg", "i/I_2_downsampled.jpg"], ["I_1", "I_2"],
         ["i/I_1_downsampled.jpg", "i/I_2_downsampled.jpg"]),
        (["i/I_1.jpg", "i/I_2.jpg"], ["I_1_orig.png", "I_2_orig.png"], ["i/I_1.jpg", "i/I_2.jpg"]),
        (["i/scan_1.jpg", "i/scan_2.jpg"], ["1", "2"], ["i/scan_1.jpg", "i/scan_2.jpg"]),
    ],
)  # fmt: skip
def test_names_of_many_kinds(tmp_path, files, names, expected):
    put(tmp_path, *files)
    assert find(tmp_path, names).paths == expected


@pytest.mark.parametrize(
    ("files", "names", "expected"),
    [
        # The training image is missing, and the test image of its name is another one.
        (["train/2.png", "test/1.png"], ["train/1.png", "train/2.png", "test/1.png"],
         [None, "train/2.png", "test/1.png"]),
        (["test/1.png"], ["train/1.png"], [None]),
        (["PNEUMONIA/1.png"], ["NORMAL/1.png"], [None]),
        (["i/a_mask.png", "i/b_mask.png"], ["a", "b"], [None, None]),
        (["i/img10.png", "i/img20.png"], ["img1", "img2"], [None, None]),
        (["i/a.png"], ["b.png"], [None]),
        (["i/a.txt"], ["a"], [None]),
        (["i/a_1.png", "i/b_2.png"], ["a", "b"], [None, None]),
    ],
)  # fmt: skip
def test_missing_files_are_reported(tmp_path, files, names, expected):
    put(tmp_path, *files)
    assert find(tmp_path, names, classes=("NORMAL", "PNEUMONIA")).paths == expected


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["u/a.png", "v/a.png"], ["a.png"]),
        (["u/a.png", "v/A.png"], ["a.png"]),
        (["u/a.png", "u/a.jpg"], ["a"]),
        (["u/A.png", "u/A.PNG"], ["a"]),
        (["z/1.png"], ["x/1.png", "y/1.png"]),
    ],
)
def test_what_fits_several_files_is_refused(tmp_path, files, names):
    put(tmp_path, *files)
    with pytest.raises(UserError, match=r"line \d: .*(as well as|both fit)"):
        find(tmp_path, names)


def test_case_decides_between_files_of_one_folder(tmp_path):
    put(tmp_path, "i/a.png", "i/A.png", "i/b.png")
    assert find(tmp_path, ["a.png", "A.png", "i/A.png", "i/a", "B.png"]).paths == [
        "i/a.png", "i/A.png", "i/A.png", "i/a.png", "i/b.png"
    ]  # fmt: skip


def test_class_and_part_decide_between_equal_names(tmp_path):
    put(tmp_path, "train/polyps/1.jpg", "train/cecum/1.jpg", "test/polyps/1.jpg")
    hints = [("polyps", "train"), ("cecum", ""), ("Polyps", "test")]
    assert find(tmp_path, ["1.jpg"] * 3, hints).paths == [
        "train/polyps/1.jpg", "train/cecum/1.jpg", "test/polyps/1.jpg"
    ]  # fmt: skip


FOUND = ("tumour/1.jpg", "train/tumour/1.jpg", "images/1.jpg")


@pytest.mark.parametrize(
    ("files", "name", "hint"),
    [
        (["normal/1.jpg", "tumour/1.jpg", "normal/2.jpg"], "2.jpg", ("tumour", "")),
        (["train/normal/2.jpg", "test/tumour/1.jpg", "train/tumour/1.jpg"], "2.jpg", ("normal", "test")),
        # Of two files of the name, the one that fits better is not the right one either.
        (["train/normal/2.jpg", "test/normal/2.jpg", "train/tumour/1.jpg"], "2.jpg", ("tumour", "train")),
        (["images/1.jpg", "masks/1.jpg", "masks/2.jpg"], "2.jpg", ("tumour", "")),
    ],
)
def test_a_missing_image_is_not_replaced_by_one_of_another_class_or_part(tmp_path, files, name, hint):
    put(tmp_path, *files)
    actual = find(tmp_path, [name, "1.jpg"], [hint, ("tumour", "train")], classes=("normal", "tumour"))
    assert actual.paths == [None, next(path for path in files if path in FOUND)]


def test_images_that_have_only_a_mask_are_reported(tmp_path):
    put(tmp_path, "images/1.jpg", "masks/1.png", "masks/2.png")
    remark = "1 of 2 images are only in folders of masks, and count as missing ('2': masks/2.png)"
    assert find(tmp_path, ["1", "2"]).remarks == [remark]
    assert find(tmp_path, ["1", "2"], include=("masks/*",)).paths == ["masks/1.png", "masks/2.png"]
    put(tmp_path, "3.png")  # At its listed path, so that masks alone are looked for.
    assert find(tmp_path, ["3.png", "2.png"]).paths == ["3.png", None]
    assert find(tmp_path, ["masks/1.png", "2.png"]).paths == ["masks/1.png", "masks/2.png"]


def test_numbers_with_other_zeros_are_not_those_of_another_class(tmp_path):
    put(tmp_path, "normal/002.jpg", "normal/003.jpg", "tumour/001.jpg", "tumour/003.jpg")
    actual = find(tmp_path, ["1", "2"], [("tumour",), ("tumour",)], classes=("normal", "tumour"))
    assert actual.paths == ["tumour/001.jpg", None]


def test_folders_that_are_older_than_the_table_are_reported(tmp_path):
    put(tmp_path, "train/normal/a.jpg", "train/tumour/b.jpg", "test/normal/c.jpg", "masks/a.jpg")
    hints = [("tumour", "train"), ("tumour", "train"), ("normal", "train")]
    actual = find(tmp_path, ["a.jpg", "b.jpg", "c.jpg"], hints, classes=("normal", "tumour"))
    assert actual.paths == ["train/normal/a.jpg", "train/tumour/b.jpg", "test/normal/c.jpg"]
    assert actual.remarks == [
        "2 of 3 images are in folders of another class or part ('a.jpg' of tumour, train: train/normal/a.jpg)"
    ]


def test_composed_and_decomposed_names_are_one(tmp_path):
    put(tmp_path, unicodedata.normalize("NFD", "é/Nävus.png"), unicodedata.normalize("NFC", "ü.png"))
    names = [unicodedata.normalize("NFC", "é/Nävus.png"), unicodedata.normalize("NFD", "ü.png")]
    actual = find(tmp_path, names).paths
    assert all(path and (tmp_path / path).is_file() for path in actual)
    assert [unicodedata.normalize("NFC", path or "") for path in actual] == ["é/Nävus.png", "ü.png"]


def test_absolute_paths_below_the_folder_and_elsewhere(tmp_path):
    put(tmp_path / "data", "x/a.png", "x/b.png")
    put(tmp_path / "other", "a.png")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    names = [f"{tmp_path}/data/x/a.png", f"{tmp_path}/other/a.png", f"{tmp_path}/link/x/b.png"]
    assert find(tmp_path / "data", names).paths == ["x/a.png", f"{tmp_path}/other/a.png", f"{tmp_path}/link/x/b.png"]
    assert find(tmp_path / "link", names[:1]).paths == ["x/a.png"]


def test_differences_are_reported_once(tmp_path):
    put(tmp_path, "i/a.jpg", "i/b.jpg", "i/c.png")
    actual = find(tmp_path, ["a.png", "b.png", "set/i/c.png"])
    assert actual.paths == ["i/a.jpg", "i/b.jpg", "i/c.png"]
    assert len(actual.remarks) == 2
    assert "2 of 3 images have another extension" in actual.remarks[0]
    assert not find(tmp_path, ["i/a.jpg", "b"]).remarks


def test_files_can_be_left_out(tmp_path):
    put(tmp_path, "p/1.png", "q/1.png")
    assert find(tmp_path, ["1.png"], include=("p/*",)).paths == ["p/1.png"]


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["c/images/1.png", "c/masks/1.png", "c/masks/2.png"], {"c/masks/1.png", "c/masks/2.png"}),
        (["c/1.png", "c/mask/1.png"], {"c/mask/1.png"}),
        (["c/p1/images/x/1.png", "c/p1/Segmentations/x/1.png"], {"c/p1/Segmentations/x/1.png"}),
        (["c/b (1).png", "c/b (1)_mask.png", "c/b (1)_mask_1.png"], {"c/b (1)_mask.png", "c/b (1)_mask_1.png"}),
        (["c/I_1.jpg", "c/I_1_segmentation.png", "c/I_2_segmentation.png"], {"c/I_1_segmentation.png"}),
        (["mask/1.png", "mask/2.png"], set()),
        (["c/masks/1.png"], set()),
        (["c/with_mask_1.png", "c/with_mask_2.png"], set()),
    ],
)
def test_masks_are_told_from_images(images, masks):
    assert masks_among(images, depth=1) == masks


def test_versions_beside_the_images_are_told_from_folders_of_patients():
    names = ["1.png", "2.png", "3.png"]
    assert same_names([f"c/{folder}/{name}" for folder in ("images", "enhanced") for name in names], 1) == (
        "c/images", "c/enhanced"
    )  # fmt: skip
    assert same_names([f"c/{folder}/{name}" for folder in ("p1", "p2") for name in names], 1) is None


@pytest.mark.parametrize(
    ("files", "names", "expected"),
    [
        (["i/00007.png", "i/00012.png"], ["7", "12"], ["i/00007.png", "i/00012.png"]),
        (["i/7.png", "i/12.png"], ["007", "012"], ["i/7.png", "i/12.png"]),
        (["i/007.png", "i/100.png"], ["7", "100"], ["i/007.png", "i/100.png"]),
        (["i/7.png", "i/007.png"], ["7", "07"], ["i/7.png", None]),
        (["i/70.png"], ["7"], [None]),
        (["i/007.png", "x"], ["7", "x"], [None, "x"]),
    ],
)
def test_leading_zeros_that_a_program_took_away(tmp_path, files, names, expected):
    put(tmp_path, *files)
    assert find(tmp_path, names).paths == expected


def test_two_files_that_differ_in_composition_alone(tmp_path):
    one, other = (unicodedata.normalize(form, "h\u00e4.png") for form in ("NFC", "NFD"))
    put(tmp_path, one, other)
    assert find(tmp_path, [one, other]).paths == [one, other]
