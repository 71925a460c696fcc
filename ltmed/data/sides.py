"""Classes that name a side, such as left and right lung: the mirror image of one shows the other.

Flips would then make the two classes equal. A vertical flip is one too: it is a horizontal flip turned upside down, and
becomes one where images are also rotated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ltmed.data.augment import Augmentation, Compose, Operation
from ltmed.data.stage_data import StageData

_OTHER = {"left": "right", "right": "left"}


def sides(names: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of names that become equal when the words left and right are exchanged, in the order of the names.

    Case, punctuation and the spelling of compounds do not matter: `lung, left` and `Lung_Right` are a pair, and so are
    `LeftLung` and `RightLung`. A name with a word that only contains `left` has no side.
    """
    words = [tuple(re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())) for name in names]
    index = {tokens: position for position, tokens in enumerate(words)}
    pairs = []
    for position, tokens in enumerate(words):
        other = index.get(tuple(_OTHER.get(token, token) for token in tokens), position)
        if other > position:
            pairs.append((names[position], names[other]))
    return pairs


def named(pairs: Sequence[tuple[str, str]]) -> str:
    """The first pair and the number of the others, for a message."""
    (left, right), more = pairs[0], len(pairs) - 1
    others = f" (and {more:,} more such pair{'s' * (more > 1)})" if more else ""
    return f"the classes '{left}' and '{right}'{others}"


def without_flips(stage: StageData) -> StageData:
    """The same training images without flips; the stage itself if it has none."""
    if isinstance(stage.augment, Sequence):
        augment: Augmentation | list[Augmentation] = [_unmirrored(one) for one in stage.augment]
        equal = all(new is old for new, old in zip(augment, stage.augment, strict=True))
    else:
        augment = _unmirrored(stage.augment)
        equal = augment is stage.augment
    if equal:
        return stage
    # Cached features of the same configuration on classes without sides are of other images.
    return replace(stage, augment=augment, described=tuple(f"{text} without flips" for text in stage.described))


def _unmirrored(augment: Augmentation) -> Augmentation:
    return augment.unmirrored() if isinstance(augment, Compose | Operation) else augment
