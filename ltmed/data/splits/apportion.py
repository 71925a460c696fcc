"""Stratified division of whole groups into parts, so that each part has its share of every class.

Letters: n images in G groups (lesions, patients, or single images) of K classes. A group may have images of several
classes; groups of one class are assigned without a Python loop. Images with several
labels each are divided by iterative stratification (Sechidis et al., ECML PKDD 2011), with groups for examples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_RUN = 32
"""Number of consecutive equal groups from which arrays are faster than the loop."""


class Members(NamedTuple):
    """Images per class of each group: P pairs of a group and a class, sorted by group, then class."""

    group: np.ndarray
    """int64 `[P]`."""
    label: np.ndarray
    """int64 `[P]`."""
    images: np.ndarray
    """int64 `[P]`, positive."""
    starts: np.ndarray
    """int64 `[G + 1]`: the pairs of group g are `starts[g]` to `starts[g + 1]`."""

    @classmethod
    def of(cls, labels: np.ndarray, groups: np.ndarray) -> Members:
        """Counts the images of each class in each group; groups are numbered from 0 without a gap.

        For targets `[n, K]` an image counts for every label that it has; images without labels form a class K, so that
        they are stratified as well.
        """
        if labels.ndim == 2:
            present = np.column_stack([labels == 1, ~(labels == 1).any(axis=1)])
            table = np.zeros((int(groups.max()) + 1, present.shape[1]), dtype=np.int64)
            np.add.at(table, groups, present)
            group, label = np.nonzero(table)
            return cls(group, label, table[group, label], np.searchsorted(group, np.arange(len(table) + 1)))
        width = int(labels.max()) + 1
        keys, images = np.unique(groups * width + labels, return_counts=True)
        group, label = np.divmod(keys, width)
        return cls(group, label, images, np.searchsorted(group, np.arange(group[-1] + 2)))


def apportion(labels: np.ndarray, groups: np.ndarray, shares: list[float], seed: int) -> np.ndarray:
    """Returns the part of each image, int64 `[n]`, by a stratified division of whole groups.

    Groups are assigned one after another, by their majority class from the rarest to the most common and from large to
    small. A group with m images of its class goes to the part with the smallest (images there + m/2) / share. For
    equal shares that is the part with the fewest images of the class; for unequal ones it rounds without bias
    (Webster's method of apportionment), so that small parts get their proportion of large groups, and a class of one
    image goes to the larger part. Ties: the same measure over all classes, then the first part.

    Images with several labels: the label with the fewest unassigned images is always next, and all groups that have it
    are assigned by the number of its images, in descending order. With one label per image and one class per group
    this is the rule above.

    Args:
        labels: int64 `[n]`, class indices; or float `[n, K]`, of which 1 is a label that is present.
        groups: int64 `[n]`, any numbers.
        shares: positive, one per part, adding up to 1.
        seed: of the order within groups of equal class and size.
    """
    if not len(labels):
        return np.zeros(0, dtype=np.int64)
    groups = np.unique(groups, return_inverse=True)[1]
    members = Members.of(labels, groups)
    number, sizes = len(members.starts) - 1, np.bincount(groups)
    if labels.ndim == 2:
        order, label, images = _rarest_first(members, sizes, seed)
        part = np.empty(number, dtype=np.int64)
        columns = (order.tolist(), label.tolist(), images.tolist(), sizes[order].tolist())
        part[order] = _State(members, shares).place_each(*columns)
        return part[groups]
    rarity = np.argsort(np.argsort(np.bincount(labels), kind="stable"), kind="stable")
    # The pair with the most images of each group; of several, the rarest class.
    first = np.lexsort((rarity[members.label], -members.images, members.group))[members.starts[:-1]]
    majority_class, images_of_class = members.label[first], members.images[first]
    shuffled = np.random.default_rng(seed).permutation(number)
    order = shuffled[np.lexsort((-sizes[shuffled], rarity[majority_class[shuffled]]))]
    state = _State(members, shares)
    # A run: groups in a row that have images of one and the same class only, equally many.
    run_key = np.where(
        images_of_class[order] == sizes[order], majority_class[order] * (sizes.max() + 1) + sizes[order], -1
    )
    ends = _ends(run_key)
    lengths = np.diff(ends, prepend=0)
    run_key[np.repeat(lengths < _RUN, lengths)] = -1
    ends = _ends(run_key)
    part, start = np.empty(number, dtype=np.int64), 0
    for end, kind in zip(ends.tolist(), run_key[ends - 1].tolist(), strict=True):
        run = order[start:end]
        if kind >= 0:
            part[run] = state.place_equal(int(majority_class[run[0]]), int(sizes[run[0]]), end - start)
        else:
            part[run] = state.place_each(
                run.tolist(), majority_class[run].tolist(), images_of_class[run].tolist(), sizes[run].tolist()
            )
        start = end
    return part[groups]


def _rarest_first(members: Members, sizes: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The order of iterative stratification, which does not depend on the assigned parts.

    Returns:
        int64 `[G]` three times: groups in the order of assignment, the deciding label of each, and the number of its
        images with that label.
    """
    table = np.zeros((len(sizes), int(members.label.max()) + 1), dtype=np.int64)
    table[members.group, members.label] = members.images
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[np.random.default_rng(seed).permutation(len(sizes))] = np.arange(len(sizes))
    unplaced, remaining = np.ones(len(sizes), dtype=bool), table.sum(axis=0)
    order, labels = [], []
    while unplaced.any():
        label = int(np.where(remaining > 0, remaining, np.iinfo(np.int64).max).argmin())
        selected = np.flatnonzero(unplaced & (table[:, label] > 0))
        order.append(selected[np.lexsort((rank[selected], -sizes[selected], -table[selected, label]))])
        labels.append(np.full(len(selected), label))
        unplaced[selected] = False
        remaining = remaining - table[selected].sum(axis=0)
    groups, deciding = np.concatenate(order), np.concatenate(labels)
    return groups, deciding, table[groups, deciding]


def _ends(values: np.ndarray) -> np.ndarray:
    """The end index of each run of equal values."""
    return np.flatnonzero(np.r_[values[1:] != values[:-1], True]) + 1


class _State:
    """Images per part during the assignment: of every class, and in total."""

    def __init__(self, members: Members, shares: list[float]) -> None:
        self.shares = shares
        self.counts = [[0] * (int(members.label.max()) + 1) for _ in shares]
        self.totals = [0] * len(shares)
        self._labels, self._images = members.label.tolist(), members.images.tolist()
        self._starts = members.starts.tolist()

    def place_each(
        self, groups: list[int], labels: list[int], images_of_class: list[int], sizes: list[int]
    ) -> list[int]:
        """The parts of these groups, assigned one after another."""
        counts, totals, shares = self.counts, self.totals, self.shares
        places = []
        for group, label, images, size in zip(groups, labels, images_of_class, sizes, strict=True):
            best, lowest = 0, (counts[0][label] + images / 2) / shares[0]
            for part in range(1, len(shares)):
                value = (counts[part][label] + images / 2) / shares[part]
                if value < lowest or (
                    value == lowest
                    and (totals[part] + size / 2) / shares[part] < (totals[best] + size / 2) / shares[best]
                ):
                    best, lowest = part, value
            places.append(best)
            totals[best] += size
            for pair in range(self._starts[group], self._starts[group + 1]):
                counts[best][self._labels[pair]] += self._images[pair]
        return places

    def place_equal(self, label: int, size: int, number: int) -> np.ndarray:
        """The parts of `number` groups of `size` images of one class: what `place_each` gives, int64 `[number]`.

        The measure of the j-th of these groups in a part depends only on the part and on j, and increases with j:
        groups are assigned in the order of all these measures.
        """
        counts = [part[label] for part in self.counts]
        level = sum(counts) + number * size
        # Upper limit of the groups per part: the last measure is near the level where all parts are equal.
        margins = [int(len(counts) * share / 2) + 3 for share in self.shares]
        limits = [
            min(number, max(0, int((level * share - count) / size) + extra))
            for count, share, extra in zip(counts, self.shares, margins, strict=True)
        ]
        part = np.repeat(np.arange(len(limits)), limits)
        preceding = np.concatenate([np.arange(limit) for limit in limits]) * size
        share = np.array(self.shares)[part]
        measure = (np.array(counts)[part] + preceding + size / 2) / share
        overall = (np.array(self.totals)[part] + preceding + size / 2) / share
        places = part[np.lexsort((part, overall, measure))[:number]]
        for index, count in enumerate(np.bincount(places, minlength=len(limits)).tolist()):
            self.counts[index][label] += count * size
            self.totals[index] += count * size
        return places


def groups_per_class(labels: np.ndarray, groups: np.ndarray, classes: int) -> np.ndarray:
    """Number of groups with an image of each class, int64 `[classes]`; then that of images without a label, if any."""
    members = Members.of(labels, np.unique(groups, return_inverse=True)[1])
    return np.bincount(members.label, minlength=classes)


def reach_all_classes(
    held_out: np.ndarray, labels: np.ndarray, groups: np.ndarray, share: float, seed: int, group_counts: np.ndarray
) -> np.ndarray:
    """Extends a held-out part to classes that have too few groups for a share: bool `[n]`, `held_out` and more.

    A class of fewer than about 1 / (2 share) groups has none in the smaller part of `apportion`. Here

    - a class of at least three groups (in `group_counts`) gives its smallest one, and
    - where the part is smaller than its share of all images, classes of two groups contribute one, in random order,

    unless a class would lose its last remaining group. The part of a set with many such classes is larger than
    `share`. Nothing else changes: without such classes the result is `held_out`.

    Args:
        held_out: bool `[n]`, the part so far; whole groups.
        labels: int64 `[n]`, class indices, or float `[n, K]`, as for `apportion`.
        groups: int64 `[n]`, any numbers.
        share: of the part.
        seed: of the choice among equal groups and classes.
        group_counts: as `groups_per_class` gives it: groups of each class in the whole division, the test part
            included.
    """
    groups = np.unique(groups, return_inverse=True)[1]
    members, sizes = Members.of(labels, groups), np.bincount(groups)
    in_part = np.zeros(len(sizes), dtype=bool)
    in_part[groups[held_out]] = True
    classes = len(group_counts)
    remaining = np.bincount(members.label[~in_part[members.group]], minlength=classes)
    covered = np.bincount(members.label[in_part[members.group]], minlength=classes) > 0
    uncovered = np.flatnonzero(~covered & (remaining >= 2))
    if not len(uncovered):
        return held_out
    rng = np.random.default_rng(seed)
    group_rank, order = rng.permutation(len(sizes)), rng.permutation(classes)
    n_missing = share * len(labels) - int(held_out.sum())

    def move_group(label: int, max_size: float) -> int:
        """Moves one group of a class, of at most `max_size` images; returns its size, or 0 if no group may move."""
        candidates = members.group[members.label == label]
        candidates = candidates[~in_part[candidates] & (sizes[candidates] <= max_size)]
        for group in candidates[np.lexsort((group_rank[candidates], sizes[candidates]))].tolist():
            labels_of_group = members.label[members.starts[group] : members.starts[group + 1]]
            if (remaining[labels_of_group] >= 2).all():
                in_part[group], covered[labels_of_group] = True, True
                remaining[labels_of_group] -= 1
                return int(sizes[group])
        return 0

    for label in sorted(uncovered.tolist(), key=lambda label: (group_counts[label], label)):
        if group_counts[label] >= 3 and not covered[label]:
            n_missing -= move_group(label, np.inf)
    for label in order[np.isin(order, uncovered)].tolist():
        # A group is not moved if the part would then exceed its share by more than it is below now.
        if not covered[label] and n_missing > 0:
            n_missing -= move_group(label, 2 * n_missing)
    return in_part[groups]
