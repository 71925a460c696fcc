"""`protocol=paper`: each paper's proportions, composed and computed."""

from __future__ import annotations

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from ltmed.config.instantiate import build
from ltmed.data.readers.isic2018 import ISIC2018
from ltmed.data.splits.papers import PAPERS, division_of, paper
from ltmed.errors import UserError
from tests.data.manifests import long_tailed, manifest_of
from tests.harness import ROOT


def named(manifest, name: str):
    object.__setattr__(manifest, "name", name)
    return manifest


def composed(*overrides: str):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", list(overrides)).split


def fractions(split, manifest) -> list[float]:
    return [round(len(rows) / len(manifest), 2) for rows in split.parts.values()]


@pytest.mark.parametrize(
    ("of", "dataset", "expected"),
    [
        ("proco", "isic2018", [0.63, 0.07, 0.3]),
        ("pcct", "isic2018", [0.72, 0.08, 0.2]),
        ("aduni", "aptos2019", [0.72, 0.08, 0.2]),
        ("lmd", "isic_archive_lt", [0.7, 0.1, 0.2]),
        ("lmd", "hyper_kvasir", [0.8, 0.1, 0.1]),
        ("alpa", "bone_marrow", [0.64, 0.16, 0.2]),
    ],
)
def test_proportions_over_all_and_in_every_class(of, dataset, expected):
    manifest = named(manifest_of([0] * 700 + [1] * 200 + [2] * 100), dataset)
    split = paper(manifest, 0, of=of)
    assert fractions(split, manifest) == expected
    for label in range(3):
        counts = [part[label] for part in split.counts(manifest).values()]
        assert np.allclose(np.array(counts) / manifest.counts[label], expected, atol=0.011)
    assert of in split.name
    assert len(np.unique(np.concatenate(list(split.parts.values())))) == len(manifest)


def test_images_of_a_lesion_land_on_both_sides_and_this_is_reported():
    manifest = named(long_tailed(3), "isic2018")
    assert paper(manifest, 0, of="proco").leakage(manifest)["leaking"] > 0


def test_five_folds_test_every_image_once():
    manifest = named(manifest_of([0, 1, 1] * 50), "isic2018")
    tested = np.concatenate([paper(manifest, fold, of="pcct").test for fold in range(5)])
    assert np.array_equal(np.sort(tested), np.arange(150))
    with pytest.raises(UserError, match="fold 5 is out of range"):
        paper(manifest, 5, of="pcct")
    with pytest.raises(UserError, match="fold 1 is out of range"):
        paper(manifest, 1, of="proco")


def test_inner_folds_share_the_test_part_and_choose_on_every_other_image_once():
    manifest = named(manifest_of([0, 1, 1, 2] * 50), "aptos2019")
    splits = [paper(manifest, fold, of="alpa") for fold in range(5)]
    assert all(np.array_equal(split.test, splits[0].test) for split in splits)
    selected = np.concatenate([split.val for split in splits])
    assert np.array_equal(np.sort(np.r_[selected, splits[0].test]), np.arange(200))
    assert all(len(np.r_[split.train, split.val, split.test]) == 200 for split in splits)


def test_own_test_images_are_left_out_unless_asked_for():
    parts = ["train"] * 100 + ["test"] * 50
    manifest = named(manifest_of([0, 1] * 75, parts=parts), "aptos2019")
    split = paper(manifest, 0, of="alpa")
    assert max(rows.max() for rows in split.parts.values()) < 100
    assert max(rows.max() for rows in paper(manifest, 0, of="alpa", pool="all").parts.values()) == 149


def test_protocol_composes_with_every_method_and_split_still_wins():
    assert composed("dataset=isic2018")._target_ == "ltmed.data.splits.protocols.grouped"
    assert composed("dataset=phantom")._target_ == "ltmed.data.splits.protocols.official"
    for method in PAPERS:
        split = composed("dataset=isic2018", f"method={method}", "protocol=paper")
        assert (split._target_, split.of) == ("ltmed.data.splits.papers.paper", method)
    assert composed("dataset=phantom", "method=proco", "protocol=paper")._target_ == "ltmed.data.splits.papers.paper"
    assert (
        composed("dataset=isic2018", "protocol=paper", "split=random")._target_ == "ltmed.data.splits.protocols.random"
    )
    assert composed("dataset=isic2018", "protocol=paper", "split.of=proco").of == "proco"


@pytest.mark.filterwarnings("ignore:isic2018.*images, not 10015")
def test_on_isic2018(tiny_ham):
    manifest = ISIC2018.__new__(ISIC2018).read(tiny_ham)
    split = build(composed("dataset=isic2018", "method=proco", "protocol=paper"))(manifest, 0)
    assert fractions(split, manifest) == pytest.approx([0.63, 0.07, 0.3], abs=0.03)
    assert split.leakage(manifest) is not None
    folds = [build(composed("dataset=isic2018", "method=aduni", "protocol=paper"))(manifest, fold) for fold in range(5)]
    assert sum(len(split.test) for split in folds) == len(manifest)


def test_on_real_ham10000(shared):
    manifest = ISIC2018.__new__(ISIC2018).read(shared / "data/ham10000")
    split = paper(manifest, 0, of="proco")
    assert len(split.test) == 3005
    assert 0.29 < split.leakage(manifest)["fraction"] < 0.36


def test_published_lists_are_taken_as_they_are():
    parts = ["train"] * 60 + ["val"] * 20 + ["test"] * 20
    manifest = named(manifest_of([0, 1] * 50, parts=parts), "isic_archive_lt")
    assert paper(manifest, 0, of="lmd").test.tolist() == list(range(80, 100))


def test_methods_and_data_sets_without_a_division_are_named():
    with pytest.raises(UserError, match=r"No paper is known for method 'erm'.*split.of=NAME"):
        division_of("erm", "isic2018")
    with pytest.raises(UserError, match="The paper of 'proco' does not divide sd198. It has isic2018, aptos2019"):
        division_of("proco", "sd198")
    with pytest.raises(UserError, match="split=lmd split.ratio=100"):
        division_of("lmd", "isic2019_lt")
