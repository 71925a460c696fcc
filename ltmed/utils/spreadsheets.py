"""Text in CSV files that people open in a spreadsheet."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters that a spreadsheet takes for the beginning of a formula."""


def as_text(cell: str) -> str:
    """A cell that no spreadsheet runs as a formula: names of files and classes may come from an untrusted source.

    An apostrophe goes before the first letter where a spreadsheet would otherwise see a formula, as the OWASP
    describes for CSV injection. Other text, and numbers, which are not passed here, stay as they are.
    """
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def read_back(cell: str) -> str:
    """The text that `as_text` wrote, without the apostrophe that went before a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell
