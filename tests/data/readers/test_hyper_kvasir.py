"""HyperKvasir: classes from folders, folds from lists that call the classes otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ltmed.data.readers.hyper_kvasir import OFFICIAL_NAMES, HyperKvasir
from ltmed.data.splits.protocols import official, random
from ltmed.errors import UserError
from tests.data.readers.folder_trees import classes_of, put, reader, write

pytestmark = pytest.mark.filterwarnings("ignore:hyper_kvasir.*images, not 10662")
PLACES = {
    "lower-gi-tract/anatomical-landmarks": ("cecum", "ileum", "retroflex-rectum"),
    "lower-gi-tract/pathological-findings": ("hemorrhoids", "polyps", "ulcerative-colitis-grade-0-1"),
    "lower-gi-tract/quality-of-mucosal-views": ("bbps-0-1",),
    "upper-gi-tract/anatomical-landmarks": ("z-line",),
    "upper-gi-tract/pathological-findings": ("barretts", "barretts-short-segment", "esophagitis-b-d"),
}
FOLDERS = {finding: f"{kind}/{finding}" for kind, findings in PLACES.items() for finding in findings}
# One image of hemorrhoids, six of the others.
TRUTH = {
    f"{40503 * number % 99991:08x}-uuid": finding
    for number, finding in enumerate((list(FOLDERS) * 6)[: 6 * len(FOLDERS)], start=1)
    if finding != "hemorrhoids" or number <= len(FOLDERS)
}
RENAMED = {folder: name for name, folder in OFFICIAL_NAMES.items()}


def tree(root: Path, outer: str = "", table: bool = True, folds: str | None = "official_splits") -> Path:
    top = root / outer / "labeled-images"
    for name, finding in TRUTH.items():
        put(top, f"{FOLDERS[finding]}/{name}.jpg")
    put(root / outer, f"segmented-images/masks/{min(TRUTH)}.jpg")
    if table:
        rows = [f"{name},{FOLDERS[finding].split('-')[0].title()} GI,{finding},x" for name, finding in TRUTH.items()]
        write(top / "image-labels.csv", "Video file,Organ,Finding,Classification", *rows)
    if folds is not None:
        for number in (2, 5):
            rows = [f"{name}.jpg;{RENAMED.get(f, f)};{i % number}" for i, (name, f) in enumerate(TRUTH.items())]
            write(root / folds / f"{number}_fold_split.csv", "file-name;class-name;split-index", *rows, end="\r\n")
    return root


def read(root: Path, folds: int = 5):
    return reader(HyperKvasir, folds=folds).read(root)


def test_constants(shared):
    known = json.loads((shared / "splits/class_counts.json").read_text())["hyperkvasir"]
    assert list(HyperKvasir.classes) == known["classes"] == sorted(known["classes"])
    assert list(HyperKvasir.published_counts or ()) == known["counts"]
    assert len(HyperKvasir.class_names) == 23


@pytest.mark.parametrize("outer", ["", "hyper-kvasir-labeled-images", "a/b"])
@pytest.mark.parametrize("table", [True, False])
def test_classes_come_from_folders(tmp_path, outer, table):
    manifest = read(tree(tmp_path, outer, table, None))
    assert {Path(image).stem: code for image, code in classes_of(manifest).items()} == TRUTH
    assert all((tmp_path / image).is_file() for image in manifest.images)
    assert manifest.folds is None
    assert len(manifest.classes) == 23
    with pytest.raises(UserError, match="no parts of its own"):
        official(manifest, 0)


def test_the_folder_of_the_images_itself_can_be_the_root(tmp_path):
    manifest = read(tree(tmp_path, folds="labeled-images") / "labeled-images")
    assert {Path(image).stem: code for image, code in classes_of(manifest).items()} == TRUTH
    assert manifest.folds is not None


@pytest.mark.parametrize("folds", [2, 5])
@pytest.mark.parametrize("where", ["official_splits", "", "hyper-kvasir/official_splits"])
def test_official_folds_are_joined_by_file_name(tmp_path, folds, where):
    manifest = read(tree(tmp_path, folds=where), folds)
    expected = {name: number % folds for number, name in enumerate(TRUTH)}
    for fold in range(folds):
        tested = {Path(manifest.images[row]).stem for row in official(manifest, fold).test}
        assert tested == {name for name, own in expected.items() if own == fold}
    with pytest.raises(UserError, match=f"fold {folds} is out of range"):
        official(manifest, folds)


def test_layouts_are_divided_alike(tmp_path):
    manifests = [read(tree(tmp_path / "a")), read(tree(tmp_path / "b", "outer"))]
    one, other = (random(manifest, 0, test=0.1, val=1 / 9).digest(manifest) for manifest in manifests)
    assert one == other


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace(";0", ";7", 1), r"5_fold_split.csv, line 2: .* is in fold '7', not 0 to 4"),
        (lambda text: text.replace("hemorroids", "haemorrhoids"), "unknown class 'haemorrhoids'. Did you mean"),
        (lambda text: text.replace(";polyp;", ";ileum;", 1), "is 'ileum', but its image is in the folder of polyps"),
        (lambda text: text + text.splitlines()[1] + "\n", "line [0-9]+: .* is listed twice"),
        (lambda text: text + "zz.jpg;polyp;0\n", "lists 1 images that are not there: zz"),
        (lambda text: "\n".join(text.splitlines()[:-2]), "lacks 2 images"),
        (lambda text: text.replace("file-name", "file"), "no column 'file-name'. Did you mean"),
    ],
)
def test_contradictions_in_the_list_of_folds_are_named(tmp_path, spoil, message):
    path = tree(tmp_path) / "official_splits/5_fold_split.csv"
    path.write_text(spoil(path.read_text().replace("\r", "")))
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_a_table_that_contradicts_the_folders_is_named(tmp_path):
    path = tree(tmp_path) / "labeled-images/image-labels.csv"
    path.write_text(path.read_text().replace(",z-line,", ",cecum,", 1))
    with pytest.raises(
        UserError, match=r"image-labels.csv, line \d+: .* is 'cecum', but its image is in the folder of z-"
    ):
        read(tmp_path)


def test_nothing_found_is_told(tmp_path):
    put(tmp_path, "labeled-images/x/1.jpg")
    with pytest.raises(UserError, match="labeled-images has no image in a folder of a class"):
        read(tmp_path)
    with pytest.raises(UserError, match="nowhere does not exist"):
        read(tmp_path / "nowhere")
    with pytest.raises(UserError, match="dataset.folds=3 does not exist"):
        HyperKvasir(folds=3)


# real labels


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("hyper_kvasir")
    table = (shared / "labels/hyperkvasir_image-labels.csv").read_text()
    for row in table.splitlines()[1:]:
        name, organ, finding, kind = row.split(",")
        folder = root / "labeled-images" / f"{organ.lower().replace(' ', '-')}-tract" / kind / finding
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jpg").touch()
    (root / "labeled-images/image-labels.csv").write_text(table)
    for folds in (2, 5):
        text = (shared / f"labels/hyperkvasir_official_{folds}_fold_split.csv").read_text()
        (root / f"{folds}_fold_split.csv").write_text(text)
    return root


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("folds", "sizes"), [(2, [5324, 5338]), (5, [2122, 2122, 2122, 2122, 2174])])
def test_real_folds(real, folds, sizes):
    manifest = read(real, folds)
    assert manifest.counts.tolist() == list(HyperKvasir.published_counts or ())
    assert [len(official(manifest, fold).test) for fold in range(folds)] == sizes
    if folds == 5:
        label = manifest.classes.index("ileum")
        assert np.bincount(manifest.folds[manifest.labels == label]).tolist() == [1, 1, 1, 1, 5]


def test_real_eight_to_one_to_one(real):
    manifest = read(real)
    split = random(manifest, 0, test=0.1, val=1 / 9)
    counts = split.counts(manifest)
    for part, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
        assert np.abs(counts[part] - share * manifest.counts).max() <= 1.1
    assert abs(len(split.test) - 1067) <= 6
    assert [counts["test"][manifest.classes.index(code)] for code in ("hemorrhoids", "ileum")] == [1, 1]
