"""Small YAML files that people write: codes stay as they are written, and nothing is overwritten in silence."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ltmed.errors import UserError


class _Loader(yaml.BaseLoader):
    """Keeps scalars as text (01 and No are codes, not 1 and False), and refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in lines:
                    raise _RepeatedKeyError(key.value, lines[key.value], line)
                lines[key.value] = line
        return super().construct_mapping(node, deep)


class _RepeatedKeyError(Exception):
    def __init__(self, key: str, first: int, second: int) -> None:
        super().__init__(key, first, second)
        where = f"twice in line {first}" if first == second else f"in lines {first} and {second}"
        self.message = f"gives '{key}' {where}"


def read_yaml(file: Path, option: str, hint: str) -> Any:
    """Reads a YAML file whose scalars are all text.

    Args:
        file: the file.
        option: how it was given, for messages: `map=FILE`.
        hint: what the file should look like.

    Returns:
        dicts, lists and str; "" for an empty value.

    Raises:
        UserError: no file, no YAML, or a key twice in one mapping.
    """
    try:
        return yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise UserError(f"{option} cannot be read: {error.strerror or error}", hint) from None
    except _RepeatedKeyError as error:
        raise UserError(f"{option} {error.message}", "Write one line with all its values.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{option} is no YAML: {' '.join(str(error).split())}", hint) from None
