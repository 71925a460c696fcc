"""ISIC-Archive-LT: lists in both forms, lesions and patients from two files; the real list where it is at hand."""

from __future__ import annotations

import csv
import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from ltmed.data.manifest import Manifest
from ltmed.data.readers import _files
from ltmed.data.readers.isic_archive_lt import ISICArchiveLT
from ltmed.data.splits.coverage import require_training_images
from ltmed.data.splits.protocols import grouped, official, random
from ltmed.errors import UserError
from tests.data.readers.isic2019_trees import ARCHIVE, ARCHIVE_CODES, archive

pytestmark = pytest.mark.filterwarnings("ignore:isic_archive_lt.*images, not 25020")


def read(root: Path) -> Manifest:
    return ISICArchiveLT.__new__(ISICArchiveLT).read(root)


def names_of(manifest: Manifest) -> list[str]:
    return [Path(image).stem for image in manifest.images]


def truth_of(manifest: Manifest) -> dict[str, tuple[str, str]]:
    rows = zip(names_of(manifest), manifest.labels, manifest.parts, strict=True)
    return {name: (ARCHIVE_CODES[label], str(part)) for name, label, part in rows}


def test_constants():
    assert ISICArchiveLT.classes == ARCHIVE_CODES
    assert len(ISICArchiveLT.class_names) == 14
    assert sum(ISICArchiveLT.published_counts) == 25020


@pytest.mark.parametrize("names", [("training", "validation", "testing"), ("train", "val", "test")])
def test_one_list_for_each_part(tmp_path, names):
    manifest = read(archive(tmp_path, names=names))
    assert truth_of(manifest) == ARCHIVE
    assert names_of(manifest) == sorted(ARCHIVE)
    assert all((tmp_path / image).is_file() for image in manifest.images)
    assert [len(rows) for rows in official(manifest, 0).parts.values()] == [28, 14, 14]
    with pytest.raises(UserError, match="Add metadata.csv or ISIC_2019_Training_Metadata.csv .* or use split=random"):
        grouped(manifest, 0)


def test_a_single_list_with_names_of_classes(tmp_path):
    archive(tmp_path)
    for name in ("training", "validation", "testing"):
        (tmp_path / f"{name}.csv").unlink()
    texts = {"train": "training", "val": "valid", "test": "Test"}
    names = {"AK": "Actinic keratosis", "NV": "nv"}
    rows = [f"{image}.jpg,{names.get(code, code)},{texts[part]}" for image, (code, part) in ARCHIVE.items()]
    (tmp_path / "labels.csv").write_text("\n".join(["isic_id,label,split", *rows]))
    assert truth_of(read(tmp_path)) == ARCHIVE
    rows = [row.rpartition(",")[0] for row in rows]
    (tmp_path / "labels.csv").write_text("\n".join(["image,label", *rows]))
    manifest = read(tmp_path)
    assert manifest.parts is None
    require_training_images(random(manifest, 0, folds=4, val=0.3), manifest)


@pytest.mark.filterwarnings("ignore:isic_archive_lt.*no lesion id")
def test_images_of_one_lesion_or_patient_are_one_group_through_both_files(tmp_path):
    names = list(ARCHIVE)
    archive(tmp_path)
    (tmp_path / "metadata.csv").write_text(
        "isic_id,diagnosis,lesion_id,patient_id\n"
        f"{names[0]},x,IL_1,\n{names[1]},x,IL_1,IP_1\n{names[2]},x,,IP_1\n{names[3]},x,,\nISIC_9999999,x,IL_1,IP_9\n"
    )
    (tmp_path / "ISIC_2019_Training_Metadata.csv").write_text(
        f"image,age_approx,lesion_id,sex\n{names[2]}_downsampled,5,HAM_1,male\n{names[4]},5,HAM_1,male\n{names[5]},5,,male\n"
    )
    manifest = read(tmp_path)
    assert manifest.group_name == "patient"
    group = dict(zip(names_of(manifest), manifest.groups, strict=True))
    assert len({group[names[k]] for k in (0, 1, 2, 4)}) == 1
    assert len(set(group.values())) == len(names) - 3
    (tmp_path / "metadata.csv").unlink()
    manifest = read(tmp_path)
    assert manifest.group_name == "lesion"
    assert len(set(manifest.groups)) == len(names) - 1


