"""`dataset=manifest`: your own table, in every form that it may have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from ltmed.config.instantiate import build
from ltmed.data.readers.manifest import ManifestFile
from ltmed.data.splits.protocols import grouped, official
from ltmed.errors import UserError
from tests.data.readers.isic2018_trees import images
from tests.harness import ROOT

LABELS = {f"p{number:02d}": ("nevus", "melanoma", "keratosis")[number % 3] for number in range(30)}


def read(root, *overrides: str):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose(
            "config", ["dataset=manifest", f"dataset.root={root}", "split=random", "split.pool=all", *overrides]
        )
    return build(
        cfg.dataset, fold=0, split=build(cfg.split), evaluation=build(cfg.evaluation), cache_dir="none"
    ).manifest  # fmt: skip


def rows(header: str, line, names=LABELS) -> str:
    return (
        "\n".join([header, *(line(number, name, label) for number, (name, label) in enumerate(names.items()))]) + "\n"
    )


@pytest.fixture
def root(tmp_path):
    images(tmp_path / "pictures/one", list(LABELS)[:20])
    images(tmp_path / "pictures/two", list(LABELS)[20:], ".PNG")
    return tmp_path


def write(root, text: str, name: str = "manifest.csv"):
    (root / name).write_bytes(text.encode())
    return root


def labels_of(manifest) -> dict[str, str]:
    names = (image.rpartition("/")[2].split(".")[0] for image in manifest.images)
    return {name: manifest.classes[label] for name, label in zip(names, manifest.labels, strict=True)}


def test_the_least_table(root):
    manifest = read(write(root, rows("image,label", lambda n, name, label: f"{name},{label}")))
    assert manifest.classes == ("keratosis", "melanoma", "nevus")
    assert labels_of(manifest) == LABELS
    assert list(manifest.images) == sorted(manifest.images)
    assert (manifest.groups, manifest.parts, manifest.folds, manifest.sources) == (None,) * 4
    assert ManifestFile.name == manifest.name == "manifest"


@pytest.mark.parametrize(
    "name",
    [
        lambda n, name: name,
        lambda n, name: f"{name}.jpg" if n < 20 else f"{name}.PNG",
        lambda n, name: f"pictures/{'one' if n < 20 else 'two'}/{name}",
        lambda n, name: f"./pictures/{'one' if n < 20 else 'two'}/{name}.{'jpg' if n < 20 else 'png'}",
        lambda n, name: f"pictures\\{'one' if n < 20 else 'two'}\\{name}.{'jpg' if n < 20 else 'png'}",
    ],
)
def test_images_by_path_or_name_with_or_without_extension(root, name):
    text = rows("image,label", lambda n, image, label: f"{name(n, image)},{label}")
    assert labels_of(read(write(root, text))) == LABELS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_aliases_separators_line_ends_mark_and_every_column(root, separator, end):
    parts = ["train", "valid", "Testing"]
    header = "dx,age,lesion_id,split,source,id_code,split-index"
    text = rows(
        header, lambda n, name, label: f"{label},{n},L{n // 10},{parts[n // 10]},{'AB'[n % 2]},{name},{n // 10}"
    )
    manifest = read(write(root, "\ufeff" + text.replace(",", separator).replace("\n", end)))
    assert labels_of(manifest) == LABELS
    assert manifest.group_name == "lesion"
    assert manifest.groups.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert manifest.parts.tolist() == ["train"] * 10 + ["val"] * 10 + ["test"] * 10
    assert manifest.folds.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert manifest.sources.tolist() == ["A", "B"] * 15
    with pytest.raises(UserError, match="are two divisions of the images: both say which"):
        official(manifest, 2)
    by_fold = read(root, "dataset.columns.part=[]")
    assert by_fold.parts is None
    assert official(by_fold, 2, val=0.5).test.tolist() == list(range(20, 30))
    by_part = read(root, "dataset.columns.fold=[]")
    assert by_part.folds is None
    assert official(by_part, 0).val.tolist() == list(range(10, 20))


def test_images_without_a_group_are_groups_of_their_own(root):
    text = rows("image,label,patient", lambda n, name, label: f"{name},{label},{'P1' if n < 4 else ''}")
    manifest = read(write(root, text))
    assert manifest.group_name == "patient"
    assert len(np.unique(manifest.groups)) == 27
    assert grouped(manifest, 0).leakage(manifest)["leaking"] == 0


def test_a_column_that_describes_images_is_a_group_only_if_it_is_named(root):
    types = ["flat", "raised"]
    write(root, rows("image,label,lesion", lambda n, name, label: f"{name},{label},{types[n % 2]}"))
    with pytest.raises(UserError, match=r"'lesion' .* puts 30 images into 2 groups .*group=\[lesion\], else .*=\[\]"):
        read(root)
    assert read(root, "dataset.columns.group=[lesion]").groups.tolist() == [0, 1] * 15
    assert read(root, "dataset.columns.group=lesion").group_name == "lesion"
    assert read(root, "dataset.columns.group=[]").groups is None


def test_numbers_need_names_and_become_them(root):
    order = ["nevus", "melanoma", "keratosis"]
    for text in ("{name},{number}", "{name},{number}.0"):
        write(root, rows("image,label", lambda n, name, label, t=text: t.format(name=name, number=order.index(label))))
        with pytest.raises(UserError, match=r"line 2: the labels are numbers \(here 0\).*dataset.classes="):
            read(root)
        manifest = read(root, f"dataset.classes=[{','.join(order)}]")
        assert manifest.classes == tuple(order)
        assert labels_of(manifest) == LABELS
    with pytest.raises(UserError, match="line 4: '2' is not a class"):
        read(root, "dataset.classes=[nevus,melanoma]")


def test_onehot_columns_give_classes_and_order(root):
    def line(n, name, label):
        return f"{int(label == 'nevus')},{int(label == 'keratosis')},{name},{float(label == 'melanoma')}"

    write(root, rows("NV,BKL,image,MEL", line), "labels.csv")
    manifest = read(root, "dataset.label_columns=[MEL,NV,BKL]", "dataset.file=labels.csv")
    assert manifest.classes == ("MEL", "NV", "BKL")
    names = dict(zip(("melanoma", "nevus", "keratosis"), manifest.classes, strict=True))
    assert labels_of(manifest) == {name: names[label] for name, label in LABELS.items()}
    order = "dataset.classes=[melanoma,nevus,keratosis]"
    renamed = read(root, "dataset.label_columns=[MEL,NV,BKL]", order, "dataset.file=labels.csv")
    assert labels_of(renamed) == LABELS
    with pytest.raises(UserError, match="no column 'XX'"):
        read(root, "dataset.label_columns=[XX,NV]", "dataset.file=labels.csv")


def test_columns_and_sets_can_be_named(root):
    text = rows("image,label,biopsy", lambda n, name, label: f"{name},?,{label}")
    assert labels_of(read(write(root, text), "+dataset.columns.label=biopsy", "dataset.name=mine")) == LABELS
    with pytest.raises(UserError, match=r"no column 'biopsie' \(dataset.columns.label\). Did you mean 'biopsy'"):
        read(root, "+dataset.columns.label=biopsie")
    with pytest.raises(UserError, match="no role 'lable'. Did you mean 'label'"):
        read(root, "+dataset.columns.lable=biopsy")


def test_a_group_in_two_parts_is_an_error_unless_allowed(root):
    text = rows(
        "image,label,group,part", lambda n, name, label: f"{name},{label},G{n // 8},{'train' if n < 20 else 'test'}"
    )
    write(root, text)
    with pytest.raises(UserError, match=r"line 22: 'pictures/two/p20.PNG' is in part test, and .*line 18\); 1 group"):
        read(root)
    manifest = read(root, "dataset.allow_group_leakage=true")
    assert official(replace(manifest, groups=None), 0).leakage(manifest)["leaking"] == 4


def test_a_group_in_two_folds_of_the_training_images_is_an_error_as_well(root):
    text = rows("image,label,group,fold", lambda n, name, label: f"{name},{label},G{n // 2},{n % 5}")
    write(root, text)
    with pytest.raises(UserError, match=r"p01.jpg' is in fold 1, and .*p00.jpg' of the same group is in fold 0 .*; 15"):
        read(root)
    leaking = read(root, "dataset.allow_group_leakage=true")
    assert official(leaking, 0).leakage(leaking)["leaking"] > 0
    assert read(root, "dataset.columns.fold=[]").folds is None
    # Folds of test images decide nothing, and a training image in no fold is trained on in all of them.
    parts = rows("image,label,group,part,fold",
                 lambda n, name, label: f"{name},{label},G{n // 5},{'test' if n < 10 else 'train'},"
                                        f"{n % 5 if n < 10 else n // 5 - 2}")  # fmt: skip
    assert official(read(write(root, parts)), 0).test.tolist() == list(range(10))
    with pytest.raises(UserError, match=r"p29.PNG' is in fold none, and .*p25.PNG' .* is in fold 3"):
        read(write(root, parts.replace("train,3\n", "train,\n").replace("train,\n", "train,3\n", 4)))


BASE = rows("image,label,fold,part", lambda n, name, label: f"{name},{label},{n % 2},train")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("p03,", "p02,", "line 5: 'p02' is nevus here and keratosis before .*line 4.; 1 of 29 images"),
        ("p03,", "q03,", r"line 5: 1 of 30 listed images are not under .*'q03'"),
        ("p03,nevus,", "p03,,", "line 5: no label"),
        ("p03,nevus,1", "p03,nevus,x", "line 5: fold 'x' is no number"),
        ("p03,nevus,1", "p03,nevus,7", r"not numbered 0, 1, ... without a gap \(no 2\)"),
        ("p03,nevus,1,train", "p03,nevus,1,trial", "line 5: 'trial' is not a part of a split. Did you mean 'train'"),
        ("p03,nevus,1,train", "p03,nevus,1", "line 5: the row of 'p03' has 3 cells, the header has 4"),
        ("image,", "scan,", "has no column 'image'. It has scan, label"),
        ("label,", "kind,", "has no column 'label'"),
        ("fold,part", "fold,label", "line 1: two columns are called 'label'"),
        ('p03,nevus', 'p03,"nevus', "line 5: a quote is opened and never closed"),
    ],
)  # fmt: skip
def test_mistakes_name_the_file_and_the_line(root, before, after, message):
    write(root, BASE.replace(before, after, 1))
    with pytest.raises(UserError, match=message) as caught:
        read(root)
    assert str(root / "manifest.csv") in str(caught.value)


def test_unlisted_classes_missing_tables_and_ambiguous_names(root):
    with pytest.raises(UserError, match=r"manifest.csv does not exist.*Expected layout"):
        read(root)
    write(root, BASE)
    with pytest.raises(UserError, match="line 2: 'nevus' is not a class"):
        read(root, "dataset.classes=[Nevus,melanoma,keratosis]")
    images(root / "pictures/two", ["p03"])
    with pytest.raises(UserError, match="line 5: 'p03' is pictures/one/p03.jpg as well as pictures/two/p03.jpg"):
        read(root)
    write(root, BASE.replace("p03,", "pictures/one/p03.jpg,"))
    assert len(read(root)) == 30


def test_absolute_paths_inside_and_outside_the_folder(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    images(other, ["p99"])

    def place(number: int, name: str) -> str:
        return str(root / "pictures" / ("one" if number < 20 else "two") / name)

    text = rows("image,label", lambda n, name, label: f"{place(n, name)},{label}")
    manifest = read(write(root, f"{text}{other / 'p99.jpg'},nevus\n"))
    assert labels_of(manifest) == {**LABELS, "p99": "nevus"}
    inside = [image for image in manifest.images if not image.startswith("/")]
    assert len(inside) == 30, "they are named as if they had been listed relative to the folder"
    assert (manifest.root / manifest.images[0]).read_bytes() == (other / "p99.jpg").read_bytes()
    with pytest.raises(UserError, match="1 of 2 listed images are not under"):
        read(write(root, "image,label\n/nowhere/q00.jpg,nevus\np01,melanoma\n"))
