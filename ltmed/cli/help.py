"""The help screen of `ltmed train`: every config group with its choices, the studies, the settings, and examples."""

from __future__ import annotations

import re
from pathlib import Path

from ltmed.config.paths import choices, conf, groups
from ltmed.studies import catalogue

EXAMPLES = (
    ("method=erm dataset=phantom backbone=tiny epochs=5", "small and generated, nothing to download"),
    (
        "method=proco dataset=isic2018 dataset.root=DIR trainer.devices=4",
        "four GPUs; the same line resumes after a crash",
    ),
    ("method=erm dataset=isic2018 dataset.root=DIR split=random fold=2", "the papers' image-level split"),
    ("-m method=erm,proco seed=0,1,2", "a sweep; finished jobs are skipped when run again"),
    ("method=proco logger=wandb epochs=50 method.stages.train.optimizer.lr=0.02", "any setting by its path"),
)


def help_screen(program: str) -> str:
    """Lists every config group with its choices (each yaml's first comment line) and real examples.

    Args:
        program: what is typed before the overrides.
    """
    lines = [f"usage: {program} [-m] [--config-dir DIR] [group=choice ...] [key=value ...]", ""]
    for group in sorted(groups() - {"hydra"}):
        lines.append(f"{group}=")
        lines += [f"  {name:<18} {_first_comment(file)}" for name, file in choices(group).items()]
    lines += ["", f"a paper's table ({program} -m +lmd=table3 data=DIR; +scale=smoke: tiny, on phantom):"]
    lines += [
        f"  {'+' + name.replace('/', '='):<22} {_first_comment(file)}" for name, file in catalogue.files().items()
    ]
    lines += ["", f"settings (all of them: {program} --cfg job):"]
    lines += _top_level_settings(conf() / "config.yaml")
    lines += ["", "examples:"]
    for arguments, meaning in EXAMPLES:
        lines += [f"  {program} {arguments}", f"      {meaning}"]
    return "\n".join(lines)


def _first_comment(file: Path) -> str:
    """The first comment line that is not a directive such as `# @package`."""
    with file.open(encoding="utf-8") as opened:
        line = next((line for line in opened if not line.startswith("# @")), "").strip()
    return line[1:].strip() if line.startswith("#") else ""


def _top_level_settings(config: Path) -> list[str]:
    """`key  default  meaning` of every commented top-level key."""
    lines = []
    for line in config.read_text(encoding="utf-8").splitlines():
        match = re.match(r"(\w+): *(.*?) *(?:# *(.*))?$", line)
        if match and match[1] not in ("defaults", "hydra"):
            lines.append(f"  {match[1]:<14} {match[2]:<24} {match[3] or ''}".rstrip())
    return lines
