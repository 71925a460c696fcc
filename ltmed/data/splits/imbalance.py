"""Long-tailed versions of any data set: how many images a class keeps, and splits that keep only those.

K classes in order of decreasing counts n_0 >= ... >= n_{K-1}, r the requested imbalance ratio, N_c the images that
class c keeps:

    pareto   N_c = N_0 r^(-c / (K-1))                                                       (1)
    lmd      N_c = (N_0 / n_0) n_c mu^c,  mu = (n_0 / (n_{K-1} r))^(1 / (K-1))              (2)

Both have N_0 / N_{K-1} = r and are called ISIC-2019-LT. In (1) all counts lie on one curve, whatever exists; in (2)
each class's own count shrinks, so that nothing is short where r is at least the ratio that the data have.

(1) Ju et al., Flexible Sampling for Long-tailed Skin Lesion Classification, MICCAI 2022. (2) the released code of LMD
(Pan et al.), after Cui et al., Class-Balanced Loss, CVPR 2019, section 5.1.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ltmed.data.manifest import Manifest, require_one_label
from ltmed.data.splits.coverage import require_training_images
from ltmed.data.splits.protocols import Split
from ltmed.errors import UserError, suggest
from ltmed.utils.seeding import derive

ROUNDINGS = {"ceil": np.ceil, "round": np.rint, "floor": np.floor}


def pareto_counts(available: np.ndarray, ratio: float, *, n0: int | str = "max", rounding: str = "ceil") -> np.ndarray:
    """Counts on one exponential curve, Eq. 1.

    Args:
        available: int `[K]`, images per class, all positive; the order is free, equal counts rank by class order.
        ratio: r >= 1, the largest count over the smallest.
        n0: N_0, images of the largest class; "max" is as many as it has.
        rounding: `ceil`, `round` (halves to even) or `floor`; a class keeps one image at least.

    Returns:
        int64 `[K]`, requested images of each class, in the order of `available`; it may exceed it.

    Raises:
        UserError: an argument that does not exist or is out of range; a class without images.
    """
    rank, head = _ranked(available, ratio, n0)
    return _rounded(head * ratio ** (-rank / max(len(rank) - 1, 1)), rounding)


def lmd_counts(available: np.ndarray, ratio: float, *, n0: int | str = "max", rounding: str = "ceil") -> np.ndarray:
    """Every class's own count, shrunk by a factor that falls with its rank, Eq. 2.

    Arguments, result and errors are those of `pareto_counts`.
    """
    rank, head = _ranked(available, ratio, n0)
    largest, smallest = available.max(), available.min()
    mu = (largest / (smallest * ratio)) ** (1 / max(len(rank) - 1, 1))
    return _rounded(head / largest * available * mu**rank, rounding)


RULES: dict[str, Callable[..., np.ndarray]] = {"pareto": pareto_counts, "lmd": lmd_counts}


@dataclass(frozen=True, eq=False)
class LongTailedSplit(Split):
    """A split that leaves images out to be long-tailed, and its target."""

    options: dict[str, Any]
    """rule, ratio, n0, rounding, fixed_test."""
    available: np.ndarray
    """int64 `[K]`, images per class before any was left out: of the training part with `fixed_test`, else of all."""
    requested: np.ndarray
    """int64 `[K]`, what the rule gave, even where that is more than `available`."""

    def imbalance(self, manifest: Manifest) -> dict[str, Any]:
        """The options, and images per class: available, requested, achieved, with the ratio achieved."""
        parts = self.counts(manifest)
        achieved = parts["train"] if self.options["fixed_test"] else sum(parts.values(), np.zeros_like(self.requested))
        counts = {"available": self.available, "requested": self.requested, "achieved": achieved}
        return {
            **self.options,
            "achieved_ratio": float(achieved.max() / max(achieved.min(), 1)),
            **{name: dict(zip(manifest.classes, n.tolist(), strict=True)) for name, n in counts.items()},
        }

    def describe(self, manifest: Manifest) -> str:
        """The table of every split, then requested and achieved images per class."""
        found = self.imbalance(manifest)
        part = "training part" if found["fixed_test"] else "all parts"
        lines = [f"{part}, rule {found['rule']}, ratio {found['ratio']:g}: {found['achieved_ratio']:.1f} achieved"]
        for name in ("requested", "achieved"):
            lines.append(f"  {name:<9} " + ", ".join(f"{code} {count:,}" for code, count in found[name].items()))
        return "\n".join([super().describe(manifest), *lines])


def long_tailed(
    manifest: Manifest,
    fold: int,
    *,
    inner: Callable[[Manifest, int], Split],
    ratio: float = 100,
    rule: str = "lmd",
    n0: int | str = "max",
    rounding: str = "ceil",
    on_short: str = "cap",
    fixed_test: bool = True,
    seed: int = 0,
) -> LongTailedSplit:
    """Divides with any other split and leaves training images out until their counts have the imbalance ratio.

    The images of a class are put into one random order, and the first N_c stay: a larger ratio keeps a subset of
    what a smaller one keeps, so that results at two ratios differ by the images left out and by no other draw.

    Args:
        manifest: the images.
        fold: which of the inner split's folds is the test part.
        inner: `(manifest, fold) -> Split`, the division itself.
        ratio: r >= 1 of the rule.
        rule: `pareto` (Eq. 1) or `lmd` (Eq. 2).
        n0: images of the largest class, or "max".
        rounding: `ceil`, `round` or `floor`.
        on_short: where a class has fewer images than requested: `cap` takes all and warns, `error` stops.
        fixed_test: True divides first and cuts the training part alone, so that validation and test images are the
            same for every ratio; False cuts everything first and divides what is left, as LMD and Ju et al. do.
        seed: of the choice of images alone.

    Raises:
        UserError: those of `inner` and `pareto_counts`; a setting that does not exist; too few images under `error`.
    """
    for key, value, known in (("rule", rule, RULES), ("on_short", on_short, ("cap", "error"))):
        if value not in known:
            raise UserError(f"split.{key}={value} does not exist", suggest(str(value), known))
    require_one_label(manifest, "split=long_tailed")
    whole = inner(manifest, fold)
    pool = whole.train if fixed_test else np.sort(np.concatenate(list(whole.parts.values())))
    require_training_images(replace(whole, train=pool), manifest)
    available = np.bincount(manifest.labels[pool], minlength=len(manifest.classes))
    requested = RULES[rule](available, ratio, n0=n0, rounding=rounding)
    _report_short(manifest, available, requested, ratio, on_short)
    kept = _draw(manifest, pool, requested, seed)
    cut = f"{rule} {ratio:g}:1"
    if fixed_test:
        name, parts = f"{whole.name}, then {cut}", {**whole.parts, "train": kept}
    else:
        part = inner(_restricted(manifest, kept), fold)
        name, parts = f"{cut}, then {part.name}", {key: kept[rows] for key, rows in part.parts.items()}
    options = {"rule": rule, "ratio": ratio, "n0": n0, "rounding": rounding, "fixed_test": fixed_test}
    return LongTailedSplit(name, **parts, options=options, available=available, requested=requested)


def lmd(manifest: Manifest, fold: int, *, ratio: float = 100, seed: int = 42) -> LongTailedSplit:
    """The division of LMD's released code, image by image: Eq. 2, then 70 / 10 / 20 in every class.

    With ISIC 2019, ratio 100 and seed 42 the parts are those of the lists that came with the code. It divides per
    image, so lesions are on both sides, and validation and test parts are as long-tailed as the training part.

    Args:
        manifest: the images; a data set's own validation and test images stay unused.
        fold: 0, there is one division.
        ratio: r.
        seed: of the choice of images and of the division.

    Raises:
        UserError: a fold other than 0; a class with fewer than 4 images, or fewer than requested.
    """
    import pandas as pd
    from sklearn.model_selection import train_test_split

    require_one_label(manifest, "split=lmd")
    if fold:
        raise UserError(f"fold {fold} is out of range: split=lmd has fold 0 only", "Set fold=0, or another split.seed.")
    pool = np.arange(len(manifest)) if manifest.parts is None else np.flatnonzero(manifest.parts == "train")
    require_training_images(Split("lmd", pool, pool[:0], pool[:0]), manifest)
    available = np.bincount(manifest.labels[pool], minlength=len(manifest.classes))
    requested = lmd_counts(available, ratio)
    _report_short(manifest, available, requested, ratio, "error")
    if np.any(requested < 4):
        few = ", ".join(manifest.classes[index] for index in np.flatnonzero(requested < 4))
        raise UserError(f"split=lmd needs 4 images of every class and would keep fewer of {few}", "Lower split.ratio.")
    parts: dict[str, list[np.ndarray]] = {"train": [], "val": [], "test": []}
    for label, number in enumerate(requested.tolist()):
        rows = pd.Series(pool[manifest.labels[pool] == label]).sample(number, random_state=seed).to_numpy()
        train, rest = train_test_split(rows, test_size=0.3, random_state=seed)
        test, val = train_test_split(rest, test_size=1 / 3, random_state=seed)
        for part, chosen in (("train", train), ("val", val), ("test", test)):
            parts[part].append(np.asarray(chosen))
    divided = {part: np.sort(np.concatenate(chosen)) for part, chosen in parts.items()}
    options = {"rule": "lmd", "ratio": ratio, "n0": "max", "rounding": "ceil", "fixed_test": False}
    return LongTailedSplit(f"lmd {ratio:g}:1", **divided, options=options, available=available, requested=requested)


def _ranked(available: np.ndarray, ratio: float, n0: int | str) -> tuple[np.ndarray, float]:
    """Each class's c (int64 `[K]`) and N_0."""
    if not ratio >= 1 or np.isinf(ratio):
        raise UserError(f"An imbalance ratio of {ratio} is not possible", "It is at least 1: split.ratio=100.")
    if n0 != "max" and not (isinstance(n0, int) and n0 > 0):
        raise UserError(f"split.n0={n0} is no number of images", "Use a positive whole number, or max.")
    if not available.min(initial=1):
        raise UserError(f"Class number {int(available.argmin())} has no images", "Add some.")
    rank = np.empty(len(available), dtype=np.int64)
    rank[np.argsort(-available, kind="stable")] = np.arange(len(available))
    return rank, float(available.max() if n0 == "max" else n0)


