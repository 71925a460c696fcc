"""Whole groups divided into parts so that each part has its share of every class.

Letters: n images in G groups (lesions, patients, or single images) of K classes. A group may have images of several
classes; most data sets have one class a group, and those groups are placed without a Python loop. Images with several
labels each are divided by iterative stratification (Sechidis et al., ECML PKDD 2011), with groups for examples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_RUN = 32
"""Equal groups in a row from which arrays are quicker than the loop."""


class Members(NamedTuple):
    """How many images of which classes each group has: P pairs of a group and a class, sorted by group, then class."""

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
        """Counts the images of each group, numbered from 0 without a gap, and class.

        Of targets `[n, K]` an image counts for every label that it has; one without any counts for a class K of its
        own, so that images without findings are divided as well as the others.
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
    """Returns the part of each image, int64 `[n]`: whole groups, and each part has its share of every class.

    Groups are placed one after another, by their majority class from the rarest to the most common and from large to
    small. A group with m images of its class goes to the part with the smallest (images there + m/2) / share. For
    equal shares that is the part with the fewest images of the class; for unequal ones it rounds without bias
    (Webster's method of apportionment), so small parts get their fair number of large groups and a class of one
    image stays in the larger part. Ties: the same measure over all classes, then the first part.

    Images with several labels: the label with the fewest images that are not placed yet is always next, and all groups
    that have it are placed by its images, from many to few. With one label an image and one class a group this is the
    rule above.

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
        place = np.empty(number, dtype=np.int64)
        each = (order.tolist(), label.tolist(), images.tolist(), sizes[order].tolist())
        place[order] = _State(members, shares).place_each(*each)
        return place[groups]
    rarity = np.argsort(np.argsort(np.bincount(labels), kind="stable"), kind="stable")
    # The pair with the most images of each group; of several, the rarest class.
    first = np.lexsort((rarity[members.label], -members.images, members.group))[members.starts[:-1]]
    major, most = members.label[first], members.images[first]
    shuffled = np.random.default_rng(seed).permutation(number)
    order = shuffled[np.lexsort((-sizes[shuffled], rarity[major[shuffled]]))]
    state = _State(members, shares)
    # A run: groups in a row that have images of one and the same class only, equally many.
    alike = np.where(most[order] == sizes[order], major[order] * (sizes.max() + 1) + sizes[order], -1)
    ends = _ends(alike)
    lengths = np.diff(ends, prepend=0)
    alike[np.repeat(lengths < _RUN, lengths)] = -1
    ends = _ends(alike)
    place, start = np.empty(number, dtype=np.int64), 0
    for end, kind in zip(ends.tolist(), alike[ends - 1].tolist(), strict=True):
        run = order[start:end]
        if kind >= 0:
            place[run] = state.place_equal(int(major[run[0]]), int(sizes[run[0]]), end - start)
        else:
            place[run] = state.place_each(run.tolist(), major[run].tolist(), most[run].tolist(), sizes[run].tolist())
        start = end
    return place[groups]


def _rarest_first(members: Members, sizes: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The order of iterative stratification, which does not depend on the places.

    Returns:
        int64 `[G]` thrice: groups in the order in which they are placed, the label that decides on each, and how many
        of its images have that label.
    """
    table = np.zeros((len(sizes), int(members.label.max()) + 1), dtype=np.int64)
    table[members.group, members.label] = members.images
    turn = np.empty(len(sizes), dtype=np.int64)
    turn[np.random.default_rng(seed).permutation(len(sizes))] = np.arange(len(sizes))
    waiting, left = np.ones(len(sizes), dtype=bool), table.sum(axis=0)
    order, labels = [], []
    while waiting.any():
        label = int(np.where(left > 0, left, np.iinfo(np.int64).max).argmin())
        chosen = np.flatnonzero(waiting & (table[:, label] > 0))
        order.append(chosen[np.lexsort((turn[chosen], -sizes[chosen], -table[chosen, label]))])
        labels.append(np.full(len(chosen), label))
        waiting[chosen] = False
        left = left - table[chosen].sum(axis=0)
    groups, deciding = np.concatenate(order), np.concatenate(labels)
    return groups, deciding, table[groups, deciding]


def _ends(values: np.ndarray) -> np.ndarray:
    """Behind the last place of each run of equal values."""
    return np.flatnonzero(np.r_[values[1:] != values[:-1], True]) + 1


