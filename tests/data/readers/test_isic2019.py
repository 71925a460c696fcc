"""ISIC 2019 and ISIC-2019-LT: the folders with their traps, in miniature; the real labels where they are at hand."""

from __future__ import annotations

import csv
import gzip
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ltmed.data.manifest import Manifest
from ltmed.data.readers import _files
from ltmed.data.readers.isic2019 import ISIC2019
from ltmed.data.readers.isic2019_lt import ISIC2019LT
from ltmed.data.splits.coverage import require_training_images
from ltmed.data.splits.imbalance import lmd, lmd_counts, long_tailed
from ltmed.data.splits.protocols import Split, grouped, official, random
from ltmed.errors import UserError
from tests.data.readers.isic2018_trees import images
from tests.data.readers.isic2019_trees import CODES, EXPECTED, TESTED, TRUTH, isic2019, with_test

pytestmark = pytest.mark.filterwarnings("ignore:isic2019.*images, not 25331")
TRAINING, METADATA = "ISIC_2019_Training_GroundTruth.csv", "ISIC_2019_Training_Metadata.csv"


def read(root: Path, reader=ISIC2019) -> Manifest:
    """`read` alone: constructing the module would need the rest of a run."""
    return reader.__new__(reader).read(root)


def truth_of(manifest: Manifest) -> dict[str, str]:
    pairs = zip(manifest.images, manifest.labels, strict=True)
    return {Path(image).stem.lower(): CODES[label] for image, label in pairs}


def test_constants():
    assert ISIC2019.classes == CODES
    assert len(ISIC2019.class_names) == 8
    assert sum(ISIC2019.published_counts) == 25331
    assert ISIC2019LT.name == "isic2019_lt"


TRUTH_LOWER = {name.lower(): lesion for name, (_, lesion) in TRUTH.items()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"folder": "ISIC_2019_Training_Input/ISIC_2019_Training_Input"},
        {"folder": "."},
        {"one": "1", "sex": "gender"},
    ],
)
@pytest.mark.parametrize("reader", [ISIC2019, ISIC2019LT])
def test_training_part(tmp_path, options, reader):
    manifest = read(isic2019(tmp_path, **options), reader)
    assert manifest.name == reader.name
    assert truth_of(manifest) == EXPECTED
    assert manifest.parts is None
    assert all((tmp_path / image).is_file() for image in manifest.images)
    lesions = {name.lower(): lesion or name for name, (_, lesion) in TRUTH.items()}
    names = [Path(image).stem.lower() for image in manifest.images]
    assert names == sorted(names)
    assert manifest.groups is not None
    for one, group in zip(names, manifest.groups, strict=True):
        for two, other in zip(names, manifest.groups, strict=True):
            assert (group == other) == (lesions[one] == lesions[two])
    assert np.bincount(manifest.groups).max() == 5
    assert manifest.sources is not None
    assert manifest.sources.tolist() == [TRUTH_LOWER[name].partition("_")[0] for name in names]


def test_test_part_without_unk_and_without_images_that_are_not_scored(tmp_path):
    with_test(isic2019(tmp_path))
    with pytest.warns(UserWarning, match="2 images of class UNK in .*Test_GroundTruth.csv are left out"):
        manifest = read(tmp_path)
    tested = list(TESTED)[:8]
    split = official(manifest, 0)
    assert [Path(manifest.images[row]).stem for row in split.test] == tested
    assert [CODES[manifest.labels[row]] for row in split.test] == list(CODES)
    assert len(split.train) + len(split.val) == len(TRUTH)
    assert np.array_equal(np.unique(manifest.groups[split.test], return_counts=True)[1], np.ones(8))
    cut = long_tailed(manifest, 0, inner=official, ratio=5)
    assert np.array_equal(cut.test, split.test)


def test_test_labels_without_images_do_not_matter(tmp_path):
    with_test(isic2019(tmp_path))
    shutil.rmtree(tmp_path / "ISIC_2019_Test_Input")
    with pytest.warns(UserWarning, match="UNK"):
        assert read(tmp_path).parts is None


def test_every_layout_is_divided_in_the_same_way(tmp_path):
    digests = set()
    for name, options in {"a": {}, "b": {"folder": "x/y"}, "c": {"one": "1"}}.items():
        manifest = read(isic2019(tmp_path / name, **options))
        digests.add(long_tailed(manifest, 0, inner=grouped, ratio=8).digest(manifest))
    assert len(digests) == 1


@pytest.mark.parametrize(
    "spoil", [lambda path: path.unlink(), lambda path: path.write_text("image,sex\nISIC_1,male\n")]
)
def test_without_lesions_grouped_names_the_file(tmp_path, spoil):
    spoil(isic2019(tmp_path) / METADATA)
    manifest = read(tmp_path)
    assert manifest.groups is None
    with pytest.raises(UserError, match=rf"Add {METADATA} .* or use split=random"):
        grouped(manifest, 0)


