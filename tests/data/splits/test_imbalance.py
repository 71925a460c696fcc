"""Long-tailed versions of a data set: the rules against slow loops and published counts, the splits on toy tables."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st

from ltmed.config.instantiate import build
from ltmed.data.splits import imbalance
from ltmed.data.splits.imbalance import lmd, lmd_counts, long_tailed, pareto_counts
from ltmed.data.splits.protocols import grouped, official, random
from ltmed.errors import UserError
from tests.data.manifests import long_tailed as toy
from tests.data.manifests import manifest_of
from tests.harness import ROOT

# ISIC 2019 in its class order, and where each class stands by frequency: NV MEL BCC BKL AK SCC VASC DF.
ISIC2019 = np.array([4522, 12875, 3323, 867, 2624, 239, 253, 628])
BY_FREQUENCY = [1, 0, 2, 4, 3, 7, 6, 5]

LMD = {
    100: [12875, 4140, 2785, 2013, 609, 404, 149, 129],
    200: [12875, 3750, 2285, 1496, 410, 247, 83, 65],
    300: [12875, 3539, 2035, 1258, 325, 185, 59, 43],
    500: [12875, 3290, 1759, 1010, 243, 128, 38, 26],
}
PARETO = {
    100: [12875, 6669, 3454, 1789, 927, 480, 249, 129],
    200: [12875, 6040, 2833, 1329, 624, 293, 137, 64],
    300: [12875, 5700, 2523, 1117, 495, 219, 97, 43],
    500: [12875, 5299, 2181, 898, 369, 152, 63, 26],
}
MONICA = {
    100: [5000, 2590, 1342, 695, 360, 187, 97, 50],
    200: [5000, 2346, 1101, 517, 243, 114, 54, 25],
    500: [5000, 2058, 847, 349, 144, 60, 25, 10],
}


@pytest.mark.parametrize("ratio", LMD)
def test_published_counts(ratio):
    assert lmd_counts(ISIC2019, ratio)[BY_FREQUENCY].tolist() == LMD[ratio]
    assert pareto_counts(ISIC2019, ratio, rounding="round")[BY_FREQUENCY].tolist() == PARETO[ratio]
    if ratio in MONICA:  # Its lists have 51 and 11 in the last class, by the rounding errors of its powers.
        assert pareto_counts(ISIC2019, ratio, n0=5000)[BY_FREQUENCY].tolist() == MONICA[ratio]


counts_of_classes = st.lists(st.integers(1, 20000), min_size=1, max_size=30)
ratios = st.floats(1, 5000) | st.integers(1, 5000)
sizes = st.just("max") | st.integers(1, 10000)


def slow(rule: str, counts: list[int], ratio: float, n0: int | str) -> list[float]:
    order = sorted(range(len(counts)), key=lambda k: -counts[k])
    first = counts[order[0]] if n0 == "max" else n0
    expected = [0.0] * len(counts)
    for index, k in enumerate(order):
        share = index / (len(counts) - 1) if len(counts) > 1 else 0
        if rule == "pareto":
            expected[k] = first / math.exp(math.log(ratio) * share)
        else:
            shrunk = math.log(counts[order[0]] / counts[order[-1]] / ratio) * share
            expected[k] = first * counts[k] / counts[order[0]] * math.exp(shrunk)
    return expected


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["pareto", "lmd"]), counts_of_classes, ratios, sizes)
def test_rules_equal_a_slow_loop(rule, counts, ratio, n0):
    actual = {
        name: imbalance.RULES[rule](np.array(counts), ratio, n0=n0, rounding=name) for name in imbalance.ROUNDINGS
    }
    for k, exact in enumerate(slow(rule, counts, ratio, n0)):
        slack = 1e-8 * exact
        assert max(exact - slack, 1) <= actual["ceil"][k] < max(exact, 0) + 1 + slack
        assert actual["floor"][k] == 1 or exact - 1 - slack < actual["floor"][k] <= exact + slack
        assert actual["round"][k] == 1 or abs(actual["round"][k] - exact) <= 0.5 + slack
    assert all(n.dtype == np.int64 and n.min() >= 1 for n in actual.values())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(50, 20000), min_size=2, max_size=12), st.floats(1, 50))
def test_both_rules_reach_the_ratio_and_lmd_asks_for_nothing_that_is_not_there(counts, factor):
    own = max(counts) / min(counts)
    ratio = own * factor
    for rule in (pareto_counts, lmd_counts):
        actual = rule(np.array(counts), ratio)
        assert actual.max() == max(counts)
        assert actual.min() == max(math.ceil(round(max(counts) / ratio, 6)), 1)
    assert np.all(lmd_counts(np.array(counts), ratio) <= counts)
    assert lmd_counts(np.array(counts), own).tolist() == counts


def test_powers_that_are_wrong_in_the_last_digit_add_no_image():
    assert lmd_counts(np.full(8, 5000), 100).min() == 50
    assert pareto_counts(np.full(8, 5000), 500).min() == 10
    assert lmd_counts(np.full(8, 5000), 100, rounding="floor").min() == 50


@pytest.mark.parametrize("rule", [pareto_counts, lmd_counts])
def test_one_class_and_equal_classes(rule):
    assert rule(np.array([7]), 100).tolist() == [7]
    assert rule(np.array([100, 100, 100]), 100).tolist() == [100, 10, 1]
    assert rule(np.array([9, 9, 9]), 1).tolist() == [9, 9, 9]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratio": 0.5}, "ratio of 0.5 is not possible"),
        ({"ratio": math.nan}, "ratio of nan"),
        ({"ratio": math.inf}, "ratio of inf"),
        ({"n0": 0}, "split.n0=0 is no number"),
        ({"n0": "min"}, "split.n0=min"),
        ({"rounding": "cell"}, "split.rounding=cell.*'ceil'"),
        ({"available": np.array([3, 0])}, "Class number 1 has no images"),
    ],
)
@pytest.mark.parametrize("rule", [pareto_counts, lmd_counts])
def test_rules_refuse_what_has_no_meaning(rule, arguments, message):
    with pytest.raises(UserError, match=message):
        rule(**{"available": np.array([30, 5]), "ratio": 10, **arguments})


TEN = partial(grouped, test=0.3)


@pytest.mark.parametrize("rule", ["pareto", "lmd"])
@pytest.mark.parametrize("inner", [grouped, random])
@pytest.mark.filterwarnings("ignore:An imbalance ratio")
def test_a_fixed_test_part_is_that_of_the_inner_split_for_every_ratio(inner, rule):
    manifest = toy(3, head=300)
    whole = inner(manifest, 2)
    smaller = whole.train
    for ratio in (20, 50, 100):
        split = long_tailed(manifest, 2, inner=inner, ratio=ratio, rule=rule)
        assert np.array_equal(split.test, whole.test)
        assert np.array_equal(split.val, whole.val)
        assert set(split.train) < set(smaller)  # Nested: a larger ratio leaves more out and puts nothing back.
        assert np.array_equal(split.train, np.sort(split.train))
        actual = split.imbalance(manifest)
        counts = split.counts(manifest)["train"]
        expected = imbalance.RULES[rule](whole.counts(manifest)["train"], ratio)
        assert list(actual["requested"].values()) == expected.tolist()
        assert list(actual["available"].values()) == whole.counts(manifest)["train"].tolist()
        assert list(actual["achieved"].values()) == counts.tolist()
        assert counts.tolist() == np.minimum(expected, whole.counts(manifest)["train"]).tolist()
        assert actual["achieved_ratio"] == counts.max() / counts.min()
        smaller = split.train
        if inner is grouped:
            assert split.leakage(manifest)["leaking"] == 0


def test_without_a_fixed_test_part_every_part_is_cut():
    manifest = toy(4, head=400)
    for inner in (grouped, random):
        split = long_tailed(manifest, 1, inner=inner, ratio=80, fixed_test=False)
        everything = np.concatenate(list(split.parts.values()))
        assert len(set(everything)) == len(everything)
        total = np.bincount(manifest.labels[everything])
        assert total.tolist() == lmd_counts(manifest.counts, 80).tolist()
        assert list(split.imbalance(manifest)["achieved"].values()) == total.tolist()
        assert len(split.test) / len(everything) == pytest.approx(0.2, abs=0.03)
        if inner is grouped:
            assert split.leakage(manifest)["leaking"] == 0


def test_own_parts_stay_what_they_are():
    manifest = manifest_of([0, 1] * 100, parts=["train"] * 120 + ["val"] * 20 + ["test"] * 56 + [""] * 4)
    for fixed in (True, False):
        split = long_tailed(manifest, 0, inner=official, ratio=10, fixed_test=fixed)
        assert split.train.max() < 120 <= split.val.min()
        assert split.val.max() < 140 <= split.test.min()
        assert split.test.max() < 196
        sizes = split.counts(manifest)
        assert (sizes["train"] if fixed else sum(sizes.values())).tolist() == ([60, 6] if fixed else [98, 10])
        assert (len(split.test) == 56) is fixed
    folds = replace(manifest, parts=None, folds=np.arange(200) % 4)
    split = long_tailed(folds, 3, inner=official, ratio=4)
    assert split.test.tolist() == list(range(3, 200, 4))


def test_the_choice_depends_on_its_seed_and_on_nothing_else():
    manifest = toy(5, head=300)
    one = long_tailed(manifest, 0, inner=grouped)
    assert one.digest(manifest) == long_tailed(manifest, 0, inner=grouped).digest(manifest)
    other = long_tailed(manifest, 0, inner=grouped, seed=1)
    assert one.digest(manifest) != other.digest(manifest)
    assert one.counts(manifest)["train"].tolist() == other.counts(manifest)["train"].tolist()
    # Each class has an order of its own: another class more or less changes nothing.
    selected = [
        set(s.train[manifest.labels[s.train] == 2]) for s in (one, long_tailed(manifest, 0, inner=grouped, n0=100))
    ]
    assert selected[1] < selected[0]


def test_too_few_images_are_capped_with_a_warning_or_refused():
    manifest = manifest_of(np.repeat([0, 1, 2], [500, 20, 10]), groups=range(530))
    with pytest.warns(
        UserWarning, match="ratio of 50 asks for more images of toy than there are: c1 13 of 45, c2 6 of 7;"
    ):
        split = long_tailed(manifest, 0, inner=TEN, ratio=50, rule="pareto")
    assert split.imbalance(manifest)["achieved"]["c1"] < split.imbalance(manifest)["requested"]["c1"]
    with pytest.raises(UserError, match="c1 .* of .*on_short=cap"):
        long_tailed(manifest, 0, inner=TEN, ratio=50, rule="pareto", on_short="error")
    long_tailed(manifest, 0, inner=TEN, ratio=100, on_short="error")


def test_describe_and_name_say_what_was_done():
    manifest = toy(6, head=300)
    split = long_tailed(manifest, 0, inner=grouped, ratio=50)
    assert split.name == "grouped, then lmd 50:1"
    lines = split.describe(manifest).splitlines()
    counts = split.counts(manifest)["train"]
    assert "training part, rule lmd, ratio 50: " in lines[-3]
    assert f"{counts.max() / counts.min():.1f} achieved" in lines[-3]
    assert lines[-1].endswith(", ".join(f"c{k} {count:,}" for k, count in enumerate(counts)))
    other = long_tailed(manifest, 0, inner=random, ratio=50, fixed_test=False)
    assert other.name == "lmd 50:1, then random"
    assert "all parts" in other.describe(manifest)
    bad = split.without([int(split.train[0])])
    assert sum(bad.imbalance(manifest)["achieved"].values()) == len(split.train) - 1


def test_groups_without_images_after_the_cut_do_no_harm_to_labels():
    manifest = toy(7, head=300)
    small = imbalance._restricted(manifest, np.arange(0, len(manifest), 3))
    assert small.images == manifest.images[::3]
    assert np.array_equal(small.labels, manifest.labels[::3])
    assert np.array_equal(small.groups, manifest.groups[::3])
    assert small.parts is None


def test_lmd_divides_7_1_2_in_every_class():
    manifest = toy(8, head=600)
    split = lmd(manifest, 0, ratio=40)
    sizes = split.counts(manifest)
    expected = lmd_counts(manifest.counts, 40)
    for k, number in enumerate(expected):
        rest = math.ceil(0.3 * number)
        val = math.ceil(rest / 3)
        assert [int(sizes[part][k]) for part in ("train", "val", "test")] == [number - rest, val, rest - val]
    assert len(set(np.concatenate(list(split.parts.values())))) == expected.sum()
    assert split.name == "lmd 40:1"
    assert split.digest(manifest) == lmd(manifest, 0, ratio=40).digest(manifest)
    assert split.digest(manifest) != lmd(manifest, 0, ratio=40, seed=1).digest(manifest)


def test_lmd_takes_the_seeds_of_pandas_and_refuses_others():
    manifest = toy(8, head=600)
    assert len(lmd(manifest, 0, ratio=40, seed=2**32 - 1).train)
    with pytest.raises(UserError, match=r"split\.seed=4294967296"):
        lmd(manifest, 0, ratio=40, seed=2**32)


def test_lmd_leaves_own_test_images_alone():
    manifest = manifest_of([0, 1] * 100, parts=["train"] * 150 + ["test"] * 50)
    assert max(map(max, lmd(manifest, 0, ratio=5).parts.values())) < 150


LARGE = manifest_of(np.repeat([0, 1], [200, 20]), groups=range(220))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(lmd, LARGE, 1), "fold 1 is out of range: split=lmd has fold 0 only"),
        (partial(lmd, LARGE, 0, ratio=100), "split=lmd needs 4 images of every class and would keep fewer of c1"),
        (partial(lmd, LARGE, 0, ratio=2), "asks for more images of toy.*c1 20 of 100"),
        (partial(lmd, manifest_of([0] * 9 + [2] * 9), 0), r"no training image of class c1 \(0 in all\)"),
        (partial(long_tailed, LARGE, 5, inner=grouped), "fold 5 is out of range: split=grouped"),
        (partial(long_tailed, LARGE, 0, inner=grouped, rule="lmdd"), "split.rule=lmdd does not exist.*'lmd'"),
        (partial(long_tailed, LARGE, 0, inner=grouped, on_short="cut"), "split.on_short=cut does not exist"),
        (partial(long_tailed, LARGE, 0, inner=grouped, ratio=0), "ratio of 0 is not possible"),
        (partial(long_tailed, manifest_of([0] * 50 + [2] * 50), 0, inner=random), "no training image of class c1"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["dataset=isic2019_lt"], "grouped, then lmd 20:1"),
        (["dataset=isic2019_lt", "split@split.inner=random", "split.inner.test=0.3"], "random, then lmd 20:1"),
        (["split=long_tailed", "split.fixed_test=false"], "lmd 20:1, then grouped"),
        (["dataset=isic2019_lt", "split=lmd"], "lmd 20:1"),
        (["split=long_tailed", "split.rule=pareto"], "grouped, then pareto 20:1"),
    ],
)
@pytest.mark.filterwarnings("ignore:An imbalance ratio")
def test_the_split_composes_with_every_other(words, name):
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        config = compose("config", [*words, "split.ratio=20"])
    assert build(config.split)(toy(9, head=300), 0).name == name
