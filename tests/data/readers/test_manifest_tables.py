"""Label tables as people have them, from the command line to the manifest."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ltmed.data.splits.protocols import grouped, official
from ltmed.errors import UserError
from tests.data.readers.reading import classes, labels, module, put, read, together, write

NAMES = [f"a{n}.jpg" for n in range(24)]


def table(root, header: str, line, file: str = "manifest.csv", names=NAMES):
    """A table with a row per image, and the images."""
    put(root, *names)
    write(root / file, header, *(line(n, name, "xy"[n % 2]) for n, name in enumerate(names)))
    return root


def manifest(root, *overrides: str):
    return read("manifest", root, *overrides)


def test_labels_that_yaml_reads_as_booleans(tmp_path):
    table(tmp_path, "image,label", lambda n, name, label: f"{name},{'FALSE' if label == 'x' else 'TRUE'}")
    assert classes(manifest(tmp_path, "dataset.classes=[TRUE,FALSE]")[0]) == {"TRUE": 12, "FALSE": 12}
    data = module("manifest", tmp_path, "dataset.classes=[FALSE,TRUE]", "dataset.head=[TRUE]")
    assert data.tiers["head"] == [1]


def test_numbers_beside_numbers_are_names(tmp_path):
    table(tmp_path, "image,label", lambda n, name, label: f"{name},{n % 6}")
    with pytest.raises(UserError, match=r"line 2: '0' is not a class \(4 of 24 rows"):
        manifest(tmp_path, "dataset.classes=[1,2,3,4,5]")
    assert classes(manifest(tmp_path, "dataset.classes=[5,4,3,2,1,0]")[0]) == {str(n): 4 for n in (5, 4, 3, 2, 1, 0)}


def test_several_findings_are_refused_with_their_number(tmp_path):
    findings = ["Mass", "Nodule", "Mass|Nodule", "No Finding"]
    table(
        tmp_path, "Image Index,Finding Labels,Patient ID", lambda n, name, label: f"{name},{findings[n % 4]},{n // 4}"
    )
    with pytest.raises(UserError, match=r"line 4: 'Mass\|Nodule'.*6 of 24 rows have several labels"):
        manifest(tmp_path)


def test_columns_of_ones_with_several_are_refused_with_their_number(tmp_path):
    table(tmp_path, "image,A,B,C", lambda n, name, label: f"{name},1,{n % 2},0")
    with pytest.raises(UserError, match="line 3: .*12 of 24 rows are like that, 12 of them with several classes"):
        manifest(tmp_path, "dataset.label_columns=[A,B,C]")


def test_names_of_columns_and_classes_may_be_numbers(tmp_path):
    table(tmp_path, "image,0,1", lambda n, name, label: f"{name},{n % 2},{1 - n % 2}")
    assert manifest(tmp_path, "dataset.label_columns=[0,1]")[0].classes == ("0", "1")
    table(tmp_path, "2019,2020", lambda n, name, label: f"{name},{label}")
    assert len(manifest(tmp_path, "dataset.columns.image=2019", "dataset.columns.label=2020")[0]) == 24


def test_patients_stay_together_where_lesions_are_unknown(tmp_path):
    table(
        tmp_path,
        "isic_id,target,patient_id,lesion_id",
        lambda n, name, label: f"{name},{'xy'[n // 2 % 2]},patient{n // 2},{f'lesion{n}' if n % 5 == 0 else ''}",
    )
    actual, _ = manifest(tmp_path)
    assert actual.group_name == "patient"
    assert together(actual) == {frozenset(NAMES[n : n + 2]) for n in range(0, 24, 2)}
    split = grouped(actual, 0)
    assert split.leakage(actual) == {**(split.leakage(actual) or {}), "leaking": 0}
    by_patient = {
        part: {int(image[1:-4]) // 2 for image in np.array(actual.images)[rows]} for part, rows in split.parts.items()
    }
    assert not by_patient["train"] & by_patient["test"]
    assert not by_patient["train"] & by_patient["val"]


def test_images_without_an_id_are_alone_and_counted(tmp_path):
    odd = ["-1", "nan", "unknown", ""]
    table(tmp_path, "image,label,patient", lambda n, name, label: f"{name},{label},{odd[n] if n < 4 else n // 4}")
    actual, messages = manifest(tmp_path)
    assert len(together(actual)) == 4 + 5
    assert "4 of 24 images have no patient; each counts as a patient of its own" in messages


def test_an_id_column_that_is_recognised_without_being_named(tmp_path):
    table(tmp_path, "image,label,Patient ID", lambda n, name, label: f"{name},{label},{n // 4}")
    assert len(together(manifest(tmp_path)[0])) == 6
    table(tmp_path, "image,label,who", lambda n, name, label: f"{name},{label},{n // 4}")
    with pytest.raises(UserError, match="dataset.columns.group=NAME"):
        module("manifest", tmp_path, "split=grouped")
    assert len(together(manifest(tmp_path, "dataset.columns.group=who")[0])) == 6


def test_patients_in_file_names_and_in_a_column_connect(tmp_path):
    names = [f"p{n // 4}_{n}.jpg" for n in range(24)]
    table(
        tmp_path,
        "image,label,lesion",
        lambda n, name, label: f"{name},{label},{'L' if n in (3, 4) else ''}",
        names=names,
    )
    actual, _ = manifest(tmp_path, "dataset.group_pattern='(p[0-9]+)_'")
    assert len(together(actual)) == 5
    assert frozenset(names[:8]) in together(actual)


@pytest.mark.parametrize("second", ["", "lesion_id,"])
def test_a_group_in_two_parts_is_refused(tmp_path, second):
    table(
        tmp_path,
        f"image,label,part,patient,{second}x",
        lambda n, name, label: f"{name},{label},{'train' if n < 18 else 'test'},{n // 4},{f'l{n},' if second else ''}1",
    )
    with pytest.raises(UserError, match=r"line 20.*in part test.*same patient.*in part train.*line 18\)"):
        manifest(tmp_path)
    actual, _ = manifest(tmp_path, "dataset.allow_group_leakage=true")
    assert official(actual, 0).leakage(actual) is not None


def test_two_images_a_row_are_one_group(tmp_path):
    derm, clinic = [f"d{n}.jpg" for n in range(20)], [f"c{n}.jpg" for n in range(20)]
    put(tmp_path, *derm, *clinic)
    lines = [f"{n // 2},{'ab'[n // 2 % 2]},{derm[n]},{'' if n == 3 else clinic[n]}" for n in range(20)]
    write(tmp_path / "manifest.csv", "case_num,diagnosis,derm,clinic", *lines)
    actual, messages = manifest(tmp_path, "dataset.columns.image=[derm,clinic]", "dataset.columns.group=case_num")
    assert len(actual) == 39
    assert "1 cell of images left out" in messages
    assert frozenset(["d0.jpg", "c0.jpg", "d1.jpg", "c1.jpg"]) in together(actual)
    write(tmp_path / "manifest.csv", "diagnosis,derm,clinic", *(line.partition(",")[2] for line in lines))
    actual, _ = manifest(tmp_path, "dataset.columns.image=[derm,clinic]")
    assert frozenset(["d0.jpg", "c0.jpg"]) in together(actual)
    assert labels(actual)["c1.jpg"] == "a"
    write(tmp_path / "manifest.csv", "diagnosis,derm,clinic", "a,d0.jpg,c0.jpg", "b,,")
    with pytest.raises(UserError, match="line 3: no image"):
        manifest(tmp_path, "dataset.columns.image=[derm,clinic]")


TABLES = {"train": "train.csv", "val": "validate.csv", "test": "test.csv"}


def parted(root):
    """A table per part; images of one name in every part's folder."""
    for part, file in TABLES.items():
        put(root, *(f"{part}/{n}.jpg" for n in range(8)))
        write(root / file, "filename,class,PatientID", *(f"{n}.jpg,{'ab'[n % 2]},{part}{n // 4}.0" for n in range(8)))
    return root