def test_metadata_that_lacks_images_is_warned_about(tmp_path):
    path = isic2019(tmp_path) / METADATA
    path.write_text("\n".join(path.read_text().splitlines()[:-3]))
    with pytest.warns(UserWarning, match="3 training images are not in"):
        read(tmp_path)


def test_metadata_that_list_an_image_twice_are_refused(tmp_path):
    path = isic2019(tmp_path) / "ISIC_2019_Training_Metadata.csv"
    with path.open("a") as file:
        file.write("ISIC_0000001,55,anterior torso,,female\n")
    with pytest.raises(UserError, match="Metadata.csv, line .*: 'isic_0000001' is listed twice, in line 3 too"):
        read(tmp_path)


@pytest.mark.filterwarnings("default:isic2019")
def test_other_counts_are_warned_about(tmp_path):
    with pytest.warns(UserWarning, match=f"has {len(TRUTH)} images, not 25331: MEL 6 of 4522"):
        read(isic2019(tmp_path))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist.*Expected layout") as caught:
        read(tmp_path / "nowhere")
    assert "wget" in str(caught.value)
    isic2019(tmp_path)
    next(tmp_path.glob("*/ISIC_0000008.jpg")).unlink()
    with pytest.raises(UserError, match=r"1 of \d+ listed images are not under .*\(NV 1\): isic_0000008"):
        read(tmp_path)
    (tmp_path / TRAINING).unlink()
    with pytest.raises(UserError, match=f"{TRAINING} does not exist.*Expected layout"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda text: text.replace("0.0,1.0,0.0", "1.0,1.0,0.0", 1),
            "line 2: 'isic_0000000_down.*not exactly one class",
        ),
        (lambda text: text.replace("1.0", "x", 1), "line 2: .*has not exactly one class"),
        (lambda text: text.replace("SCC", "SC", 1), "no column 'SCC'"),
        (lambda text: text.replace("image", "img", 1), "no column 'image'"),
        (lambda text: text.splitlines()[0], "no rows under its header"),
        (
            lambda text: text + "ISIC_0000001,0,1,0,0,0,0,0,0,0\n",
            r"line \d+: 'isic_0000001' is listed twice, in line 3",
        ),
        (lambda text: text + "ISIC_0000001,0,1\n", r"line \d+: .* has 3 cells"),
    ],
)
def test_spoilt_tables_are_named_with_their_line(tmp_path, spoil, message):
    path = isic2019(tmp_path) / TRAINING
    path.write_text(spoil(path.read_text()))
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.filterwarnings("ignore:isic2019.*UNK")
def test_spoilt_test_tables_are_named(tmp_path):
    path = with_test(isic2019(tmp_path)) / "ISIC_2019_Test_GroundTruth.csv"
    good = path.read_text()
    path.write_text(good.replace("1.0,0.0\n", "heavy,0.0\n", 1))
    with pytest.raises(UserError, match="line 2: score_weight 'heavy' is no number"):
        read(tmp_path)
    path.write_text(good + "ISIC_0000001,1,0,0,0,0,0,0,0,0,1,1\n")
    with pytest.raises(UserError, match="'isic_0000001' is a training image too"):
        read(tmp_path)


# real labels, of images that are only said to be there


@pytest.fixture(scope="module")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    root = tmp_path_factory.mktemp("isic2019")
    for name in (TRAINING, METADATA):
        shutil.copy(shared / "labels" / name, root / name)
    with open(root / TRAINING, newline="") as file:
        files = [TRAINING, METADATA, *(f"{row['image']}.jpg" for row in csv.DictReader(file))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_files, "walk", lambda _: iter(files))
        return read(root)


@pytest.fixture(scope="module")
def published(shared: Path) -> dict[str, dict[str, str]]:
    """Image -> columns of the lists that came with LMD's and MONICA's code."""
    with gzip.open(shared / "splits/isic2019_lesions_and_splits.csv.gz", "rt", newline="") as file:
        return {row["image"].lower(): row for row in csv.DictReader(file)}


def of_list(manifest: Manifest, published: dict[str, dict[str, str]], column: str) -> Split:
    actual = np.array([published[Path(image).stem.lower()][column] for image in manifest.images])
    return Split(column, *(np.flatnonzero(actual == part) for part in ("train", "val", "test")))


def percent(manifest: Manifest, split: Split) -> float:
    return 100 * split.leakage(manifest)["fraction"]


def outside_the_test_part(split: Split) -> Split:
    """The papers' view, in which validation images are trained on."""
    return Split(split.name, np.sort(np.r_[split.train, split.val]), split.val[:0], split.test)


