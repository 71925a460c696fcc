"""The command line of `ltmed train`: Hydra's options, and overrides in any order. Nothing here is slow to import.

Hydra reads options only before overrides, and does not know studies. `for_hydra` puts options first and replaces a
study by the overrides of its cell; in a sweep it removes the study, which the sweeper reads itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import click

from ltmed.config import overrides, paths
from ltmed.errors import UserError, suggest

OPTIONS = (
    click.Option(["-m", "--multirun"], is_flag=True, help="Run every combination of the values, or a whole study."),
    click.Option(["-r", "--run"], is_flag=True, help="Run one job (the default)."),
    click.Option(["-c", "--cfg"], type=click.Choice(["job", "hydra", "all"]), help="Print the configuration."),
    click.Option(["--resolve"], is_flag=True, help="With --cfg: without interpolations."),
    click.Option(["-p", "--package"], help="With --cfg: of this part of the configuration."),
    click.Option(
        ["-i", "--info"], is_flag=False, flag_value="all", help="Print what Hydra knows.",
        type=click.Choice(["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]),
    ),
    click.Option(["-cp", "--config-path"], help="Another folder of configurations."),
    click.Option(["-cn", "--config-name"], help="Another main configuration."),
    click.Option(["-cd", "--config-dir"], help="A further folder of configurations."),
    click.Option(["-sc", "--shell-completion"], is_flag=True, help="Install or remove completion in the shell."),
    click.Option(["--hydra-help"], is_flag=True, help="Hydra's own help."),
    click.Option(["--version"], is_flag=True, help="Hydra's version."),
    click.Option(["--experimental-rerun"], help="Hydra's."),
)  # fmt: skip
"""Hydra's options, as its documentation lists them."""
_EXCLUSIVE = ("run", "multirun", "cfg", "info", "shell_completion")
"""Options that exclude each other."""


@dataclass(frozen=True)
class CommandLine:
    """A parsed command line: options and overrides."""

    options: dict[str, str | bool]
    """Long name without dashes -> value; only the options of the command line."""
    overrides: list[str]

    @property
    def multirun(self) -> bool:
        """Whether it is a sweep."""
        return "multirun" in self.options

    def arguments(self, overrides: Sequence[str]) -> list[str]:
        """The options, followed by other overrides than those of this command line."""
        arguments = []
        for name, value in self.options.items():
            arguments += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
        return [*arguments, *overrides]


def for_hydra(arguments: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Divides a command line between Hydra and, in a sweep, the sweeper of `ltmed.studies.sweeper`.

    Args:
        arguments: of the command line.

    Returns:
        what Hydra gets, and `JobSweeper.overrides`; the latter is empty for a single run, and for another sweeper.

    Raises:
        UserError: an option or study that does not exist, a setting without a name or a value, or a study without -m of
            which several cells are left.
    """
    line = parse(arguments)
    name, further = _study(line.overrides)
    of_hydra = [override for override in further if re.match(r"[+~]*hydra[./]", override)]
    jobs = [override for override in further if override not in of_hydra]
    if line.multirun and not any(overrides.setting(text).lstrip("+") == "hydra/sweeper" for text in of_hydra):
        from ltmed.runs.directory import only_location

        # Hydra gets the settings that locate the sweep's folder, and those that launchers may refer to.
        of_jobs = tuple(override for override in line.overrides if override not in of_hydra)
        return line.arguments([*of_hydra, *only_location(jobs)]), of_jobs
    if name is not None:
        from ltmed.studies.catalogue import load
        from ltmed.studies.filters import StudyFilters

        filters = StudyFilters(jobs)
        jobs = filters.only_cell(load(name, filters.scale))
    return line.arguments([*of_hydra, *jobs]), ()


def parse(arguments: Sequence[str]) -> CommandLine:
    """Reads options and overrides.

    Raises:
        UserError: an option that does not exist or has no such value, or an override without a name or a value.
    """
    params = [*OPTIONS, click.Argument(["overrides"], nargs=-1)]
    command = click.Command("train", params=params, add_help_option=False)
    try:
        parsed = dict(command.make_context("train", list(arguments)).params)
    except click.NoSuchOption as error:
        name = error.option_name.lstrip("-").replace("-", "_")
        if name.partition(".")[0] in paths.groups() | paths.settings():
            raise UserError(
                f"There is no option '{error.option_name}'", f"Settings have no dashes: {name}=VALUE."
            ) from None
        known = [name for option in OPTIONS for name in option.opts]
        raise UserError(f"There is no option '{error.option_name}'", suggest(error.option_name, known)) from None
    except click.ClickException as error:
        message = " ".join(error.format_message().split())
        raise UserError(f"The command line cannot be read: {message}", "ltmed train --help has examples.") from None
    arguments = [overrides.at_home(override) for override in parsed.pop("overrides")]
    options = {name: value for name, value in parsed.items() if value not in (None, False)}
    exclusive = [f"--{name.replace('_', '-')}" for name in _EXCLUSIVE if name in options]
    if len(exclusive) > 1:
        raise UserError(f"{' and '.join(exclusive)} do not go together", "Give one of them.")
    if "resolve" in options and "cfg" not in options:
        raise UserError("--resolve belongs to --cfg", "Add --cfg job.")
    _require_settings(arguments)
    return CommandLine(options, arguments)


REQUIRED_GROUPS = (
    "augment", "backbone", "dataset", "evaluation", "logger", "loss", "method", "sampler", "split", "trainer",
)  # fmt: skip
"""Config groups that every run needs."""


def _study(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    if not any(override.startswith("+") for override in arguments):
        return None, list(arguments)
    from ltmed.studies.catalogue import split_study

    return split_study(arguments)


def _require_settings(arguments: Sequence[str]) -> None:
    maps: set[str] = set()
    for override in arguments:
        if override.startswith("~") and override.lstrip("~").partition("=")[0] in REQUIRED_GROUPS:
            raise UserError(
                f"{override} removes what every run needs", f"Choose another one: {override.lstrip('~')}=NAME."
            )
        match = re.fullmatch(r"(\+*)([^=]*)=(.*)", override, re.DOTALL)
        if not match or override.startswith("~"):
            continue
        key, value = match[2], match[3]
        if value.startswith("{") and key in maps:
            raise UserError(
                f"{key}={{...}} is given twice, and only the last one would count",
                f"Write one map: {key}={{NAME:VALUE,NAME:VALUE}}.",
            )
        if value.startswith("{"):
            maps.add(key)
        if not key:
            raise UserError(
                f"'{override}' has no setting before its '='", "Write key=value, without blanks around '='."
            )
        if not value:
            raise UserError(
                f"{key}= has no value (an unset variable of the shell?)", f"Give one, or {key}=null for none."
            )
