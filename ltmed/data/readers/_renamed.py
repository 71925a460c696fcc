"""Names in a table that differ from those of the files by one rule: a word at one end, or leading zeros."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

_MOST_AFFIXES = 20
_BEFORE, _AFTER = re.compile(r".*[ _.-]"), re.compile(r"[ _.-].*")


def constant_affix(keys: Sequence[str], files: Mapping[str, Sequence[str]]) -> list[str] | None:
    """The files that all names mean if one and the same word is added or taken away at one end, or None.

    Only after or before a blank or one of `_.-`, so that no number becomes another one.

    Args:
        keys: N names, in lower case and without extension.
        files: the same of every file -> its paths.
    """
    for before, after, added in _affixes(keys[0], files):
        changed = [_changed(key, before, after, added) for key in keys]
        if all(len(files.get(key, ())) == 1 for key in changed) and len(set(changed)) == len(set(keys)):
            return [files[key][0] for key in changed]
    return None


def leading_zeros(
    keys: Sequence[str], files: Mapping[str, Sequence[str]], paths: Sequence[str | None]
) -> dict[int, str]:
    """Row -> file where all names are whole numbers: `7` is 00007.png for a program that reads ids as numbers.

    Args:
        keys: N names, in lower case and without extension.
        files: the same of every file -> its paths.
        paths: of every name, None where it is not found yet. A file is not given twice; a number that several files
            have is not found, and neither is one that a file has as it is written.
    """
    if not all(map(str.isdecimal, keys)):
        return {}
    numbered: dict[int, list[str]] = {}
    for name, same in files.items():
        if name.isdecimal():
            numbered.setdefault(int(name), []).extend(same)
    taken = set(paths)
    missing = [row for row, path in enumerate(paths) if path is None and keys[row] not in files]
    meant = {row: numbered.get(int(keys[row]), []) for row in missing}
    return {row: same[0] for row, same in meant.items() if len(same) == 1 and same[0] not in taken}


def _affixes(key: str, files: Iterable[str]) -> list[tuple[str, str, bool]]:
    """What would make one key that of a file: (word before, word after, whether they are added or taken away)."""
    changes: dict[tuple[str, str, bool], None] = {}
    for name in files:
        added = len(name) > len(key)
        longer, shorter = (name, key) if added else (key, name)
        before, found, after = longer.partition(shorter)
        one_side = found and shorter and bool(before) != bool(after)
        if one_side and (_BEFORE if before else _AFTER).fullmatch(before or after):
            changes[before, after, added] = None
    return list(changes)[:_MOST_AFFIXES]


def _changed(key: str, before: str, after: str, added: bool) -> str:
    if added:
        return before + key + after
    return key[len(before) : len(key) - len(after)] if key.startswith(before) and key.endswith(after) else ""