@pytest.mark.filterwarnings("ignore:isic_archive_lt.*no lesion id")
def test_images_listed_with_the_ending_of_isic_2019_have_their_lesion(tmp_path):
    names = list(ARCHIVE)
    archive(tmp_path)
    lists = tmp_path / "training.csv"
    first, second = [name for name in names if ARCHIVE[name][1] == "train"][:2]
    lists.write_text(lists.read_text().replace(first, f"{first}_downsampled"))
    image = next((tmp_path / "images").glob(f"{first}.*"))
    image.rename(image.with_stem(f"{first}_downsampled"))
    (tmp_path / "ISIC_2019_Training_Metadata.csv").write_text(
        f"image,lesion_id\n{first}_downsampled,MSK4_1\n{second},MSK4_1\n"
    )
    manifest = read(tmp_path)
    group = dict(zip(names_of(manifest), manifest.groups, strict=True))
    assert group[f"{first}_downsampled"] == group[second]
    assert len(set(group.values())) == len(names) - 1


def test_images_without_a_lesion_are_counted(tmp_path):
    archive(tmp_path)
    (tmp_path / "metadata.csv").write_text(f"isic_id,lesion_id\n{next(iter(ARCHIVE))},IL_1\n")
    with pytest.warns(UserWarning, match="55 of 56 images have no lesion id"):
        read(tmp_path)


def test_listed_images_that_are_missing_are_counted_per_class(tmp_path):
    archive(tmp_path)
    for name in ("ISIC_0000000", "ISIC_0000002", "ISIC_0000900"):
        (tmp_path / f"images/{name}.jpg").unlink()
    with pytest.raises(UserError, match=r"3 of 56 listed .*\(AK 2, NV 1\): isic_0000000.*take their rows out"):
        read(tmp_path)


@pytest.mark.parametrize("gone", ["training", "testing"])
def test_missing_lists_are_named(tmp_path, gone):
    (archive(tmp_path) / f"{gone}.csv").unlink()
    with pytest.raises(UserError, match=f"{gone}.csv does not exist"):
        read(tmp_path)
    for path in tmp_path.glob("*.csv"):
        path.unlink()
    with pytest.raises(UserError, match=r"no list of images: neither training.csv nor labels.csv.*Expected layout"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        (
            "testing",
            lambda text: text + "ISIC_0000000" + ",1" + ",0" * 13 + "\n",
            "'isic_0000000' is in the train list too",
        ),
        ("testing", lambda text: text.replace(",1", ",0", 1), "line 2: 'isic_0001303' has not exactly one class"),
        ("testing", lambda text: text.replace("VASC", "VAS"), "no column 'VASC'"),
        (
            "training",
            lambda text: text + text.splitlines()[1] + "\n",
            "line 30: 'isic_0001301' is listed twice, in line 2",
        ),
        ("labels", lambda _: "image,label\nISIC_0000000,AK\nISIC_0000001,nevi\n", "line 3: 'nevi' is not a class"),
        ("labels", lambda _: "image,label,split\nISIC_0000000,AK,tset\n", "line 2: 'tset' is not a part"),
        ("metadata", lambda _: "isic_id,sex\nISIC_0000000,male\n", "no column 'lesion_id'"),
    ],
)
def test_spoilt_lists_are_named_with_their_line(tmp_path, name, spoil, message):
    archive(tmp_path)
    path = tmp_path / f"{name}.csv"
    if name == "labels":
        for other in tmp_path.glob("*.csv"):
            other.unlink()
    path.write_text(spoil(path.read_text() if path.exists() else ""))
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path)
    assert str(path) in str(caught.value)


# the real list, of images that are only said to be there


@pytest.mark.filterwarnings("ignore:isic_archive_lt.*no lesion id")
def test_real_list(shared, tmp_path, monkeypatch):
    with gzip.open(shared / "splits/isic_archive_lt_lmd.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    (tmp_path / "labels.csv").write_text(
        "\n".join(["image,label,split", *(f"{row['image']},{row['label']},{row['split']}" for row in rows)])
    )
    name = "ISIC_2019_Training_Metadata.csv"
    shutil.copy(shared / "labels" / name, tmp_path / name)
    monkeypatch.setattr(_files, "walk", lambda _: iter([name, "labels.csv", *(f"{row['image']}.JPG" for row in rows)]))
    manifest = read(tmp_path)
    assert manifest.counts.tolist() == list(ISICArchiveLT.published_counts)
    split = official(manifest, 0)
    assert [len(part) for part in split.parts.values()] == [17508, 2509, 5003]
    actual = split.leakage(manifest)
    assert 100 * actual["fraction"] == pytest.approx(49.8, abs=0.1)
    lesions = {row["image"] for row in rows if row["lesion_id_from_isic2019"]}
    known = len(lesions & set(np.array(names_of(manifest))[split.test].tolist()))
    assert 100 * actual["leaking"] / known == pytest.approx(74.4, abs=0.1)
    divided = grouped(manifest, 0, pool="all")
    assert divided.leakage(manifest)["leaking"] == 0
    require_training_images(divided, manifest)
    assert np.all(divided.counts(manifest)["train"] > 0)
