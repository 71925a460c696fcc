"""The parameter that a study varies, for a figure of metrics against it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ltmed.errors import UserError

_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"
_KEYS = ("row", "column", "label", "log", "hours")


@dataclass(frozen=True)
class Axis:
    """Rows or columns of a study as points on an axis."""

    along: str
    """"row" or "column": which names have the parameter."""
    pattern: str
    """The names, with {x} for the number and, where there are several curves, {line} for the rest: "{line}, R={x}"."""
    label: str
    """Of the axis."""
    log: bool = False
    hours: bool = False
    """Whether the hours of training are plotted as well."""

    @classmethod
    def read(cls, node: Any, where: object) -> Axis:
        """Reads `study.axis`.

        Args:
            node: its value.
            where: the study's file, for messages.

        Raises:
            UserError: a key is missing or unknown, or the pattern has no {x}.
        """
        hint = "For instance axis: {row: 'R={x}', label: R, log: true}; experiments/study.yaml explains the keys."
        if not isinstance(node, dict) or not set(node) <= set(_KEYS):
            raise UserError(f"study.axis of {where} is not a map with the keys {', '.join(_KEYS)}", hint)
        along = [key for key in ("row", "column") if key in node]
        if len(along) != 1:
            raise UserError(f"study.axis of {where} must have either 'row' or 'column'", hint)
        pattern = str(node[along[0]])
        if pattern.count("{x}") != 1 or pattern.count("{line}") > 1:
            raise UserError(f"study.axis.{along[0]} of {where} must have {{x}} once, and {{line}} at most once", hint)
        label = str(node.get("label") or pattern.replace("{line}", "").replace("{x}", "").strip(" ,=:"))
        return cls(along[0], pattern, label, bool(node.get("log", False)), bool(node.get("hours", False)))

    def point(self, name: str) -> tuple[float, str] | None:
        """The number in a name and the rest of it, the curve's; None where the name has another form."""
        match = self._expression.fullmatch(name)
        return None if match is None else (float(match["x"]), match.groupdict().get("line") or "")

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        parts = re.split(r"(\{x\}|\{line\})", self.pattern)
        groups = {"{x}": f"(?P<x>{_NUMBER})", "{line}": "(?P<line>.+?)"}
        return re.compile("".join(groups.get(part, re.escape(part)) for part in parts))