def _rounded(exact: np.ndarray, rounding: str) -> np.ndarray:
    if rounding not in ROUNDINGS:
        raise UserError(f"split.rounding={rounding} does not exist", suggest(str(rounding), ROUNDINGS))
    whole = np.rint(exact)
    # Powers are wrong in the last digits, and 50.00000000000004 would become 51.
    exact = np.where(np.abs(exact - whole) < 1e-9 * exact, whole, exact)
    return np.maximum(ROUNDINGS[rounding](exact), 1).astype(np.int64)


def _report_short(
    manifest: Manifest, available: np.ndarray, requested: np.ndarray, ratio: float, on_short: str
) -> None:
    """Warns of classes with fewer images than requested, or stops."""
    short = np.flatnonzero(requested > available)
    if not len(short):
        return
    named = ", ".join(f"{manifest.classes[index]} {available[index]:,} of {requested[index]:,}" for index in short)
    what = f"An imbalance ratio of {ratio:g} asks for more images of {manifest.name} than there are: {named}"
    if on_short == "error":
        raise UserError(what, "Use split.on_short=cap, a smaller split.n0, split.rule=lmd or a larger split.ratio.")
    warnings.warn(f"{what}; all of them are taken", stacklevel=3)


def _draw(manifest: Manifest, pool: np.ndarray, requested: np.ndarray, seed: int) -> np.ndarray:
    """The rows of `pool` that stay, sorted: the first `requested` of each class in its own random order."""
    kept = []
    for index, code in enumerate(manifest.classes):
        rows = pool[manifest.labels[pool] == index]
        order = np.random.default_rng(derive("imbalance", seed, code)).permutation(len(rows))
        kept.append(rows[order[: requested[index]]])
    return np.sort(np.concatenate(kept))


def _restricted(manifest: Manifest, rows: np.ndarray) -> Manifest:
    """The manifest with nothing but `rows`."""
    columns = {item.name: getattr(manifest, item.name) for item in fields(manifest)}
    arrays = {name: column[rows] for name, column in columns.items() if isinstance(column, np.ndarray)}
    return replace(manifest, images=tuple(manifest.images[row] for row in rows), **arrays)
