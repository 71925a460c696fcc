"""Chest X-rays: COVIDx lists of every version, RSNA with COVID images, class folders."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltmed.data.readers._chestxray import parse
from ltmed.data.readers.chestxray_covid import COUNTS, NAMES, ChestXrayCOVID
from ltmed.data.splits.protocols import grouped, official
from ltmed.errors import UserError
from tests.data.readers.folder_trees import classes_of, put, reader, together, write

pytestmark = [
    pytest.mark.filterwarnings("ignore:chestxray_covid.*images, not"),
    pytest.mark.filterwarnings("ignore:chestxray_covid.*different sources"),
    pytest.mark.filterwarnings("ignore:chestxray_covid.*no patient id"),
]
TRAIN = [
    "3 SARS-10.1148-Fig8a-day0.jpeg pneumonia cohen",
    "3 SARS-10.1148-Fig8b-day5.jpeg pneumonia cohen",
    "c1f7889a c1f7889a.png pneumonia rsna",
    "c1f7889a c1f7889a.png pneumonia rsna",
    "COVID 1 COVID(1).png COVID-19 sirm",
    "COVID 1 COVID-19(2).JPG COVID-19 sirm",
    "ANON191 anon-a.jpg COVID-19 actmed",
    "77 77.png normal rnsa",
    "78 78.png normal rsna",
]
TEST = ["79 79.png normal", "ANON191 anon-b.PNG COVID-19 actmed", "5 five.png pneumonia rsna"]


def read(root: Path, version: str | None = None):
    return reader(ChestXrayCOVID, version=version).read(root)


def covidx(root: Path, version: str = "5", train=TRAIN, test=TEST) -> Path:
    write(root / f"labels/train_COVIDx{version}.txt", *train)
    write(root / f"labels/test_COVIDx{version}.txt", *test)
    for part, lines in (("train", train), ("test", test)):
        for line in lines:
            name = next(text for text in line.split() if re.search(r"\.(png|jpe?g)$", text, re.IGNORECASE))
            put(root, f"data/{part}/{name}")
    return root


def test_lines_are_parsed_from_the_right(tmp_path):
    lines = parse(write(tmp_path / "l.txt", *TRAIN, "", *TEST, end="\r\n"))
    assert len(lines) == 12
    assert lines[4][1:] == ("COVID 1", "COVID(1).png", "COVID-19", "sirm")
    assert lines[7][1:] == ("77", "77.png", "normal", "rsna")
    assert lines[9][1:] == ("79", "79.png", "normal", "unknown")
    assert lines[9].where.endswith("l.txt, line 11")


def test_covidx(tmp_path):
    manifest = read(covidx(tmp_path))
    assert manifest.classes == ("normal", "pneumonia", "COVID-19")
    assert classes_of(manifest) == {
        "data/train/77.png": "normal",
        "data/train/78.png": "normal",
        "data/test/79.png": "normal",
        "data/train/SARS-10.1148-Fig8a-day0.jpeg": "pneumonia",
        "data/train/SARS-10.1148-Fig8b-day5.jpeg": "pneumonia",
        "data/train/c1f7889a.png": "pneumonia",
        "data/test/five.png": "pneumonia",
        "data/train/COVID(1).png": "COVID-19",
        "data/train/COVID-19(2).JPG": "COVID-19",
        "data/train/anon-a.jpg": "COVID-19",
        "data/test/anon-b.PNG": "COVID-19",
    }
    assert together(manifest) == {
        frozenset(("data/train/SARS-10.1148-Fig8a-day0.jpeg", "data/train/SARS-10.1148-Fig8b-day5.jpeg")),
        frozenset(("data/train/COVID(1).png", "data/train/COVID-19(2).JPG")),
        frozenset(("data/train/anon-a.jpg", "data/test/anon-b.PNG")),
    }
    source = dict(zip(manifest.images, manifest.sources, strict=True))
    assert source["data/train/77.png"] == "rsna"
    assert source["data/test/79.png"] == "unknown"
    split = official(manifest, 0, val=0.2)
    assert {manifest.images[row].split("/")[1] for row in split.test} == {"test"}
    everything = official(replace(manifest, groups=np.arange(len(manifest))), 0, val=0.3)
    held_out = any(manifest.images[row] == "data/train/anon-a.jpg" for row in everything.val)
    assert everything.leakage(manifest)["leaking"] == (0 if held_out else 1)


@pytest.mark.parametrize(
    ("lists", "codes"),
    [
        ((["1 a.png negative x", "2 b.jpg positive x"], ["3 c.png positive"]), ("negative", "positive")),
        ((["1 a.png level1", "2 b.jpg level2"], ["3 c.png level1"]), ("level1", "level2")),
        (
            (["1 a.png bacteria", "2 b.jpg viral", "4 d.png COVID-19"], ["3 c.png normal"]),
            ("normal", "bacteria", "viral", "COVID-19"),
        ),
    ],
)
def test_other_classes(tmp_path, lists, codes):
    manifest = read(covidx(tmp_path, "6", *lists))
    assert manifest.classes == codes
    assert all(code in NAMES for code in codes)


def test_kaggles_layout_and_the_first_lists(tmp_path):
    for version, names in {"kaggle": "{}.txt", "first": "{}_split.txt"}.items():
        root = tmp_path / version
        write(root / names.format("train"), *TRAIN)
        write(root / names.format("test"), "79 79.png normal", "9 77.png COVID-19")
        put(root, *{f"train/{line.split()[-3]}" for line in TRAIN}, "test/79.png", "test/77.png")
        manifest = read(root, version)
        # Files with one name in both parts are two images.
        assert classes_of(manifest)["train/77.png"] == "normal"
        assert classes_of(manifest)["test/77.png"] == "COVID-19"
        assert manifest.images == read(root).images


def test_one_of_several_versions_is_chosen(tmp_path):
    for version in ("", "2", "9A", "_CXR-3A"):
        covidx(tmp_path, version)
    with pytest.raises(UserError, match="has the lists of COVIDx 1, 2, 9A, CXR-3A. Choose one, .* dataset.version=1"):
        read(tmp_path)
    assert {len(read(tmp_path, version)) for version in ("1", "2", "9a", "CXR-3A")} == {11}
    with pytest.raises(UserError, match="no lists of COVIDx 9. Did you mean '9A'"):
        read(tmp_path, "9")
    (tmp_path / "labels/test_COVIDx2.txt").unlink()
    with pytest.raises(UserError, match="has train_COVIDx2.txt but not its test list"):
        read(tmp_path, "2")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("80 80.png Normal", "train_COVIDx5.txt, line 10: '80 80.png Normal' is not 'patient file class"),
        ("80.png normal", "line 10"),
        ("80 80 normal", "line 10"),
        ("80 80.png positive bimcv", "line 10: 'positive' among the classes normal, pneumonia, COVID-19.*COVIDx9A"),
        ("77 77.png pneumonia", "77.png is pneumonia in train, but normal in train before"),
        ("80 80.png normal ricord", r"1 of 13 listed images are not under .*\(normal of ricord 1\): 80.png"),
    ],
)
def test_mistakes_in_lists_are_named(tmp_path, line, message):
    path = covidx(tmp_path) / "labels/train_COVIDx5.txt"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_one_file_in_both_parts_is_refused(tmp_path):
    covidx(tmp_path)
    (tmp_path / "data/test/79.png").unlink()
    path = tmp_path / "labels/train_COVIDx5.txt"
    path.write_text(path.read_text() + "79 79.png normal rsna\n")
    put(tmp_path, "data/train/79.png")
    with pytest.raises(UserError, match="79.png is normal in test, but normal in train before"):
        read(tmp_path)


@pytest.mark.filterwarnings("default:chestxray_covid")
def test_counts_and_sources_are_warned_about(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read(covidx(tmp_path))
    texts = [str(warning.message) for warning in caught]
    assert any("has 11 images, not 14258: normal 3 of 8066" in text for text in texts)
    assert any("normal: rsna 2, unknown 1; pneumonia: cohen 2, rsna 2; COVID-19: actmed 2, sirm 2" in t for t in texts)


@pytest.mark.filterwarnings("default:chestxray_covid")
def test_warnings_are_issued_and_recorded(tmp_path):
    covidx(tmp_path)
    unused: dict[str, Any] = {"evaluation": None, "cache_dir": "none", "image_size": 32}
    with pytest.warns(UserWarning, match="has 11 images") as messages:
        data = ChestXrayCOVID(root=str(tmp_path), split=partial(official, val=0.3), **unused)
    assert data.warnings == tuple(str(one.message) for one in messages)
    assert len(data.warnings) > 1


def test_known_counts(shared):
    rows = [line.split(",") for line in (shared / "splits/covidx_counts_by_version.csv").read_text().splitlines()[1:]]
    checked = set()
    for version, counts in COUNTS.items():
        numbers = [row for row in rows if row[0] == ("COVIDx" if version == "1" else f"COVIDx{version}")]
        if numbers:
            total = np.array([row[4:] for row in numbers], dtype=int).sum(0)
            pneumonia, covid, normal, negative, positive = total.tolist()
            pneumonia -= 3079 if version == "1" else 0
            assert counts == ((normal, pneumonia, covid) if normal else (negative, positive))
            checked.add(version)
    assert COUNTS.keys() - checked == {"CXR-3A"}


# RSNA


def rsna(root: Path) -> Path:
    rows = ["p1,Normal", "p2,Lung Opacity", "p2,Lung Opacity", "p3,No Lung Opacity / Not Normal", "p4,Normal"]
    write(root / "stage_2_detailed_class_info.csv", "patientId,class", *rows)
    put(root, *(f"stage_2_train_images/p{number}.dcm" for number in (1, 2, 3)), "stage_2_train_images/p4.png")
    header = "patientid,offset,finding,view,modality,filename,clinical_notes"
    rows = [
        '2,0,Pneumonia/Viral/COVID-19,PA,X-ray,a.jpeg,"notes, with\nlines"',
        "2,5,COVID-19,AP Supine,X-ray,b.jpg,",
        '4,0,"COVID-19, ARDS",AP,X-ray,c.png,',
        "5,0,COVID-19,L,X-ray,d.png,",
        "6,0,COVID-19,Axial,CT,e.nii.gz,",
        "7,0,SARS,PA,X-ray,f.png,",
    ]
    write(root / "covid-chestxray-dataset/metadata.csv", header, *rows)
    put(root, *(f"covid-chestxray-dataset/images/{name}" for name in ("a.jpeg", "b.jpg", "c.png", "d.png", "f.png")))
    return root


def test_rsna_with_covid_images(tmp_path):
    manifest = read(rsna(tmp_path))
    images = "covid-chestxray-dataset/images"
    assert classes_of(manifest) == {
        "stage_2_train_images/p1.dcm": "normal",
        "stage_2_train_images/p4.png": "normal",
        "stage_2_train_images/p2.dcm": "pneumonia",
        f"{images}/a.jpeg": "COVID-19",
        f"{images}/b.jpg": "COVID-19",
        f"{images}/c.png": "COVID-19",
    }
    assert together(manifest) == {frozenset((f"{images}/a.jpeg", f"{images}/b.jpg"))}
    assert set(manifest.sources) == {"rsna", "covid-chestxray-dataset"}
    assert manifest.parts is None


def test_what_rsna_lacks_is_named(tmp_path):
    rsna(tmp_path)
    (tmp_path / "stage_2_train_images/p2.dcm").unlink()
    with pytest.raises(UserError, match=r"1 of 3 listed images .*\(pneumonia 1\): p2.dcm"):
        read(tmp_path)
    put(tmp_path, "stage_2_train_images/p2.dcm")
    (tmp_path / "covid-chestxray-dataset/images/b.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of 3 listed images .*\(COVID-19 1\): b.jpg"):
        read(tmp_path)
    (tmp_path / "covid-chestxray-dataset/metadata.csv").unlink()
    with pytest.raises(UserError, match="but not metadata.csv of covid-chestxray-dataset"):
        read(tmp_path)
    path = tmp_path / "stage_2_detailed_class_info.csv"
    path.write_text(path.read_text() + "p1,Lung Opacity\n")
    with pytest.raises(UserError, match="line 7: patient 'p1' has two classes"):
        read(tmp_path)
    path.write_text("patientId,class\np1,normal\n")
    with pytest.raises(UserError, match="line 2: 'normal' is not a class of RSNA"):
        read(tmp_path)


# class folders


def class_tree(root: Path, outer: str = "") -> Path:
    put(root / outer, *(f"No_findings/{n // 2:08d}_{n:03d}.jpg" for n in range(12)))
    put(root / outer, *(f"Pneumonia/{n + 5:08d}_000.jpg" for n in range(6)), "Pneumonia/1-s2.0_x.jpg")
    put(root / outer, *(f"Covid-19/{name}.jpg" for name in ("ryct.fig5-day0", "ryct.fig5-day4", "41591_2020_819_Fig1")))
    return root


@pytest.mark.parametrize("outer", ["", "chest"])
def test_class_folders(tmp_path, outer):
    manifest = read(class_tree(tmp_path, outer))
    assert manifest.counts.tolist() == [12, 7, 3]
    pairs = {frozenset(Path(image).name for image in group) for group in together(manifest)}
    expected = {frozenset((f"{n:08d}_{2 * n:03d}.jpg", f"{n:08d}_{2 * n + 1:03d}.jpg")) for n in range(5)}
    # Patient 5 has images of two classes.
    expected.add(frozenset(("00000005_010.jpg", "00000005_011.jpg", "00000005_000.jpg")))
    assert pairs == expected
    assert all((tmp_path / image).is_file() for image in manifest.images)


def test_class_folders_of_parts(tmp_path):
    for part, number in (("train", 4), ("Test", 1), ("val", 2)):
        names = ("COVID19", "NORMAL", "PNEUMONIA")
        put(tmp_path / part, *(f"{name}/{name}({part}{n}).jpg" for name in names for n in range(number)))
    manifest = read(tmp_path)
    assert manifest.counts.tolist() == [7, 7, 7]
    assert manifest.parts is not None
    parts = {image.split("/")[0].lower() == part for image, part in zip(manifest.images, manifest.parts, strict=True)}
    assert parts == {True}
    assert classes_of(manifest)["Test/COVID19/COVID19(Test0).jpg"] == "COVID-19"


@pytest.mark.parametrize("other", ["", "part2"])
def test_class_folders_in_two_places_are_refused(tmp_path, other):
    class_tree(class_tree(tmp_path, "part1"), other)
    with pytest.raises(UserError, match=f"classes in {'part1 and part2' if other else 'itself and part1'}. "):
        read(tmp_path)


def test_metadata_adds_patients_to_class_folders(tmp_path):
    class_tree(tmp_path)
    rows = ["patientid,filename", "9,ryct.fig5-day0.jpeg", "9,ryct.fig5-day4.jpeg", "4,other.jpg"]
    write(tmp_path / "metadata.csv", *rows)
    assert frozenset(("Covid-19/ryct.fig5-day0.jpg", "Covid-19/ryct.fig5-day4.jpg")) in together(read(tmp_path))


def test_a_missing_class_and_an_unknown_folder_are_named(tmp_path):
    put(tmp_path / "a", "Covid-19/1.jpg", "Pneumonia/00000001_000.jpg")
    with pytest.raises(UserError, match="a has no folder of the class normal"):
        read(tmp_path / "a")
    put(tmp_path / "b", "x/1.jpg")
    with pytest.raises(UserError, match="no lists of COVIDx, no tables of RSNA and no class folders"):
        read(tmp_path / "b")


def test_real_folders(shared):
    manifest = read(shared / "data/chestxray_covid_small")
    assert manifest.counts.tolist() == [500, 500, 124]
    names = [Path(image).stem for image in manifest.images]
    numbers = [name[:8] if re.fullmatch(r"\d{8}_\d{3}", name) else name for name in names]
    assert len(np.unique(manifest.groups)) == len(set(numbers))
    split = grouped(manifest, 0)
    assert split.leakage(manifest)["leaking"] == 0
