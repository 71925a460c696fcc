"""Exceptions as one line for the user, where the user can fix them."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ltmed.config.overrides import quoted, shell
from ltmed.errors import UserError, suggest
from ltmed.studies import catalogue

if TYPE_CHECKING:
    from omegaconf import DictConfig


def error_line(error: BaseException) -> str | None:
    """The line for a user's mistake, or None for any other error, which needs its traceback."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" while writing {error.filename}" if error.filename else ""
        return f"The disk is full{where}. Free some space and run the same command: it continues after the last epoch."
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and error.filename:
        hint = "Choose another place (runs, run_dir, cache_dir), or change its permissions."
        return f"{error.filename}: {error.strerror}. {hint}"
    if type(error).__module__.startswith("yaml."):
        return catalogue.yaml_mistake(error)
    if type(error).__module__.startswith(("hydra.", "omegaconf.")):
        return _config_error_line(error)
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return "A group (method=, loss= ...) takes the name of one of its choices. ltmed train --help has them."
    if isinstance(error, ValueError) and str(error).startswith("No trials are completed yet"):
        return "No trial of the search came to its end; each has said why. Search other values."
    if type(error).__name__ == "OutOfMemoryError":
        return "The GPU is out of memory. Lower batch_size or image_size, or use more devices."
    return None


def _config_error_line(error: BaseException) -> str:
    """Hydra's and OmegaConf's errors, with the nearest valid names."""
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf import DictConfig
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    from ltmed.config.resolve import OPTIONAL_GROUPS

    cause = error.__cause__
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)) and isinstance(cause.parent_node, DictConfig):
        path, _, leaf = str(cause.full_key).rpartition(".")
        where = f" in '{path}'" if path else ""
        if not path and (keys := _keys_ending_in(cause.parent_node, leaf)):
            return f"There is no setting '{leaf}'. Did you mean {' or '.join(keys[:3])}?"
        group = path.rpartition(".")[2]
        if group in OPTIONAL_GROUPS and not cause.parent_node:  # An interpolation, such as ${sampler}.
            own = f"+{group}@{path}=NAME"
            return f"{path} is the common {group}. Set {group}.{leaf}, or add {own} for one of its own."
        return f"There is no setting '{leaf}'{where}. {suggest(leaf, map(str, cause.parent_node))}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return f"{group}={choice} does not exist. {suggest(choice, error.options)}"
    text = " ".join(str(error).split())
    if isinstance(error, OverrideParseException):
        key, equals, value = error.override.partition("=")
        if not equals:
            return f"'{error.override}' cannot be read: it has no '='. Settings are written key=VALUE."
        if value.startswith(("[", "{", "'", '"')):
            missing = [close for open_, close in ("[]", "{}") if value.count(open_) > value.count(close)]
            why = f"'{missing[0]}' is missing" if missing else "brackets and quotes do not match, or a value is missing"
            return f"'{error.override}' cannot be read: {why}. The shell may need quotes around all of it."
        if re.fullmatch(r"[\w,.-]*,|,[\w,.-]*", value):
            return f"'{error.override}' cannot be read: a value is missing beside a comma. Remove the comma."
        if equals and value:
            # Blanks, brackets and commas in a path: quoted for Hydra, and that for the shell.
            return f"'{error.override}' cannot be read. Quote its value: {shell([f'{key}={quoted(value)}'])}"
        return f"'{error.override}' cannot be read: {text}"
    if ambiguous := re.match(r"Ambiguous value for argument '([^=]*)=(.*?)' 1\.", text):
        key, values = ambiguous.groups()
        return f"{key}={values} are several values. Add -m to run each of them, or write {key}=[{values}] for a list."
    return f"The configuration cannot be composed: {text}"


def _keys_ending_in(root: DictConfig, leaf: str) -> list[str]:
    """Full keys of the configuration that end in `leaf`."""
    from omegaconf import OmegaConf

    def walk(node: object, path: str) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in node.items():
                if key == leaf and path:
                    yield f"{path}.{key}"
                yield from walk(value, f"{path}.{key}" if path else str(key))

    return list(walk(OmegaConf.to_container(root, resolve=False), ""))
