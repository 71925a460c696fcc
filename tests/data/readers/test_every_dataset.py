"""Every `conf/dataset/*.yaml` composes and starts with its defaults, or says in one line what is missing."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

from ltmed.config.compose import read_manifest
from ltmed.config.instantiate import build
from ltmed.config.paths import conf
from ltmed.data.readers.chestxray14 import FINDINGS
from ltmed.data.readers.chexpert import OBSERVATIONS
from ltmed.data.readers.cxr_lt import LISTS
from ltmed.data.splits.protocols import Split
from ltmed.errors import UserError
from tests.data.readers.isic2018_trees import challenge
from tests.data.readers.isic2019_trees import archive, isic2019
from tests.data.readers.reading import composed, put, write

DATASETS = sorted(file.stem for file in (conf() / "dataset").glob("*.yaml") if not file.stem.startswith("_"))


def folders(*names: str, prefix: str = "", number: int = 12):
    return lambda root: put(root, *(f"{prefix}{name}/{name}_{n}.jpg" for name in names for n in range(number)))


def aptos2019(root):
    for n in range(60):
        put(root, f"train_images/id{n:02d}.png", data=b"\x89PNG" + bytes([n]))
    write(root / "train.csv", "id_code,diagnosis", *(f"id{n:02d},{n % 5}" for n in range(60)))


def manifest(root):
    put(root, *(f"{n}.png" for n in range(60)))
    write(root / "manifest.csv", "image,label,group", *(f"{n}.png,{'xy'[n % 2]},{n // 2}" for n in range(60)))


def medmnist(root):
    parts = {"train": 28, "val": 14, "test": 14}
    images = {f"{part}_images": np.zeros((number, 28, 28, 3), np.uint8) for part, number in parts.items()}
    labels = {f"{part}_labels": (np.arange(number) % 7).astype(np.uint8) for part, number in parts.items()}
    np.savez(root / "dermamnist.npz", **images, **labels)


def odir(root):
    put(root, *(f"{n}_{side}.jpg" for n in range(40) for side in ("left", "right")))
    header = "ID,filename,Left-Diagnostic Keywords,Right-Diagnostic Keywords"
    texts = ["normal fundus", "cataract", "glaucoma", "drusen", "pathological myopia", "hypertensive retinopathy"]
    texts += ["diabetic retinopathy", "age-related macular degeneration"]
    rows = [f"{n},{n}_{side}.jpg,{texts[n % 8]},{texts[n // 8]}" for n in range(40) for side in ("left", "right")]
    write(root / "full_df.csv", header, *rows)


def chestmnist(root):
    parts = {"train": 42, "val": 28, "test": 28}
    images = {f"{part}_images": np.zeros((number, 28, 28), np.uint8) for part, number in parts.items()}
    labels = {f"{part}_labels": np.eye(14, dtype=np.uint8)[np.arange(number) % 14] for part, number in parts.items()}
    np.savez(root / "chestmnist.npz", **images, **labels)


def chestxray14(root):
    names = [f"{n // 2:08d}_{n % 2:03d}.png" for n in range(112)]
    put(root, *(f"images_001/images/{name}" for name in names))
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,OriginalImage[Width,Height]"
    rows = [f"{name},{FINDINGS[n // 2 % 14]},0,{n // 2},2682,2749" for n, name in enumerate(names)]
    write(root / "Data_Entry_2017.csv", header, *rows)
    write(root / "train_val_list.txt", *names[:84])
    write(root / "test_list.txt", *names[84:])


def chexpert(root):
    header = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(OBSERVATIONS)
    for part, first in (("train", 0), ("valid", 56)):
        paths = [f"{part}/patient{n // 2:05d}/study1/view{n % 2 + 1}_frontal.jpg" for n in range(first, first + 56)]
        put(root, *paths)
        cells = [",".join("10"[(n // 2) % 14 != k] for k in range(14)) for n in range(56)]
        rows = [f"{path},Male,50,Frontal,PA,{row}" for path, row in zip(paths, cells, strict=True)]
        write(root / f"{part}.csv", header, *rows)


def cxr_lt(root):
    lists = LISTS["nih"]
    for part, first in (("train", 0), ("val", 80), ("test", 120)):
        names = [f"{n // 2:08d}_{n % 2:03d}.png" for n in range(first, first + 40)]
        put(root, *names)
        cells = [",".join("10"[n // 2 % 20 != k] for k in range(20)) for n in range(40)]
        rows = [f"{name},{row},{name[:8]}" for name, row in zip(names, cells, strict=True)]
        write(root / lists.files[part][0], "id," + ",".join(lists.labels) + ",subj_id", *rows)


TREES = {
    "aptos2019": aptos2019,
    "bone_marrow": folders("ABE", "ART", "BAS"),
    "chestmnist": chestmnist,
    "chestxray14": chestxray14,
    "chestxray_covid": folders("Covid-19", "No_findings", "Pneumonia"),
    "chexpert": chexpert,
    "cxr_lt": cxr_lt,
    "hyper_kvasir": folders("cecum", "polyps", prefix="labeled-images/lower-gi-tract/x/"),
    "image_folder": folders("x", "y"),
    "isic2018": challenge,
    "isic2019": isic2019,
    "isic2019_lt": isic2019,
    "isic_archive_lt": archive,
    "manifest": manifest,
    "medmnist": medmnist,
    "odir": odir,
    "sd198": folders("Acne_Vulgaris", "Beau's_Lines", prefix="images/"),
}
"""A small folder for data sets whose images are not made by the program itself."""


@pytest.mark.parametrize("name", DATASETS)
def test_without_its_folder_the_message_is_about_the_folder(name, tmp_path):
    """And not about an option whose default is refused."""
    cfg = composed(name, None)
    given = {"split": build(cfg.split), "evaluation": build(cfg.evaluation), "cache_dir": "none", "fold": 0}
    if cfg.dataset.root is None:
        with pytest.raises(UserError, match="dataset.root is not set"):
            build(cfg.dataset, **given)
    if name in TREES:
        with pytest.raises(UserError, match=r"nowhere.* does not exist"):
            build(cfg.dataset, root=str(tmp_path / "nowhere"), **given)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(TREES))
def test_with_a_small_folder_it_is_read_and_divided(name, tmp_path):
    TREES[name](tmp_path)
    cfg = composed(name, tmp_path)
    actual, _ = read_manifest(cfg)
    assert len(actual) >= 20
    assert (actual.counts > 0).sum() >= 2
    assert all((actual.root / image).is_file() for image in actual.images)
    with suppress(UserError):  # For instance without groups under split=grouped.
        assert isinstance(build(cfg.split)(actual, 0), Split)


@pytest.mark.parametrize("word", ["dataset.lists=5_5", "dataset.lists=8_2", "dataset.lists='8_2'", "dataset.lists=82"])
def test_the_lists_of_sd198_in_every_spelling(word, tmp_path):
    TREES["sd198"](tmp_path)
    write(tmp_path / f"{'5_5' if '5' in word else '8_2'}_split/val_0.txt", "Acne_Vulgaris/Acne_Vulgaris_0.jpg 0")
    with pytest.warns(UserWarning, match="24 images of 2 classes"), pytest.raises(UserError, match="train_0.txt"):
        read_manifest(composed("sd198", tmp_path, word))
