"""Long-tailed versions of any data set: the number of images of each class, and splits with that many.

K classes in order of decreasing counts n_0 >= ... >= n_{K-1}, r the requested imbalance ratio, N_c the images of
class c in the long-tailed version:

    pareto   N_c = N_0 r^(-c / (K-1))                                                       (1)
    lmd      N_c = (N_0 / n_0) n_c mu^c,  mu = (n_0 / (n_{K-1} r))^(1 / (K-1))              (2)

Both have N_0 / N_{K-1} = r and are called ISIC-2019-LT. In (1) all counts lie on one curve, independent of the
available ones; in (2) each class's own count is reduced, so that no class is short if r is at least the ratio of the
data.

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
    """Counts on an exponential curve, Eq. 1.

    Args:
        available: int `[K]`, images per class, all positive; the order is free, equal counts rank by class order.
        ratio: r >= 1, the largest count over the smallest.
        n0: N_0, images of the largest class; "max" for all that it has.
        rounding: `ceil`, `round` (halves to even) or `floor`; every class has at least one image.

    Returns:
        int64 `[K]`, requested images of each class, in the order of `available`; it may exceed it.

    Raises:
        UserError: an unknown or invalid argument; a class without images.
    """
    rank, head = _ranked(available, ratio, n0)
    return _rounded(head * ratio ** (-rank / max(len(rank) - 1, 1)), rounding)


def lmd_counts(available: np.ndarray, ratio: float, *, n0: int | str = "max", rounding: str = "ceil") -> np.ndarray:
    """Every class's own count, reduced by a factor that depends on its rank, Eq. 2.

    Arguments, result and errors are those of `pareto_counts`.
    """
    rank, head = _ranked(available, ratio, n0)
    largest, smallest = available.max(), available.min()
    mu = (largest / (smallest * ratio)) ** (1 / max(len(rank) - 1, 1))
    return _rounded(head / largest * available * mu**rank, rounding)


RULES: dict[str, Callable[..., np.ndarray]] = {"pareto": pareto_counts, "lmd": lmd_counts}


@dataclass(frozen=True, eq=False)
class LongTailedSplit(Split):
    """A long-tailed split: a subset of another one, with its target counts."""

    options: dict[str, Any]
    """rule, ratio, n0, rounding, fixed_test."""
    available: np.ndarray
    """int64 `[K]`, images per class before subsampling: of the training part with `fixed_test`, else of all."""
    requested: np.ndarray
    """int64 `[K]`, counts of the rule, which may exceed `available`."""

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
        imbalance = self.imbalance(manifest)
        part = "training part" if imbalance["fixed_test"] else "all parts"
        rule = f"{part}, rule {imbalance['rule']}, ratio {imbalance['ratio']:g}"
        lines = [f"{rule}: {imbalance['achieved_ratio']:.1f} achieved"]
        for name in ("requested", "achieved"):
            lines.append(f"  {name:<9} " + ", ".join(f"{code} {count:,}" for code, count in imbalance[name].items()))
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
    """Subsamples the training part of any other split to an imbalance ratio.

    The images of a class have one random order, and the first N_c are selected: the images of a larger ratio are a
    subset of those of a smaller one, so that results at two ratios differ only by the removed images.

    Args:
        manifest: the images.
        fold: which of the inner split's folds is the test part.
        inner: `(manifest, fold) -> Split`, the split.
        ratio: r >= 1 of the rule.
        rule: `pareto` (Eq. 1) or `lmd` (Eq. 2).
        n0: images of the largest class, or "max".
        rounding: `ceil`, `round` or `floor`.
        on_short: for classes with fewer images than requested: `cap` uses all of them and warns, `error` raises.
        fixed_test: True splits first and subsamples the training part only, so that validation and test images are
            the same for every ratio; False subsamples all images first, then splits, as LMD and Ju et al. do.
        seed: of the subsampling only.

    Raises:
        UserError: those of `inner` and `pareto_counts`; an unknown setting; too few images with `error`.
    """
    for key, value, allowed in (("rule", rule, RULES), ("on_short", on_short, ("cap", "error"))):
        if value not in allowed:
            raise UserError(f"split.{key}={value} does not exist", suggest(str(value), allowed))
    require_one_label(manifest, "split=long_tailed")
    full_split = inner(manifest, fold)
    pool = full_split.train if fixed_test else np.sort(np.concatenate(list(full_split.parts.values())))
    require_training_images(replace(full_split, train=pool), manifest)
    available = np.bincount(manifest.labels[pool], minlength=len(manifest.classes))
    requested = RULES[rule](available, ratio, n0=n0, rounding=rounding)
    _report_short(manifest, available, requested, ratio, on_short)
    selected = _subsample(manifest, pool, requested, seed)
    cut = f"{rule} {ratio:g}:1"
    if fixed_test:
        name, parts = f"{full_split.name}, then {cut}", {**full_split.parts, "train": selected}
    else:
        inner_split = inner(_restricted(manifest, selected), fold)
        name, parts = (
            f"{cut}, then {inner_split.name}",
            {key: selected[rows] for key, rows in inner_split.parts.items()},
        )
    options = {"rule": rule, "ratio": ratio, "n0": n0, "rounding": rounding, "fixed_test": fixed_test}
    return LongTailedSplit(name, **parts, options=options, available=available, requested=requested)


def lmd(manifest: Manifest, fold: int, *, ratio: float = 100, seed: int = 42) -> LongTailedSplit:
    """The split of LMD's released code, by image: Eq. 2, then 70 / 10 / 20 in every class.

    With ISIC 2019, ratio 100 and seed 42 the parts are those of the lists released with the code. It splits by
    image, so that lesions are in several parts, and validation and test parts are as long-tailed as the training part.

    Args:
        manifest: the images; a data set's own validation and test images stay unused.
        fold: 0, the only one.
        ratio: r.
        seed: of the subsampling and of the split.

    Raises:
        UserError: a fold other than 0; a class with fewer than 4 images, or fewer than requested.
    """
    import pandas as pd
    from sklearn.model_selection import train_test_split

    require_one_label(manifest, "split=lmd")
    if fold:
        raise UserError(f"fold {fold} is out of range: split=lmd has fold 0 only", "Set fold=0, or another split.seed.")
    if not 0 <= seed < 2**32:  # As pandas and scikit-learn take it.
        raise UserError(f"split.seed={seed} is too large for split=lmd", "Use a number below 4,294,967,296.")
    pool = np.arange(len(manifest)) if manifest.parts is None else np.flatnonzero(manifest.parts == "train")
    require_training_images(Split("lmd", pool, pool[:0], pool[:0]), manifest)
    available = np.bincount(manifest.labels[pool], minlength=len(manifest.classes))
    requested = lmd_counts(available, ratio)
    _report_short(manifest, available, requested, ratio, "error")
    if np.any(requested < 4):
        rare = ", ".join(manifest.classes[index] for index in np.flatnonzero(requested < 4))
        raise UserError(f"split=lmd needs 4 images of every class and would keep fewer of {rare}", "Lower split.ratio.")
    parts: dict[str, list[np.ndarray]] = {"train": [], "val": [], "test": []}
    for label, number in enumerate(requested.tolist()):
        rows = pd.Series(pool[manifest.labels[pool] == label]).sample(number, random_state=seed).to_numpy()
        train, held_out = train_test_split(rows, test_size=0.3, random_state=seed)
        test, val = train_test_split(held_out, test_size=1 / 3, random_state=seed)
        for part, part_rows in (("train", train), ("val", val), ("test", test)):
            parts[part].append(np.asarray(part_rows))
    divided = {part: np.sort(np.concatenate(part_rows)) for part, part_rows in parts.items()}
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
    nearest = np.rint(exact)
    # Powers have rounding errors, and 50.00000000000004 would become 51.
    exact = np.where(np.abs(exact - nearest) < 1e-9 * exact, nearest, exact)
    return np.maximum(ROUNDINGS[rounding](exact), 1).astype(np.int64)


def _report_short(
    manifest: Manifest, available: np.ndarray, requested: np.ndarray, ratio: float, on_short: str
) -> None:
    """Warns of classes with fewer images than requested, or raises UserError."""
    short = np.flatnonzero(requested > available)
    if not len(short):
        return
    shortfalls = ", ".join(f"{manifest.classes[index]} {available[index]:,} of {requested[index]:,}" for index in short)
    message = f"An imbalance ratio of {ratio:g} asks for more images of {manifest.name} than there are: {shortfalls}"
    if on_short == "error":
        raise UserError(message, "Use split.on_short=cap, a smaller split.n0, split.rule=lmd or a larger split.ratio.")
    warnings.warn(f"{message}; all of them are taken", stacklevel=3)


def _subsample(manifest: Manifest, pool: np.ndarray, requested: np.ndarray, seed: int) -> np.ndarray:
    """The selected rows of `pool`, sorted: the first `requested` of each class in its random order."""
    selected = []
    for index, code in enumerate(manifest.classes):
        rows = pool[manifest.labels[pool] == index]
        order = np.random.default_rng(derive("imbalance", seed, code)).permutation(len(rows))
        selected.append(rows[order[: requested[index]]])
    return np.sort(np.concatenate(selected))


def _restricted(manifest: Manifest, rows: np.ndarray) -> Manifest:
    """The manifest restricted to `rows`."""
    columns = {item.name: getattr(manifest, item.name) for item in fields(manifest)}
    arrays = {name: column[rows] for name, column in columns.items() if isinstance(column, np.ndarray)}
    return replace(manifest, images=tuple(manifest.images[row] for row in rows), **arrays)