class _State:
    """What the parts hold while groups are placed: images of every class, and of all."""

    def __init__(self, members: Members, shares: list[float]) -> None:
        self.shares = shares
        self.held = [[0] * (int(members.label.max()) + 1) for _ in shares]
        self.totals = [0] * len(shares)
        self._labels, self._images = members.label.tolist(), members.images.tolist()
        self._starts = members.starts.tolist()

    def place_each(self, groups: list[int], labels: list[int], most: list[int], sizes: list[int]) -> list[int]:
        """The parts of these groups, one after another."""
        held, totals, shares = self.held, self.totals, self.shares
        places = []
        for group, label, images, size in zip(groups, labels, most, sizes, strict=True):
            best, least = 0, (held[0][label] + images / 2) / shares[0]
            for part in range(1, len(shares)):
                value = (held[part][label] + images / 2) / shares[part]
                if value < least or (
                    value == least
                    and (totals[part] + size / 2) / shares[part] < (totals[best] + size / 2) / shares[best]
                ):
                    best, least = part, value
            places.append(best)
            totals[best] += size
            for pair in range(self._starts[group], self._starts[group + 1]):
                held[best][self._labels[pair]] += self._images[pair]
        return places

    def place_equal(self, label: int, size: int, number: int) -> np.ndarray:
        """The parts of `number` groups of `size` images of one class: what `place_each` gives, int64 `[number]`.

        The j-th of these groups that a part takes has a measure that depends on the part and on j alone, and grows
        with j: the groups are placed in the order of all those measures.
        """
        held = [part[label] for part in self.held]
        level = sum(held) + number * size
        # No part takes more: the last measure is about where all parts are at one level.
        spare = [int(len(held) * share / 2) + 3 for share in self.shares]
        limits = [
            min(number, max(0, int((level * share - have) / size) + more))
            for have, share, more in zip(held, self.shares, spare, strict=True)
        ]
        part = np.repeat(np.arange(len(limits)), limits)
        taken = np.concatenate([np.arange(limit) for limit in limits]) * size
        share = np.array(self.shares)[part]
        measure = (np.array(held)[part] + taken + size / 2) / share
        overall = (np.array(self.totals)[part] + taken + size / 2) / share
        places = part[np.lexsort((part, overall, measure))[:number]]
        for chosen, count in enumerate(np.bincount(places, minlength=len(limits)).tolist()):
            self.held[chosen][label] += count * size
            self.totals[chosen] += count * size
        return places


def groups_per_class(labels: np.ndarray, groups: np.ndarray, classes: int) -> np.ndarray:
    """Groups that have an image of each class, int64 `[classes]`; behind the labels, if any, of images without one."""
    members = Members.of(labels, np.unique(groups, return_inverse=True)[1])
    return np.bincount(members.label, minlength=classes)


def reach_all_classes(
    held: np.ndarray, labels: np.ndarray, groups: np.ndarray, share: float, seed: int, known: np.ndarray
) -> np.ndarray:
    """Extends a held-out part to classes that have too few groups for a share: bool `[n]`, `held` and more.

    A class of fewer than about 1 / (2 share) groups has none in `apportion`'s smaller part. Here

    - a class of at least three groups (in `known`) gives its smallest one, and
    - where the part is smaller than its share of all images, classes of two groups give one as well, in random order,

    unless a class would lose its last group of the rest. The part of a set with many such classes is larger than
    `share`. Nothing else changes: without such classes the result is `held`.

    Args:
        held: bool `[n]`, the part so far; whole groups.
        labels: int64 `[n]`, class indices, or float `[n, K]`, as for `apportion`.
        groups: int64 `[n]`, any numbers.
        share: of the part.
        seed: of the choice among equal groups and classes.
        known: as `groups_per_class` gives it: groups of each class in the whole division, the test part included.
    """
    groups = np.unique(groups, return_inverse=True)[1]
    members, sizes = Members.of(labels, groups), np.bincount(groups)
    inside = np.zeros(len(sizes), dtype=bool)
    inside[groups[held]] = True
    classes = len(known)
    left = np.bincount(members.label[~inside[members.group]], minlength=classes)
    reached = np.bincount(members.label[inside[members.group]], minlength=classes) > 0
    wanting = np.flatnonzero(~reached & (left >= 2))
    if not len(wanting):
        return held
    rng = np.random.default_rng(seed)
    turn, order = rng.permutation(len(sizes)), rng.permutation(classes)
    missing = share * len(labels) - int(held.sum())

    def give(label: int, most: float) -> int:
        """Moves one group of a class, of at most `most` images; its images, or 0 if there is none that may go."""
        candidates = members.group[members.label == label]
        candidates = candidates[~inside[candidates] & (sizes[candidates] <= most)]
        for group in candidates[np.lexsort((turn[candidates], sizes[candidates]))].tolist():
            has = members.label[members.starts[group] : members.starts[group + 1]]
            if (left[has] >= 2).all():
                inside[group], reached[has] = True, True
                left[has] -= 1
                return int(sizes[group])
        return 0

    for label in sorted(wanting.tolist(), key=lambda label: (known[label], label)):
        if known[label] >= 3 and not reached[label]:
            missing -= give(label, np.inf)
    for label in order[np.isin(order, wanting)].tolist():
        # A group that makes the part miss its share by more than before stays.
        if not reached[label] and missing > 0:
            missing -= give(label, 2 * missing)
    return inside[groups]