def test_real_counts(real, published):
    assert real.counts.tolist() == [4522, 12875, 3323, 867, 2624, 239, 253, 628]
    sizes = np.unique(real.groups, return_counts=True)[1]
    assert len(sizes) == 11847 + 2084
    assert (sizes > 1).sum() == 5059
    assert dict(Counter(real.sources.tolist())) == {"BCN": 12413, "HAM": 10015, "MSK4": 819, "": 2084}
    assert sizes[sizes > 1].sum() == 16459
    assert sizes.max() == 31
    assert {name: row["label"] for name, row in published.items()} == truth_of(real)


def test_lmd_100_is_the_published_division_image_by_image(real, published):
    split, reference = lmd(real, 0), of_list(real, published, "lmd_r100_seed42")
    for part, rows in split.parts.items():
        assert np.array_equal(rows, reference.parts[part]), part
    assert [len(rows) for rows in split.parts.values()] == [16170, 2313, 4621]
    assert lmd(real, 0, seed=41).digest(real) != split.digest(real) == reference.digest(real)


@pytest.mark.parametrize(
    ("ratio", "train", "test", "leaking"),
    [
        (100, [9012, 2898, 1949, 1409, 426, 282, 104, 90], [2575, 828, 557, 402, 122, 81, 30, 26], 54.2),
        (200, [9012, 2625, 1599, 1047, 287, 172, 58, 45], [2575, 750, 457, 299, 82, 50, 16, 13], 50.4),
        (300, [9012, 2477, 1424, 880, 227, 129, 41, 30], [2575, 708, 407, 252, 65, 37, 12, 8], 49.7),
        (500, [9012, 2303, 1231, 707, 170, 89, 26, 18], [2575, 658, 352, 202, 48, 26, 8, 5], 48.9),
    ],
)
def test_lmd_counts_and_leakage(real, ratio, train, test, leaking):
    split = lmd(real, 0, ratio=ratio)
    by_frequency, sizes = [1, 0, 2, 4, 3, 7, 6, 5], split.counts(real)
    assert sizes["train"][by_frequency].tolist() == train
    assert sizes["test"][by_frequency].tolist() == test
    assert percent(real, split) == pytest.approx(leaking, abs=0.1)


def test_leakage_per_class_of_lmd_100(real):
    actual = lmd(real, 0).leakage(real)["per_class"]
    shares = {code: 100 * actual[code]["leaking"] / actual[code]["images"] for code in ("MEL", "BCC", "AK", "SCC")}
    assert shares == pytest.approx({"MEL": 75, "BCC": 73, "AK": 68, "SCC": 64}, abs=1)


@pytest.mark.parametrize(("ratio", "leaking"), [(100, 47.9), (200, 38.6), (500, 30.6)])
def test_leakage_of_the_lists_of_monica(real, published, ratio, leaking):
    assert percent(real, of_list(real, published, f"monica_r{ratio}")) == pytest.approx(leaking, abs=0.1)


def test_leakage_of_image_level_folds(real):
    splits = [outside_the_test_part(random(real, 0, seed=seed)) for seed in range(10)]
    assert np.mean([percent(real, split) for split in splits]) == pytest.approx(60.2, abs=1)
    # A test image of a lesion with m images leaks unless the m - 1 others are test images too.
    leaking = 100 * (1 - 0.2 ** (np.bincount(real.groups)[real.groups] - 1))
    for index, code in enumerate(CODES):
        rows = [split.leakage(real)["per_class"][code] for split in splits]
        actual = [100 * row["leaking"] / row["images"] for row in rows]
        error = np.std(actual) / math.sqrt(len(actual))
        assert np.mean(actual) == pytest.approx(leaking[real.labels == index].mean(), abs=4 * error), code


def test_grouped_long_tails_have_one_test_part_and_no_leakage(real):
    whole = grouped(real, 0)
    tests, smaller = set(), set(whole.train)
    for ratio in (100, 200, 300, 500):
        split = long_tailed(real, 0, inner=grouped, ratio=ratio, on_short="error")
        require_training_images(split, real)
        assert split.leakage(real)["leaking"] == 0
        available = whole.counts(real)["train"]
        assert split.counts(real)["train"].tolist() == lmd_counts(available, ratio).tolist()
        assert split.imbalance(real)["achieved_ratio"] == pytest.approx(ratio, rel=0.05)
        assert set(split.train) < smaller
        smaller = set(split.train)
        tests.add(split.test.tobytes())
    assert len(tests) == 1
    with pytest.warns(UserWarning, match="more images of isic2019 than there are: MEL"):
        long_tailed(real, 0, inner=grouped, ratio=200, rule="pareto", rounding="round")
    with pytest.raises(UserError, match=r"MEL 4,522 of 5,299\. Use split.on_short=cap"):
        long_tailed(
            real, 0, inner=grouped, ratio=500, rule="pareto", rounding="round", on_short="error", fixed_test=False
        )


def test_an_unrelated_image_in_the_folder_changes_nothing(tmp_path):
    isic2019(tmp_path)
    images(tmp_path / "other", ["ISIC_9999999"])
    assert truth_of(read(tmp_path)) == EXPECTED