@pytest.mark.parametrize(
    "word",
    ["dataset.file={train: train.csv, val: validate.csv, test: test.csv}",
     "dataset.file=[train.csv,validate.csv,test.csv]",
     "dataset.file={Training: train.csv, validation: validate.csv, Test: test.csv}"],
)  # fmt: skip
def test_one_table_per_part(tmp_path, word):
    actual, _ = manifest(parted(tmp_path), word)
    assert actual.parts is not None
    assert actual.parts.tolist() == [image.split("/")[0] for image in actual.images]
    assert len(together(actual)) == 6


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("dataset.file=[train.csv,other.csv]", r"\{train:train.csv,PART:other.csv\}"),
        ("dataset.file=[train.csv,training.csv]", "does not say|do not say"),
        ("dataset.file={trian: train.csv}", "'trian' is not a part of a split. Did you mean 'train'"),
        ("dataset.file={train: train.csv, test: none.csv}", "none.csv does not exist. There is bare.csv, test.csv"),
        ("dataset.file={train: train.csv, test: bare.csv}", "bare.csv has no column 'label'"),
        ("dataset.file={train: train.csv, test: train.csv}", "names one table for two parts"),
    ],
)
def test_mistakes_in_tables_of_parts(tmp_path, word, message):
    write(parted(tmp_path) / "bare.csv", "filename", "0.jpg")
    with pytest.raises(UserError, match=message):
        manifest(tmp_path, word)


def test_patients_are_one_kind_of_id_in_two_tables_that_name_them_differently(tmp_path):
    tables = "dataset.file={train: train.csv, test: test.csv}"
    table(tmp_path, "image,label,Patient ID", lambda n, name, label: f"{name},{label},{n}", "train.csv", NAMES[:12])
    table(tmp_path, "image,label,patient", lambda n, name, label: f"{name},{label},{n + 12}", "test.csv", NAMES[12:])
    actual, warned = manifest(tmp_path, tables)
    assert len(np.unique(actual.groups)) == 24
    assert "test.csv: the ids of the column 'patient' are taken for those of 'patient id'" in warned
    table(tmp_path, "image,label,patient", lambda n, name, label: f"{name},{label},{n + 5}", "test.csv", NAMES[12:])
    with pytest.raises(UserError, match="of the same patient is in part train.*; 7 patients are in several parts"):
        manifest(tmp_path, tables)


def test_columns_of_two_units_or_of_one_table_are_different_ids(tmp_path):
    tables = "dataset.file={train: train.csv, test: test.csv}"
    header, other = "image,label,patient_id,patient_no", "image,label,lesion_id"
    table(tmp_path, header, lambda n, name, label: f"{name},{label},{n},{n + 20}", "train.csv", NAMES[:12])
    table(tmp_path, other, lambda n, name, label: f"{name},{label},{n}", "test.csv", NAMES[12:])
    assert len(np.unique(manifest(tmp_path, tables)[0].groups)) == 24


def test_one_file_with_two_labels_by_a_link_is_refused(tmp_path):
    table(tmp_path, "image,label,group", lambda n, name, label: f"{name},{label},{n}")
    (tmp_path / "a2.jpg").unlink()
    (tmp_path / "a2.jpg").symlink_to("a0.jpg")
    assert "1 image the same file as another one, by links" in manifest(tmp_path)[1]
    (tmp_path / "a2.jpg").unlink()
    (tmp_path / "a2.jpg").symlink_to("a1.jpg")
    with pytest.raises(UserError, match=r"a1.jpg \(y\) and a2.jpg \(x\) are one file, by a link"):
        manifest(tmp_path)


def test_an_image_in_two_tables_is_refused(tmp_path):
    put(tmp_path, *NAMES)
    write(tmp_path / "train.csv", "image,label", *(f"{name},{'xy'[n % 2]}" for n, name in enumerate(NAMES[:12])))
    write(tmp_path / "test.csv", "image,label", *(f"{name},{'xy'[n % 2]}" for n, name in enumerate(NAMES[:2])))
    with pytest.raises(UserError, match=r"has the part 'test' here and 'train' before .*train.csv, line 2\)"):
        manifest(tmp_path, "dataset.file=[train.csv,test.csv]")


def test_rows_of_one_image_are_one(tmp_path):
    table(tmp_path, "image,label,x", lambda n, name, label: f"{name},{label},1")
    with (tmp_path / "manifest.csv").open("a") as file:
        file.write("a1.jpg,y,2\na1,y,3\na3.jpg,y,1\n")
    actual, messages = manifest(tmp_path)
    assert len(actual) == 24
    assert "3 of 27 rows repeat an image with the same label" in messages
    with (tmp_path / "manifest.csv").open("a") as file:
        file.write("a1.jpg,x,2\na2.jpg,y,2\n")
    with pytest.raises(UserError, match="line 29: .*2 of 24 images have several labels"):
        manifest(tmp_path)


def test_missing_images_stop_or_are_left_out_and_counted(tmp_path):
    table(tmp_path, "image,label", lambda n, name, label: f"{name},{label}")
    for name in NAMES[:3]:
        (tmp_path / name).unlink()
    with pytest.raises(
        UserError, match=r"line 2: 3 of 24 listed images are not under .* \(x 2, y 1\).*on_bad_image=skip"
    ):
        manifest(tmp_path)
    actual, messages = manifest(tmp_path, "dataset.on_bad_image=skip")
    assert classes(actual) == {"x": 10, "y": 11}
    assert "3 of 24 listed images are not under" in messages
    for name in NAMES[3:]:
        (tmp_path / name).unlink()
    with pytest.raises(UserError, match="24 of 24"):
        manifest(tmp_path, "dataset.on_bad_image=skip")


def test_spellings_of_parts(tmp_path):
    texts = ["train", "Validate", "dev", "TEST", "testing", "train_set", ""]
    table(tmp_path, "image,label,split", lambda n, name, label: f"{name},{label},{texts[n % 7]}")
    actual, _ = manifest(tmp_path)
    assert actual.parts is not None
    expected = ["train", "val", "val", "test", "test", "train", ""]
    by_name = dict(zip(actual.images, actual.parts.tolist(), strict=True))
    assert [by_name[name] for name in NAMES[:7]] == expected


@pytest.mark.parametrize(
    ("prefix", "change"),
    [("Set-v1.0-small/", lambda name: name), ("/data/me/Set/", lambda name: name.replace(".jpg", ".png")),
     ("", lambda name: name.removesuffix(".jpg")), ("./", lambda name: name.upper())],
)  # fmt: skip
def test_paths_of_another_machine_and_another_extension(tmp_path, prefix, change):
    names = [f"train/p{n}/view.jpg" for n in range(24)]
    table(tmp_path, "Path,label", lambda n, name, label: f"{prefix}{change(name)},{label}", names=names)
    actual, messages = manifest(tmp_path)
    assert labels(actual) == {name: "xy"[n % 2] for n, name in enumerate(names)}
    assert ("in other folders" in messages) == (len(prefix) > 2 and ".png" not in change("a.jpg"))
    assert ("another extension" in messages) == (change("a.jpg") == "a.png")


def test_one_name_under_several_classes(tmp_path):
    put(
        tmp_path,
        "polyps/0003.jpg",
        "cecum/0003.jpg",
        *(f"{name}/{name}{n}.jpg" for name in ("polyps", "cecum") for n in range(4)),
    )
    lines = [f"{name}{n}.jpg,{name}" for name in ("polyps", "cecum") for n in range(4)]
    write(tmp_path / "manifest.csv", "Filename,Class", "0003.jpg,polyps", "0003.jpg,cecum", *lines)
    actual, _ = manifest(tmp_path)
    assert all(image.startswith(f"{label}/") for image, label in labels(actual).items())
    assert len(actual) == 10


def test_names_that_differ_in_case_alone_are_two_images(tmp_path):
    put(tmp_path, "a.png", "A.png", "b.png")
    write(tmp_path / "manifest.csv", "image,label", "a.png,x", "A.png,y", "b.png,x")
    assert labels(manifest(tmp_path)[0]) == {"a.png": "x", "A.png": "y", "b.png": "x"}


def test_dicom_and_files_without_extension_below_the_folder(tmp_path):
    put(tmp_path, *(f"s{n % 2}/IM{n:04d}{'.dcm' if n % 3 else ''}" for n in range(12)))
    write(tmp_path / "manifest.csv", "image,label", *(f"s{n % 2}/IM{n:04d},{'xy'[n % 2]}" for n in range(12)))
    assert len(manifest(tmp_path)[0]) == 12
    write(tmp_path / "manifest.csv", "image,label", *(f"IM{n:04d}.dcm,{'xy'[n % 2]}" for n in range(12)))
    assert len(manifest(tmp_path)[0]) == 12


def test_another_format_from_the_command_line(tmp_path):
    put(tmp_path, *NAMES)
    rows = [{"image": name, "label": "xy"[n % 2]} for n, name in enumerate(NAMES)]
    (tmp_path / "labels.json").write_text(json.dumps(rows))
    assert classes(manifest(tmp_path, "dataset.file=labels.json")[0]) == {"x": 12, "y": 12}
    with pytest.raises(UserError, match="There is labels.json: say dataset.file=NAME"):
        manifest(tmp_path)
    (tmp_path / "labels.json").write_text(json.dumps([{**row, "label": ["x", "y"]} for row in rows]))
    with pytest.raises(UserError, match="24 of 24 rows have several labels"):
        manifest(tmp_path, "dataset.file=labels.json")


def test_only_the_files_that_are_meant(tmp_path):
    table(
        tmp_path, "image,label", lambda n, name, label: f"{name},{label}", names=[f"images/{n}.jpg" for n in range(9)]
    )
    put(tmp_path, *(f"other/{n}.jpg" for n in range(9)))
    write(tmp_path / "manifest.csv", "image,label", *(f"{n}.jpg,{'xy'[n % 2]}" for n in range(9)))
    with pytest.raises(UserError, match="'0.jpg' is images/0.jpg as well as other/0.jpg"):
        manifest(tmp_path)
    assert all(image.startswith("images/") for image in manifest(tmp_path, "dataset.include=images/*")[0].images)


@pytest.mark.parametrize(
    ("one", "zero"), [("True", "False"), ("yes", "no"), ("1", ""), ("1.0", "0.0"), ('"1,0"', '"0,0"')]
)
def test_spellings_of_one_hot_columns(tmp_path, one, zero):
    table(tmp_path, "image,A,B", lambda n, name, label: f"{name},{(one, zero)[n % 2]},{(zero, one)[n % 2]}")
    actual, _ = manifest(tmp_path, "dataset.label_columns=[A,B]")
    assert labels(actual) == {name: "AB"[n % 2] for n, name in enumerate(NAMES)}


def test_a_row_of_columns_of_ones_without_a_one_is_refused(tmp_path):
    table(tmp_path, "image,A,B", lambda n, name, label: f"{name},{'' if n == 3 else 1},")
    with pytest.raises(UserError, match="line 5: .*not exactly one class"):
        manifest(tmp_path, "dataset.label_columns=[A,B]")
