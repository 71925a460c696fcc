"""Reference pages made from `conf/` and the package, so that they cannot disagree with either."""

from __future__ import annotations

import re
from pathlib import Path

from ltmed.config.paths import conf, experiments

ROOT = Path(__file__).resolve().parents[1]
GROUPS = {
    "method": "Methods",
    "stage": "Stages of methods",
    "loss": "Losses",
    "sampler": "Samplers",
    "augment": "Augmentations",
    "split": "Splits",
    "dataset": "Settings of data sets",
    "backbone": "Backbones",
    "trainer": "Devices",
    "callbacks": "Callbacks",
    "logger": "Loggers",
}
"""Config group -> title of its page."""
API = {
    "Python interface": ["ltmed"],
    "Stages and their context": ["ltmed.training.stage", "ltmed.training.context", "ltmed.training.schedules"],
    "Data": [
        "ltmed.data.datamodule", "ltmed.data.stage_data", "ltmed.data.manifest", "ltmed.data.splits.protocols",
        "ltmed.data.samplers.single", "ltmed.data.batch",
    ],
    "Networks": ["ltmed.nn.network", "ltmed.nn.encoder", "ltmed.nn.heads", "ltmed.nn.queue", "ltmed.nn.teacher"],
    "Evaluation": [
        "ltmed.evaluation.metrics", "ltmed.evaluation.tiers", "ltmed.evaluation.bootstrap",
        "ltmed.evaluation.calibration", "ltmed.evaluation.thresholds", "ltmed.evaluation.sets",
        "ltmed.evaluation.subgroups",
    ],
    "Runs and inference": [
        "ltmed.runs.reader", "ltmed.runs.predictions", "ltmed.inference.predictor", "ltmed.inference.export",
        "ltmed.inference.evaluate", "ltmed.inference.decide",
    ],
}  # fmt: skip


def write(folder: Path) -> None:
    """Writes one page per config group, one of all top-level settings, one of losses and one of the other modules."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {group: _group(group, title) for group, title in GROUPS.items() if (conf() / group).is_dir()}
    pages["settings"] = _settings()
    pages["api-losses"] = _modules("Loss functions", sorted((ROOT / "ltmed" / "losses").glob("[!_]*.py")), "losses")
    pages["api-methods"] = _modules("Method modules", sorted((ROOT / "ltmed" / "methods").glob("[!_]*.py")), "methods")
    pages["api"] = _api()
    _save(folder, pages)


def write_results(folder: Path) -> None:
    """Writes the READMEs of `experiments/` as pages, with the links between them."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {}
    for file in sorted(experiments().glob("*/README.md")):
        text = re.sub(r"\]\(\.\./(\w+)/README\.md", r"](\1.md", file.read_text(encoding="utf-8"))
        pages[file.parent.name] = text.replace("](../../docs/", "](../")
    _save(folder, pages)


def _save(folder: Path, pages: dict[str, str]) -> None:
    for name, text in pages.items():
        file = folder / f"{name}.md"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def _group(group: str, title: str) -> str:
    """Every choice of a group: what it is, and its settings with default and meaning; first what all have in common."""
    lines = [f"# {title}", "", f"`{group}=NAME` on the command line. Made from `conf/{group}/`.", ""]
    for file in sorted((conf() / group).glob("*.yaml"), key=lambda file: (file.stem != "_base", file.stem)):
        text = file.read_text(encoding="utf-8").splitlines()
        about = [line.lstrip("# ").rstrip() for line in text if line.startswith("#") and "@package" not in line]
        lines += [f"## {'All' if file.stem == '_base' else file.stem}", "", *_sentences(about), ""]
        lines += ["```yaml", *(line for line in text if not line.startswith("#")), "```", ""]
    return "\n".join(lines)


def _sentences(comment: list[str]) -> list[str]:
    """Comment lines of a yaml as Markdown: nothing in them is markup."""
    return [re.sub(r"([*_<>\[\]|`])", r"\\\1", line) + "  " for line in comment] or ["(no description)"]


def _settings() -> str:
    """The top level of conf/config.yaml."""
    text = (conf() / "config.yaml").read_text(encoding="utf-8").rstrip()
    return (
        "# Settings of a run\n\nThe top of every configuration, `conf/config.yaml`; `ltmed train --cfg job` prints it"
        f" as composed.\n\n```yaml\n{text}\n```\n"
    )


def _modules(title: str, files: list[Path], room: str) -> str:
    return _automodules(title, [f"ltmed.{room}.{file.stem}" for file in files])


def _api() -> str:
    parts = [f"## {title}\n\n{_directives(modules, 3)}" for title, modules in API.items()]
    return "# Python modules\n\n" + "\n".join(parts)


def _automodules(title: str, modules: list[str]) -> str:
    return f"# {title}\n\n{_directives(modules, 2)}"


def _directives(modules: list[str], level: int) -> str:
    mark = "#" * level
    return "\n".join(f"{mark} {module}\n\n```{{eval-rst}}\n.. automodule:: {module}\n```\n" for module in modules)
