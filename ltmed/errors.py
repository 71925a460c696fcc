"""Errors that a user can fix: one clear line and exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130
"""Exit codes of a command that the user has to correct, and of one ended by Ctrl-C."""


class UserError(Exception):
    """A mistake in the command, the data or the environment that the reader of the message can fix.

    Args:
        message: what is wrong, naming the thing (file, key, class, fold).
        hint: how to fix it. It may span several lines, for instance an expected folder layout.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        self.message, self.hint = message, hint
        # A list of names that goes on ends in "...", and a path may end in a dot.
        super().__init__(f"{message}{'' if message.endswith('.') else '.'} {hint}" if hint else message)


class TrainingError(UserError):
    """Training had begun and cannot go on; the folder of the run stays as it is."""


class DivergedError(TrainingError):
    """The loss became NaN or infinite: with these settings the run will never end, a search may try others."""


class PrunedError(TrainingError):
    """A search has given up a trial whose metric was worse than that of others at the same epoch.

    Args:
        value: of the monitored metric, at its last epoch.
        epochs: that it was trained for in this stage.
    """

    def __init__(self, value: float, epochs: int) -> None:
        self.value, self.epochs = value, epochs
        super().__init__(f"The search gave up this trial after {epochs} epochs, at {value:.4f}")

    def __reduce__(self) -> tuple[type[PrunedError], tuple[float, int]]:
        return type(self), (self.value, self.epochs)


def suggest(name: str, choices: Iterable[str], limit: int = 3) -> str:
    """Suggests the choices that look like `name`: "Did you mean 'a' or 'b'?", or lists all of a short set."""
    names = sorted(set(choices))
    close = _near(name.lower(), {choice.lower(): choice for choice in names}, limit)
    if close:
        return "Did you mean " + " or ".join(f"'{choice}'" for choice in close) + "?"
    if not names:
        return ""
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"Known: {listed}."


def _near(name: str, choices: Mapping[str, str], limit: int) -> list[str]:
    """The choice equal to `name`, else similar ones, else those that contain `name` or share its first three letters.

    Args:
        name: in lower case.
        choices: lower-case form -> choice.
        limit: at most so many are returned.
    """
    if name in choices:
        return [choices[name]]
    close = difflib.get_close_matches(name, choices, n=limit, cutoff=0.5)
    if not close and len(name) > 1:
        close = [choice for choice in choices if name in choice or (len(name) > 2 and choice.startswith(name[:3]))]
    return [choices[choice] for choice in close[:limit]]


def require_between(key: str, value: float, low: float, high: float, *, below: bool = False) -> None:
    """Raises UserError unless low <= value <= high, or value < high if `below`; `key` is the setting's full name."""
    if not low <= value <= high or (below and value == high):
        end = f", and below {high:g}" if below else ""
        raise UserError(f"{key}={value}", f"It must be between {low:g} and {high:g}{end}.")


def require_choice(key: str, value: str, choices: Sequence[str]) -> None:
    """Raises UserError, with the nearest names, unless `value` is one of `choices`."""
    if value not in choices:
        raise UserError(f"{key} has no choice '{value}'", suggest(str(value), choices))
