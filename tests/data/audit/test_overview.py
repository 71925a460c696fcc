"""What `ltmed check` says of a data set fits on a screen and is what the data are."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest

from ltmed.data.audit import overview
from ltmed.data.audit.contents import Contents, read_contents
from ltmed.data.audit.copies import SIDE, find_duplicates
from ltmed.data.audit.problems import unlisted
from ltmed.data.cache.intensity import Intensity
from ltmed.data.splits.protocols import grouped, official, random
from tests.data.images import encoded, folder_of, picture
from tests.data.manifests import manifest_of
from tests.harness import ROOT

LINES, COLUMNS = 50, 120


def everything_wrong(number: int = 3000, classes: int = 198):
    """198 classes, damaged files, copies of all kinds, three depths, sizes, two collections: labels and contents."""
    rng = np.random.default_rng(0)
    p = 0.95 ** np.arange(classes)
    labels = np.concatenate([np.arange(classes), rng.choice(classes, number - classes, p=p / p.sum())])
    manifest = replace(
        manifest_of(labels, rng.integers(0, number // 2, number)), sources=rng.choice(["A", "B"], number)
    )
    looks = rng.integers(0, 256, (number, SIDE, SIDE, 3)).astype(np.uint8)
    looks[500:600] = looks[:100]
    looks[600:620] = 9
    digests = [row.to_bytes(4, "big") for row in range(number)]
    digests[500:550] = digests[:50]
    bits = np.where(np.arange(number) < 1000, 16, 8)
    extremes = np.where(bits[:, None] == 16, [[0.0, 4095.0]], np.nan)
    by = ["each image's own range" if depth == 16 else "as stored" for depth in bits]
    bad = [(row, "damaged") for row in range(700, 740)]
    for row, _ in bad:
        by[row] = ""
    return manifest, Contents([*digests], bad, looks, rng.integers(100, 999, (number, 2)), bits, extremes, by)


def test_everything_wrong_fits_on_a_screen():
    manifest, contents = everything_wrong()
    actual = find_duplicates(contents.digests, contents.thumbnails)
    divisions = {"as chosen": grouped, "random": random, "official": official, "paper, 7:3 (proco)": random}
    protocols = [(title, partial(divide, manifest, 0)) for title, divide in divisions.items()]
    sections = [
        overview.classes(manifest, ()),
        [*overview.groups(manifest), *overview.sources(manifest)],
        [*overview.files(manifest, contents, 224), *overview.copies(manifest, actual)],
        overview.splits(manifest, protocols, actual),
    ]
    lines = [line for section in sections for line in [*section, ""]]
    assert len(lines) <= LINES
    assert max(map(len, (line for line in lines if not line.startswith("!")))) <= COLUMNS
    text = "\n".join(lines)
    for expected in (
        "3,000 images, 198 classes",
        "(190 more)",
        "! 40 images cannot be read",
        "! 50 images are exact copies",
        "! 100 images look like another one",
        "! 20 images are of one colour",
        "dataset.intensity=[0,4095] scales all alike",
        "classes have no validation image",
        "test images have a copy in the training part",
    ):
        assert expected in text
    assert len(overview.classes(manifest, (), everything=True)) == 200


def test_all_classes_are_shown_where_they_are_few():
    manifest = manifest_of(np.repeat(np.arange(12), 3))
    assert [line.split()[0] for line in overview.classes(manifest, ())[2:]] == list(manifest.classes)
    many_classes = manifest_of(np.repeat(np.arange(20), np.arange(1, 21)))
    displayed = [line.split()[0] for line in overview.classes(many_classes, ())[2:]]
    assert displayed == ["c19", "c18", "c17", "(12", *(f"c{k}" for k in range(4, -1, -1))]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """8 bits of two sizes, 12 bits in 16, and a file that no row lists."""
    twelve = np.linspace(100, 4000, 40 * 30).reshape(30, 40).astype(np.uint16)
    files = {
        "a.png": encoded(picture(0, 30, 40), "PNG"),
        "b.jpg": encoded(picture(1, 300, 400)),
        "c.png": cv2.imencode(".png", twelve)[1].tobytes(),
        "d.png": cv2.imencode(".png", twelve // 2)[1].tobytes(),
        "x/spare.gif": b"",
        "x/labels.csv": b"",
    }
    manifest = folder_of(tmp_path_factory.mktemp("mixed"), files)
    return replace(manifest, images=manifest.images[:4], labels=manifest.labels[:4])


def test_depth_and_sizes_are_those_of_the_files(mixed):
    lines = overview.files(mixed, read_contents(mixed), 32)
    assert lines[0] == "0 images cannot be read"
    assert lines[1] == "sizes: 40 x 30 to 400 x 300 (width x height), 2 different, most often 40 x 30 (3 images)"
    assert lines[2].startswith("! 3 images are smaller than image_size=32")
    depth = "16 bits with values 50 to 4,000, each image's own range (2 images)"
    assert lines[3] in {
        f"! depth: {depth}; 8 bits, as stored (2 images)",
        f"! depth: 8 bits, as stored (2 images); {depth}",
    }
    assert lines[4] == "! 2 images are scaled each for itself; dataset.intensity=[50,4000] scales all alike"
    fixed = overview.files(mixed, read_contents(mixed, intensity=Intensity.of([50, 4000])), 32)
    assert not any("scales all alike" in line for line in fixed)
    assert any("16 bits with values 50 to 4,000, a fixed range (2 images)" in line for line in fixed)


def test_what_no_row_lists_is_counted(mixed):
    images, others, first = unlisted(mixed)
    assert (dict(images), dict(others), first) == ({".gif": 1}, {".csv": 1}, "x/spare.gif")
    lines = overview.left_out(mixed, ["the reader warned", "the reader warned"])
    assert lines[-1] == "! the reader warned"
    assert len(lines) == 3


def test_groups_and_their_classes_are_counted_as_in_a_loop():
    rng = np.random.default_rng(1)
    manifest = manifest_of(rng.integers(0, 3, 60), rng.integers(100, 130, 60))
    assert manifest.groups is not None
    of_class = [len({group for group, label in zip(manifest.groups.tolist(), manifest.labels.tolist(), strict=True)
                     if label == k}) for k in range(3)]  # fmt: skip
    rows = [line.split() for line in overview.classes(manifest, ())[2:]]
    assert [int(row[2]) for row in rows] == of_class
    several = sum(
        len(set(manifest.labels[manifest.groups == group].tolist())) > 1 for group in set(manifest.groups.tolist())
    )
    assert f"! {several} lesions have images of more than one class" in overview.groups(manifest)


def test_a_protocol_is_shown_once_and_the_chosen_one_first():
    manifest = manifest_of([0, 1] * 40, np.repeat(np.arange(40), 2))
    divisions = {"as chosen": grouped, "grouped": grouped, "random": random, "official": official}
    protocols = [(title, partial(divide, manifest, 0)) for title, divide in divisions.items()]
    lines = overview.splits(manifest, protocols, None)
    assert [line.split("  ")[0] for line in lines[3:]] == ["as chosen: grouped", "random"]
    protocols[0] = ("as chosen", protocols[3][1])
    lines = overview.splits(manifest, protocols, None)
    assert any(line.startswith("! as chosen: toy in /toy has no parts") for line in lines)


def test_reading_labels_and_dividing_them_needs_no_torch():
    """It takes seconds and most of a gigabyte to import."""
    modules = ("audit.overview", "splits.papers", "splits.imbalance", "splits.split_file")
    code = f"import sys, {', '.join(f'ltmed.data.{module}' for module in modules)}\n"
    code += "assert not {'torch', 'lightning', 'cv2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
