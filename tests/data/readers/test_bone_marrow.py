"""Bone marrow: flat and nested class folders, all in one folder, 21 and 17 classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltmed.data.cache.images import open_cache
from ltmed.data.readers.bone_marrow import COUNTS, EXCLUDED_BY_ALPA, BoneMarrow
from ltmed.data.splits.protocols import grouped, random
from ltmed.errors import UserError
from tests.data.readers.folder_trees import classes_of, put, reader, write

pytestmark = pytest.mark.filterwarnings("ignore:bone_marrow.*images, not 1")
SMALL = dict.fromkeys(BoneMarrow.classes, 3) | {"ART": 6}


def nested(root: Path) -> Path:
    top = root / "bone_marrow_cell_dataset/BM_cytomorphology_data"
    for code, number in SMALL.items():
        for index in range(1, number + 1):
            block = ("0001-1000/" if index < 4 else "1001-1003/") if code == "ART" else ""
            put(top, f"{code}/{block}{code}_{index:05d}.jpg")
    write(root / "abbreviations.csv", "Abbreviation;Meaning", "ABE;Abnormal eosinophil")
    return root


def read(root: Path, left_out: tuple[str, ...] = ()):
    return reader(BoneMarrow, left_out=left_out).read(root)


def test_constants():
    assert len(BoneMarrow.classes) == len(BoneMarrow.class_names) == len(COUNTS) == 21
    assert sum(COUNTS) == 171374
    selected = [count for code, count in zip(BoneMarrow.classes, COUNTS, strict=True) if code not in EXCLUDED_BY_ALPA]
    assert (len(selected), sum(selected)) == (17, 147904)


def test_class_is_the_first_folder_with_the_name_of_one(tmp_path):
    manifest = read(nested(tmp_path))
    assert dict(zip(manifest.classes, manifest.counts.tolist(), strict=True)) == SMALL
    assert all(Path(image).name.startswith(code) for image, code in classes_of(manifest).items())
    assert (manifest.groups, manifest.parts, manifest.folds) == (None, None, None)
    assert "no patient ids, so leakage is unknown" in random(manifest, 0, folds=3, val=0.3).describe(manifest)
    with pytest.raises(UserError, match="needs patient ids"):
        grouped(manifest, 0)


def test_the_layout_does_not_change_the_division(tmp_path):
    nested(tmp_path / "a")
    put(tmp_path / "b", *(f"all/{code}_{n + 1:05d}.jpg" for code, number in SMALL.items() for n in range(number)))
    put(tmp_path / "c", *(f"{code}/{code}_{n + 1:05d}.JPG" for code, number in SMALL.items() for n in range(number)))
    manifests = [read(tmp_path / name) for name in "abc"]
    assert len({random(manifest, 1, folds=3, val=0.3).digest(manifest) for manifest in manifests}) == 1


def test_alpas_seventeen_classes(tmp_path):
    manifest = read(nested(tmp_path), EXCLUDED_BY_ALPA)
    assert manifest.classes == tuple(code for code in BoneMarrow.classes if code not in ("ABE", "ART", "NIF", "OTH"))
    assert manifest.counts.tolist() == [3] * 17
    assert manifest.class_names[manifest.classes.index("PMO")] == "promyelocyte"
    assert all(Path(image).name.startswith(code) for image, code in classes_of(manifest).items())


def test_images_of_no_class_are_warned_about(tmp_path):
    put(nested(tmp_path), "figures/table.png", "XYZ/XYZ_00001.jpg")
    with pytest.warns(UserWarning, match=r"2 images are of no class and not used: XYZ \(1\), figures \(1\)"):
        assert len(read(tmp_path)) == sum(SMALL.values())


def test_truncated_images_are_found_by_decoding(tmp_path):
    put(tmp_path, "ABE/ABE_00001.jpg", "BAS/BAS_00001.jpg")
    put(tmp_path, "BAS/BAS_00002.jpg", data=b"\xff\xd8\xff\xe0 no end")
    with pytest.raises(UserError, match=r"1 of 3 images .*\n.*BAS_00002.jpg: truncated JPEG"):
        open_cache(read(tmp_path), 8, tmp_path / "cache")


@pytest.mark.filterwarnings("default:bone_marrow")
def test_other_numbers_of_images_are_warned_about(tmp_path):
    with pytest.warns(UserWarning, match="has 66 images, not 171374: ABE 3 of 8, ART 6 of 19630"):
        read(nested(tmp_path))


def test_folders_without_classes_are_refused(tmp_path):
    put(tmp_path, "cells/1.jpg")
    with pytest.raises(UserError, match="no image in a folder of a class"):
        read(tmp_path)
    with pytest.raises(UserError, match="dataset.classes=20 is not known. 21 takes all, 17"):
        BoneMarrow(classes=20)


def test_real_abbreviations(shared):
    lines = (shared / "labels/bone_marrow_abbreviations.csv").read_text().splitlines()[1:]
    assert tuple(line.split(";")[0] for line in lines) == BoneMarrow.classes
