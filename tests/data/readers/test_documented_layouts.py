"""Every row of the table "Your layout -> the command" in the docs is read and divided, on a small copy."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest

from ltmed.config.compose import read_manifest
from ltmed.config.instantiate import build
from tests.data.readers.reading import classes, compose_overrides, put, write
from tests.harness import ROOT

TEXT = (ROOT / "docs/reference/datasets.md").read_text(encoding="utf-8")
TABLE = TEXT.partition("### Your layout -> the command")[2].partition("###")[0]
ROWS = {
    cells[0].strip(): re.search("`(.*)`", cells[2])[1].replace(r"\|", "|")  # pyright: ignore[reportOptionalSubscript]
    for line in TABLE.splitlines()
    if line.startswith("| ") and "dataset=" in line
    for cells in [re.split(r"(?<!\\)\|", line)[1:-1]]
}
NUMBERS = range(120)
DICOM = b"\0" * 128 + b"DICM"


def folders(root: Path, *names: str, file: str = "{n}.jpg", data: bytes = b"\xff\xd8\xff") -> None:
    put(root, *(f"{name}/{file.format(n=n, half=n // 2)}" for name in names for n in NUMBERS), data=data)


def table(root: Path, header: str, line, *images: str, file: str = "manifest.csv") -> None:
    put(root, *(image.format(n=n, half=n // 2, side=["left", "right"][n % 2]) for n in NUMBERS for image in images))
    write(root / file, header, *(line(n, "xy"[n // 2 % 2]) for n in NUMBERS))


def chest_xray(root: Path) -> None:
    for part in ("train", "val", "test"):
        put(root, *(f"{part}/NORMAL/IM-{n:04d}-0001.jpeg" for n in NUMBERS))
        put(root, *(f"{part}/PNEUMONIA/person{n // 2}_{'virus' if n % 2 else 'bacteria'}_{n}.jpeg" for n in NUMBERS))


def masks(root: Path) -> None:
    for kind in ("images", "masks"):
        put(root, *(f"{label}/{kind}/{label}-{n}.png" for label in ("COVID", "Viral Pneumonia") for n in NUMBERS))


def busi(root: Path) -> None:
    for label in ("benign", "malignant"):
        put(root, *(f"{label}/{label} ({n}){end}.png" for n in NUMBERS for end in ("", "_mask")))


def breakhis(root: Path) -> None:
    for label, kinds in (("benign", ("adenosis", "fibroadenoma")), ("malignant", ("ductal", "lobular"))):
        for kind in kinds:
            for patient in range(20):
                slide = f"SOB_{label[0].upper()}_{kind[0].upper()}_14-{patient}AB"
                put(root, *(f"{label}/SOB/{kind}/{slide}/{x}X/{slide}-{x}-001.png" for x in (40, 100)))


def parts_in_tables(root: Path) -> None:
    for part in ("train", "val", "test"):
        put(root, *(f"{part}/{n}.jpg" for n in NUMBERS))
        write(root / f"{part}.csv", "image,label", *(f"{part}/{n}.jpg,{'xy'[n % 2]}" for n in NUMBERS))


def onehot(root: Path) -> None:
    put(root, *(f"in/I_{n}.jpg" for n in NUMBERS))
    rows = ["1.0,0.0,0.0", "0.0,1.0,0.0", "0.0,0.0,1.0"]
    write(root / "truth.csv", "image,MEL,NV,BCC", *(f"I_{n},{rows[n % 3]}" for n in NUMBERS))


def isic2020(root: Path) -> None:
    put(root, *(f"jpeg/train/ISIC_{n}.jpg" for n in NUMBERS))
    kinds = ["nevus,0", "unknown,0", "melanoma,1"]
    lines = (f"ISIC_{n},IP_{n // 2},{kinds[n // 2 % 3]}" for n in NUMBERS)
    write(root / "train.csv", "image_name,patient_id,diagnosis,target", *lines)


def excel(root: Path) -> None:
    book = importlib.import_module("openpyxl").Workbook()
    book.active.append(["image", "label"])
    for n in NUMBERS:
        book.active.append([f"{n}.jpg", "xy"[n % 2]])
    book.save(root / "labels.xlsx")
    put(root, *(f"{n}.jpg" for n in NUMBERS))


def as_json(root: Path) -> None:
    (root / "labels.json").write_text(json.dumps({f"{n}.jpg": "xy"[n % 2] for n in NUMBERS}))
    put(root, *(f"{n}.jpg" for n in NUMBERS))


def other_extension(root: Path) -> None:
    table(root, "image,label", lambda n, label: f"{n}.png,{label}", "images/{n}.jpg")
    (root / "images/0.jpg").unlink()


def several_folders(root: Path) -> None:
    put(root, *(f"{label}/{n:04d}.jpg" for label in ("polyps", "cecum") for n in NUMBERS))
    write(root / "manifest.csv", "Filename,Class", *(f"{n:04d}.jpg,{c}" for n in NUMBERS for c in ("polyps", "cecum")))


def rsna(root: Path) -> None:
    table(root, "patientId,x,y,width,height,Target", lambda n, label: f"p{n},{n}.0,2,3,4,{n % 2}",
          "stage_2_train_images/p{n}.dcm", file="stage_2_train_labels.csv")  # fmt: skip
    with (root / "stage_2_train_labels.csv").open("a") as file:
        file.write("p1,7,8,9,9,1\n")


TREES = {
    "folders": lambda r: folders(r, "x", "y"),
    "folders in parts (Kaggle Chest X-Ray Pneumonia)": chest_xray,
    "folders in parts, patients kept together": chest_xray,
    "other words for parts (Kaggle Brain Tumor MRI)": lambda r: folders(
        r, "Training/glioma", "Training/notumor", "Testing/glioma", "Testing/notumor"
    ),
    "no test part": lambda r: folders(r, "train/x", "train/y", "val/x", "val/y"),
    "parts inside of classes": lambda r: folders(r, "x/train", "x/test", "y/train", "y/test"),
    "masks in folders (Kaggle COVID-19 Radiography)": masks,
    "masks beside images (BUSI)": busi,
    "grades as folders, two eyes": lambda r: [
        put(r, *(f"{n // 2 % 5}/{n // 2}_{side}.jpeg" for n in NUMBERS)) for side in ("left", "right")
    ],
    "patients as folders (BreakHis)": breakhis,
    "DICOM, also without extension": lambda r: folders(r, "x/s1", "y/s2", file="IM{n}", data=DICOM),
    "CSV": lambda r: table(r, "image,label", lambda n, x: f"{n}.jpg,{x}", "some/where/{n}.jpg"),
    "CSV with patients and parts": lambda r: table(
        r, "image,label,Patient ID,split", lambda n, x: f"{n}.jpg,{x},{n // 2},{['train', 'test'][n >= 90]}", "{n}.jpg"
    ),
    "CSV with folds": lambda r: table(r, "image,label,fold", lambda n, x: f"{n}.jpg,{x},{n // 4 % 3}", "{n}.jpg"),
    "one CSV per part": parts_in_tables,
    "Excel": excel,
    "JSON": as_json,
    "numbers that mean names": lambda r: table(r, "image,label", lambda n, x: f"{n}.jpg,{n % 3}", "{n}.jpg"),
    "TRUE and FALSE": lambda r: table(r, "image,label", lambda n, x: f"{n}.jpg,{str(n % 2 == 0).upper()}", "{n}.jpg"),
    "one column per class (ISIC)": onehot,
    "names of columns of your own": lambda r: table(
        r, "scan,biopsy,who", lambda n, x: f"{n}.jpg,{x},{n // 2}", "{n}.jpg"
    ),
    "HAM10000 as a table of your own": lambda r: table(
        r, "lesion_id,image_id,dx", lambda n, x: f"HAM_{n // 2},ISIC_{n},{x}", "part_1/ISIC_{n}.jpg",
        file="HAM10000_metadata.csv",
    ),
    "ISIC 2020 (SIIM-ISIC)": isic2020,
    "PAD-UFES-20": lambda r: table(
        r, "patient_id,lesion_id,diagnostic,img_id", lambda n, x: f"PAT_{n // 2},{n},{x},PAT_{n // 2}_{n}.png",
        "imgs_part_1/PAT_{half}_{n}.png", file="metadata.csv",
    ),
    "Derm7pt, two images a row": lambda r: table(
        r, "case_num,diagnosis,clinic,derm", lambda n, x: f"{n},{x},NEL/c{n}.jpg,NEL/d{n}.jpg",
        "images/NEL/c{n}.jpg", "images/NEL/d{n}.jpg", file="meta/meta.csv",
    ),
    "Fitzpatrick17k": lambda r: table(
        r, "md5hash,label,three_partition_label", lambda n, x: f"{n:032x},eczema{n % 3},{x}", "images/{n:032x}.jpg",
        file="fitzpatrick17k.csv",
    ),
    "RSNA pneumonia, a row per box": rsna,
    "EyePACS (Kaggle Diabetic Retinopathy)": lambda r: table(
        r, "image,level", lambda n, x: f"{n // 2}_{['left', 'right'][n % 2]},{n // 2 % 5}", "train/{half}_{side}.jpeg",
        file="trainLabels.csv",
    ),
    "PatchCamelyon (Kaggle Histopathologic Cancer)": lambda r: table(
        r, "id,label", lambda n, x: f"{n:040x},{n % 2}", "train/{n:040x}.tif", file="train_labels.csv"
    ),
    "paths of another machine (CheXpert)": lambda r: table(
        r, "Path,label", lambda n, x: f"CheXpert-v1.0-small/train/patient{n // 2:05d}/study{n}/view1_frontal.jpg,{x}",
        "train/patient{half:05d}/study{n}/view1_frontal.jpg", file="train.csv",
    ),
    "one name in several class folders": several_folders,
    "other extension, some images missing": other_extension,
}  # fmt: skip


def test_every_row_of_the_table_is_tried():
    assert set(ROWS) == set(TREES)
    assert len(ROWS) >= 20


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ROWS)
def test_the_command_reads_and_divides_the_layout(name, tmp_path):
    TREES[name](tmp_path)
    texts = [text.replace("DIR", str(tmp_path)) for text in shlex.split(ROWS[name])]
    cfg = compose_overrides(texts)
    actual, _ = read_manifest(cfg)
    assert len(actual) >= 36
    assert len(classes(actual)) >= 2
    assert min(classes(actual).values()) >= 5
    split = build(cfg.split)(actual, cfg.fold)
    assert all(len(rows) for rows in split.parts.values())
    leak = split.leakage(actual)
    if split.name == "grouped":
        assert leak is not None
        assert leak["leaking"] == 0
        assert max(leak_sizes(actual)) > 1, "the groups are more than single images"


def leak_sizes(found) -> list[int]:
    groups = found.groups.tolist()
    return [groups.count(group) for group in set(groups)]
