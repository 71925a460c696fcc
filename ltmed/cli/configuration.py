"""`ltmed train --cfg job`: prints the configuration of a run instead of starting it."""

from __future__ import annotations

from ltmed.cli.command_line import CommandLine
from ltmed.errors import UserError


def print_configuration(line: CommandLine) -> None:
    """Prints as YAML what the run would be given; Hydra's own `--cfg job` does not separate added choices.

    Args:
        line: of its options, `resolve` prints the configuration without interpolations, and `package` a part of it.

    Raises:
        UserError: there is no such package.
        HydraException: Hydra cannot compose the overrides.
    """
    from omegaconf import Container, OmegaConf

    from ltmed.config.compose import compose

    cfg = compose(line.overrides)
    if line.options.get("resolve"):
        OmegaConf.resolve(cfg)
    package = str(line.options.get("package", "_global_"))
    part = cfg if package == "_global_" else OmegaConf.select(cfg, package, default=_NOTHING)
    if part is _NOTHING:
        raise UserError(f"There is no '{package}' in the configuration", "ltmed train --cfg job prints all of it.")
    print(OmegaConf.to_yaml(part).rstrip() if isinstance(part, Container) else part)


_NOTHING = object()
