"""Hydra's overrides: read, expanded, and written for Hydra and for a shell."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Iterable, Sequence

from ltmed.errors import UserError

PROGRAM = ("ltmed", "train")
"""The beginning of printed commands, which work with and without a checkout."""


def setting(override: str) -> str:
    """The key of an override, with Hydra's `+` or `~`."""
    return override.split("=", 1)[0]


def choice(arguments: Sequence[str], key: str) -> str | None:
    """The last value that `arguments` give to `key`, or None."""
    return next(
        (override.split("=", 1)[1] for override in reversed(arguments) if "=" in override and setting(override) == key),
        None,
    )


def at_home(override: str) -> str:
    """`runs=~/x` and `run_dir=~/x` with the folder that `~` stands for; any other override stays as it is.

    Not every shell replaces it inside of an argument, and Hydra makes the folder of a sweep as it is written.
    """
    match = re.fullmatch(r"(\+*(?:runs|run_dir)=)(['\"]?)(~[^'\"]*)\2", override)
    return match[1] + quoted(os.path.expanduser(match[3])) if match else override


def last_of_each(arguments: Iterable[str]) -> list[str]:
    """Drops all but the last override of each key; it takes the position of the first."""
    return list({setting(override): override for override in arguments}.values())


def values(override: str) -> list[str | None]:
    """The values in `row='a b',c` or `fold=0,1` or `fold=range(3)`, without quotes; `null` is None.

    Raises:
        UserError: Hydra cannot parse the override.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import QuotedString, Transformer
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(override)
        results = list(parsed.sweep_iterator(Transformer.identity)) if parsed.is_sweep_override() else [parsed.value()]
    except HydraException as error:
        raise UserError(f"'{override}' cannot be read: {' '.join(str(error).split())}") from None
    plain = (value.text if isinstance(value, QuotedString) else value for value in results)
    return [None if value is None else str(value) for value in plain]


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """Every combination of the values that overrides sweep over, the last one varying fastest.

    Args:
        overrides: for instance `method=erm,proco` or `seed=range(3)`; those with one value stay as they are.

    Raises:
        UserError: a range without steps, which only a search can use, or a glob.
        HydraException: Hydra cannot read an override.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    choices: list[list[str]] = []
    globs = [override for override in overrides if re.match(r"[^=]*=\s*glob\(", override)]
    if globs:
        raise UserError(f"'{globs[0]}' cannot be expanded", "List the names, separated by commas.")
    for override, parsed in zip(overrides, OverridesParser.create().parse_overrides(list(overrides)), strict=True):
        if not parsed.is_sweep_override():
            choices.append([override])
        elif parsed.is_discrete_sweep():
            choices.append([f"{parsed.get_key_element()}={value}" for value in parsed.sweep_string_iterator()])
        else:
            raise UserError(
                f"'{override}' has no end of values", "Search it with hydra/sweeper=optuna, or list values."
            )
    return [list(combination) for combination in itertools.product(*choices)]


def quoted(value: str) -> str:
    """A value quoted for Hydra's grammar of overrides if necessary."""
    if re.fullmatch(r"[\w/.-]+", value):
        return value
    # Hydra takes a backslash for an escape only in front of a quote: one in a regular expression stays as it is.
    return "'" + re.sub(r"(\\*)('|\Z)", lambda match: 2 * match[1] + ("\\'" if match[2] else ""), value) + "'"


def shell(arguments: Iterable[str]) -> str:
    """Arguments as a line to paste into a shell; double quotes around Hydra's single ones, where that is enough."""
    return " ".join(
        f'"{argument}"' if "'" in argument and not re.search(r'["$`\\!]', argument) else shlex.quote(argument)
        for argument in arguments
    )
