"""Permutation test of whether an attribute of images has an effect, where images come in groups (lesions, patients).

Letters: N images, P permutations, S subgroups.
"""

from __future__ import annotations

import numpy as np

MIN_PERMUTATIONS = 19
"""With fewer different permutations p cannot be as small as 0.05, and is not given."""


def permuted_attribute(
    codes: np.ndarray, members: np.ndarray, classes: np.ndarray, permutations: int, seed: int
) -> np.ndarray:
    """Permutes the attribute of images such that all results are equally likely if it has no effect.

    Without an effect, predictions are independent of the attribute. Groups are independent of each other and the images
    of one are correlated, so single images cannot be permuted across groups. What can be permuted depends on where the
    attribute varies:

    - It has one value in each group (the sex of a patient): the values are permuted over all groups. This takes the
      value to be independent of the group's size too.
    - It varies within groups (eye, view, site of an image): all values of a group move together to a group of equal
      size, and are then put in a random order there. Groups of equal size are exchangeable, and so are the images
      within a group, whose correlation is the same for each pair of them. A fixed order of values (left before right)
      is therefore no obstacle: exchanges within the groups are compared. Groups of different sizes do not exchange
      values, since the mix of values within a group depends on its size.

    The mix of classes may depend on the attribute although predictions of a class do not. Where each group has one
    class (single images, lesions), only groups of equal classes exchange values, so that each value keeps its mix. A
    recall from few images would else be compared with recalls from more, which vary less, and p would be too small.
    Groups of several classes (patients) are too different for that: p then takes the mix to be independent as well.

    Args:
        codes: whole numbers `[N]`, the value of each image.
        members: int64 `[N]`, the group of each image.
        classes: int64 `[N]`, the class of each image; all equal where the mix of classes is itself an effect.
        permutations: P.
        seed: of the permutations.

    Returns:
        `[P, N]`, rows of permuted codes.
    """
    rng = np.random.default_rng(seed)
    _, first, member, sizes = np.unique(members, return_index=True, return_inverse=True, return_counts=True)
    one_value = np.array_equal(codes[first][member], codes)
    one_class = np.array_equal(classes[first][member], classes)
    kinds = (classes[first] if one_class else 0) * (sizes.max() + 1) + (0 if one_value else sizes)
    kinds = np.broadcast_to(kinds, len(sizes))
    order = np.argsort(member, kind="stable")
    permuted = np.empty((permutations, len(codes)), dtype=codes.dtype)
    for kind in np.unique(kinds):
        groups = np.flatnonzero(kinds == kind)
        images = order[kinds[member[order]] == kind]
        for row in permuted:
            if one_value:
                row[images] = np.repeat(rng.permutation(codes[first[groups]]), sizes[groups])
            else:
                row[images] = rng.permuted(rng.permutation(codes[images].reshape(len(groups), -1)), axis=1).ravel()
    return permuted


def p_of_largest_difference(difference: float, metric: np.ndarray, permuted: np.ndarray) -> tuple[float, str]:
    """Share of permutations whose largest difference between two subgroups is at least the observed one.

    A permutation in which a subgroup has no metric (none of its images has a class) is neither smaller nor larger, and
    is not counted. The observed attribute has a metric in each subgroup, so that without an effect it is equally
    likely to be any of those that are counted, and p is exact.

    Args:
        difference: observed, at least 0.
        metric: `[P, S]` of each permutation, NaN where undefined.
        permuted: `[P, N]` from `permuted_attribute`.

    Returns:
        p, where the observed attribute counts as one of the permutations; and "". Or NaN and the reason, where fewer
        than `MIN_PERMUTATIONS` different ones count.
    """
    defined = ~np.isnan(metric).any(1)
    different = len({row.tobytes() for row in permuted[defined]})
    if different < MIN_PERMUTATIONS:
        return float("nan"), (
            f"of {len(metric)} permutations of the attribute within groups or between like ones, {different} differ "
            f"and leave each subgroup a number, and a p value needs {MIN_PERMUTATIONS}"
        )
    spread = np.ptp(metric[defined], axis=1)
    return float((1 + (spread >= difference - 1e-12).sum()) / (1 + defined.sum())), ""
