"""The words of a command line, which are Hydra's overrides: read, and written for Hydra and for a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from ltmed.errors import UserError

PROGRAM = ("ltmed", "train")
"""What printed commands begin with: the program of a checkout is the same, but only there."""


def setting(word: str) -> str:
    """The key that a word is about, with Hydra's `+` or `~`."""
    return word.split("=", 1)[0]


def choice(words: Sequence[str], key: str) -> str | None:
    """The last value that `words` give to `key`, or None."""
    return next((word.split("=", 1)[1] for word in reversed(words) if "=" in word and setting(word) == key), None)


def last_of_each(words: Iterable[str]) -> list[str]:
    """Of words about one key only the last, at the place of the first."""
    return list({setting(word): word for word in words}.values())


def values(word: str) -> list[str | None]:
    """The values in `row='a b',c` or `fold=0,1` or `fold=range(3)`, without quotes; `null` is None.

    Raises:
        UserError: Hydra cannot read the word.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import QuotedString, Transformer
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(word)
        found = (
            list(override.sweep_iterator(Transformer.identity)) if override.is_sweep_override() else [override.value()]
        )
    except HydraException as error:
        raise UserError(f"'{word}' cannot be read: {' '.join(str(error).split())}") from None
    plain = (value.text if isinstance(value, QuotedString) else value for value in found)
    return [None if value is None else str(value) for value in plain]


def quoted(value: str) -> str:
    """A value as Hydra's grammar for overrides wants it."""
    if re.fullmatch(r"[\w/.-]+", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def shell(words: Iterable[str]) -> str:
    """The words as a line to paste into a shell; double quotes around Hydra's single ones, where that is enough."""
    return " ".join(
        f'"{word}"' if "'" in word and not re.search(r'["$`\\!]', word) else shlex.quote(word) for word in words
    )
