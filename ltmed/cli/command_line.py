"""The words of a command line, before Hydra sees them. Imports nothing that is slow to import."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ltmed.errors import UserError, suggest

_ALONE = ("run", "multirun", "cfg", "info", "shell_completion")
"""Options of which Hydra takes one."""


def in_order(words: Sequence[str]) -> list[str]:
    """The words with options such as `-m` first: behind a setting, Hydra takes no further setting after them.

    Raises:
        UserError: an option that does not exist, or a setting without a name or a value.
    """
    settings = [word for word in words if not word.startswith("-") and ("=" in word or word.startswith("~"))]
    options = [word for word in words if word not in settings]
    _require_options(options)
    _require_settings(settings)
    return [*options, *settings]


def _require_options(words: Sequence[str]) -> None:
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()

    def refuse(message: str) -> None:
        raise UserError(f"The command line cannot be read: {message}", "ltmed train --help has examples.")

    parser.error = refuse  # pyright: ignore[reportAttributeAccessIssue]
    chosen, unknown = parser.parse_known_args(words)
    if unknown:
        known = [option for action in parser._actions for option in action.option_strings]
        raise UserError(f"There is no option '{unknown[0]}'", suggest(unknown[0], known))
    several = [f"--{name.replace('_', '-')}" for name in _ALONE if getattr(chosen, name)]
    if len(several) > 1:
        raise UserError(f"{' and '.join(several)} do not go together", "Give one of them.")
    if chosen.resolve and not chosen.cfg:
        raise UserError("--resolve belongs to --cfg", "Add --cfg job.")


def _require_settings(words: Sequence[str]) -> None:
    for word in words:
        found = re.fullmatch(r"(\+*)([^=]*)=(.*)", word, re.DOTALL)
        if not found or word.startswith("~"):
            continue
        key, value = found[2], found[3]
        if not key:
            raise UserError(f"'{word}' has no setting before its '='", "Write key=value.")
        if not value:
            raise UserError(
                f"{key}= has no value (an unset variable of the shell?)", f"Give one, or {key}=null for none."
            )
