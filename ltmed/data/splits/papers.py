"""The splits of papers, by image, without regard to lesions or patients."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ltmed.data.manifest import Manifest
from ltmed.data.splits.protocols import Split, official, random
from ltmed.errors import UserError, suggest


@dataclass(frozen=True)
class Division:
    """The split of a paper. Without `test`, each of `folds` is the test part once.

    With `test` and `folds`, the remaining images are divided into folds, one of which is the validation part.
    """

    description: str
    """In the terms of the paper."""
    test: float | None = None
    """Fraction of all images."""
    val: float | None = None
    """Fraction of all images; None if the paper has no validation part."""
    folds: int = 1
    published: bool = False
    """Whether the data set's own parts, if present, are those of the paper."""


FIVE_FOLDS = Division("5 folds", folds=5)
SEVEN_THREE = Division("7:3", test=0.3)
SEVEN_ONE_TWO = Division("7:1:2", test=0.2, val=0.1, published=True)
EIGHT_ONE_ONE = Division("8:1:1", test=0.1, val=0.1)
INNER_FOLDS = Division("80:20 and 5 folds of the 80", test=0.2, folds=5)

_PCCT = {"isic2018": FIVE_FOLDS, "sd198": FIVE_FOLDS}
PAPERS: dict[str, dict[str, Division]] = {
    "pcct": _PCCT,
    "efficient_pcct": _PCCT,
    "proco": {"isic2018": SEVEN_THREE, "aptos2019": SEVEN_THREE},
    "aduni": {"isic2018": FIVE_FOLDS, "aptos2019": FIVE_FOLDS},
    "alpa": {"aptos2019": INNER_FOLDS, "bone_marrow": INNER_FOLDS, "medmnist": INNER_FOLDS},
    "lmd": {"isic_archive_lt": SEVEN_ONE_TWO, "hyper_kvasir": EIGHT_ONE_ONE},
}
"""Paper (named as its method) -> data set -> division."""
ELSEWHERE = {("lmd", "isic2019_lt"): "split=lmd split.ratio=100 draws the very images of its released code."}
"""Hints for splits that are more than proportions."""


def paper(manifest: Manifest, fold: int, *, of: str, val: float = 0.1, seed: int = 0, pool: str = "train") -> Split:
    """Splits as a paper did, stratified by class, by image; images of one lesion may be in train and test.

    Unless the data set's own parts are those of the paper, its random split is not published: this is the same kind of
    split, with other images.

    Args:
        manifest: the images.
        fold: the test fold (5 folds) or the validation fold (80:20 and 5 folds); 0 if there is one split.
        of: the paper, named as its method.
        val: fraction of the images outside the test part for checkpoint selection if the paper has no
            validation part. Those papers select on the test part, or do not report how they select.
        seed: of the division.
        pool: see `ltmed.data.splits.protocols.grouped`.

    Raises:
        UserError: a paper or a data set without a known division; a fold that does not exist.
    """
    division = division_of(of, manifest.name)
    name = f"paper ({of}, {division.description})"
    if division.published and manifest.parts is not None:
        return official(manifest, fold, name)
    if division.test is None or division.folds == 1:
        share = val if division.val is None else division.val / (1 - (division.test or 0.0))
        split = random(manifest, fold, folds=division.folds, test=division.test, val=share, seed=seed, pool=pool)
        return replace(split, name=name)
    outer = random(manifest, 0, test=division.test, val=0.5, seed=seed, pool=pool)
    inside = np.sort(np.concatenate([outer.train, outer.val]))
    parts = np.full(len(manifest), "", dtype="<U5")
    parts[inside] = "train"
    inner = random(replace(manifest, parts=parts), fold, folds=division.folds, val=0.5, seed=seed)
    return Split(name, np.sort(np.concatenate([inner.train, inner.val])), inner.test, outer.test)


def division_of(paper: str, dataset: str) -> Division:
    """The split that the paper used on the data set.

    Raises:
        UserError: there is none; the message lists the known ones.
    """
    if paper not in PAPERS:
        raise UserError(
            f"No paper is known for method '{paper}'",
            f"Say split.of=NAME for the division of another one's. {suggest(paper, PAPERS)}",
        )
    divisions = PAPERS[paper]
    if (paper, dataset) in ELSEWHERE:
        raise UserError(f"protocol=paper has no division of {dataset} by '{paper}'", ELSEWHERE[paper, dataset])
    if dataset not in divisions:
        raise UserError(
            f"The paper of '{paper}' does not divide {dataset}",
            f"It has {', '.join(divisions)}. Choose split.of=NAME, or split=random or split=grouped without protocol.",
        )
    return divisions[dataset]
