"""The card of a run: one page on the use, data and results of a trained network.

The headings follow Mitchell et al., "Model Cards for Model Reporting", FAT* 2019, section 4. What only its authors can
say is a blank to be filled in; everything else is from the run's folder. No network and no image is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ltmed.inference.card_results import CardResults
from ltmed.report import protocol
from ltmed.report.card_sections import (
    between,
    calibration,
    compared_subgroups,
    limits,
    operating_points,
    performance,
    selection,
)
from ltmed.report.formatting import metric_name, percent
from ltmed.report.model import FormattedCell, Grid
from ltmed.report.rerun import command
from ltmed.runs.reader import Run

BLANKS = (
    ("purpose", "which decision does the network support, and at which point of the work?"),
    ("users", "who uses it, with which training?"),
    ("images", "which device, population and quality of image?"),
    ("not for", "which uses, patients and images are out of scope?"),
    ("responsible", "who answers questions, and who watches how it does in use?"),
)
"""(term, question): what has to be filled in by hand."""
FIGURES = {
    "Data": ("class_distribution",),
    "Performance": ("recall_by_size", "confusion_matrix", "ap_by_positives", "precision_recall"),
    "Calibration": ("reliability",),
    "Operating points": ("operating_curves",),
    "Subgroups": ("subgroups",),
}
"""Section -> names of its figures; a run has those for its kind of labels."""


@dataclass(frozen=True)
class Section:
    """A part of the card under one heading, from top to bottom."""

    title: str
    sentences: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()
    blanks: tuple[tuple[str, str], ...] = ()
    """(term, question) pairs for a person to answer."""
    facts: tuple[tuple[str, str], ...] = ()
    """(term, sentence) pairs."""
    points: tuple[str, ...] = ()
    """A list."""
    figures: tuple[str, ...] = field(default=())
    """Names."""


@dataclass(frozen=True)
class Card:
    """The whole card."""

    title: str
    sections: tuple[Section, ...]


def card(run: Run, results: CardResults) -> Card:
    """The card of a finished run.

    Args:
        run: finished.
        results: from its predictions (`ltmed.inference.card_results`).
    """
    metrics = run.metrics
    run_facts, test = metrics["run"], metrics["test"]
    kinds = "labels (several an image)" if run.multilabel else "classes"
    summary = (
        f"A classifier of {len(run.classes)} {kinds}, trained with the method {run_facts['method']} on "
        f"{metrics['split']['images']['train']:,} images of {run_facts['dataset']}, and tested on {test['images']:,} "
        "others.",
    )
    sections = (
        Section("Summary", summary, facts=_headline(metrics)),
        Section("Intended use", ("To be filled in by whoever puts the network to use.",), blanks=BLANKS),
        Section("Data", facts=_data(metrics), grids=(_counts(metrics),), figures=FIGURES["Data"]),
        Section("Split and leakage", facts=protocol.facts([run])),
        Section("Training", facts=tuple(_training(run))),
        Section("Performance", grids=performance(run), figures=FIGURES["Performance"]),
        Section("Calibration", *calibration(run, results), figures=FIGURES["Calibration"]),
        Section("Operating points", *operating_points(results), figures=FIGURES["Operating points"]),
        Section("Subgroups", *compared_subgroups(results), figures=FIGURES["Subgroups"]),
        Section("Limits", points=tuple(limits(run, results))),
    )
    return Card(
        f"Card: {run_facts['method']} on {run_facts['dataset']}, fold {run_facts['fold']}, seed {run_facts['seed']}",
        sections,
    )


def _headline(metrics: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    names = ("balanced_accuracy", "macro_ap", "macro_f1", "macro_auroc", "tail_recall", "tail_ap")
    scalars, intervals = metrics["test"]["scalars"], metrics["test"]["intervals"]["scalars"]
    return tuple(
        (metric_name(name), f"{percent(scalars[name])} % {between(intervals.get(name))}".rstrip())
        for name in names
        if scalars.get(name) is not None
    )


def _data(metrics: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    split, counts = metrics["split"], metrics["split"]["counts"]["train"]
    numbers = [number for number in counts.values() if number]
    ratio = f"{max(numbers) / min(numbers):.1f} : 1, largest to smallest class of the training part"
    facts = [("data set", metrics["run"]["dataset"]), ("imbalance", ratio)]
    if untrained := [code for code, number in counts.items() if not number]:  # Possible of several labels.
        facts.append(("not trained", f"{', '.join(untrained)}: no training image has the label"))
    facts.append(("groups", split["group"] or "unknown: the data set does not say which images are of one patient"))
    if skipped := len(metrics["skipped"]):
        facts.append(("left out", f"{skipped:,} unreadable images"))
    return tuple(facts)


def _counts(metrics: Mapping[str, Any]) -> Grid:
    parts = metrics["split"]["counts"]
    rows = tuple(
        (_full_name(row), (FormattedCell(row["tier"]), *_numbers(parts, row["class"])))
        for row in metrics["test"]["per_class"]
    )
    return Grid("Images of each class", ("tier", *map(_PARTS.__getitem__, parts)), rows)


_PARTS = {"train": "training", "val": "validation", "test": "test"}


def _full_name(row: dict[str, Any]) -> str:
    """Code and name of a class; one alone where a data set has but codes."""
    return row["class"] if row["name"] == row["class"] else f"{row['class']}, {row['name']}"


def _numbers(parts: Mapping[str, Mapping[str, int]], code: str) -> Iterator[FormattedCell]:
    yield from (FormattedCell(f"{counts[code]:,}") for counts in parts.values())


# --- training ---------------------------------------------------------------------------------------------------------


def _training(run: Run) -> Iterator[tuple[str, str]]:
    cfg = run.config
    yield "method", str(cfg.method.name)
    backbone = cfg.backbone
    start = "pretrained weights" if backbone.get("pretrained") or backbone.get("weights") else "random weights"
    source = backbone.get("weights") or backbone.get("package") if start == "pretrained weights" else None
    frozen = backbone.freeze if backbone.get("freeze") is not None else cfg.method.get("freeze")
    yield (
        "network",
        f"{backbone.get('name', backbone._target_)}, {start}" + (f" ({source})" if source else "")
        + ("; frozen, only the head was trained" if frozen else ""),
    )  # fmt: skip
    yield "images", f"{cfg.image_size} x {cfg.image_size} px"
    for name, recipe in cfg.method.stages.items():
        yield (f"stage {name}" if len(cfg.method.stages) > 1 else "recipe"), _recipe(recipe)
    yield from selection(run)
    if cost := protocol.training_cost([run]):
        yield "duration", cost
    git, versions = run.metrics["git"], run.metrics["versions"]
    commit = "unknown" if not git["commit"] else git["commit"][:9] + (", uncommitted changes" if git["dirty"] else "")
    yield "code", f"ltmed {versions.get('ltmed')}, commit {commit}"
    others = {name: version for name, version in versions.items() if version and name != "ltmed"}
    yield "packages", ", ".join(f"{name} {version}" for name, version in others.items())
    yield "command", command(run, run.division, run.seed)


def _recipe(recipe: DictConfig) -> str:
    """`20 epochs in batches of 512; SGD(lr=0.01, ...); cross_entropy; ...`."""
    plain = OmegaConf.to_container(recipe, resolve=True)
    assert isinstance(plain, dict)
    parts = [f"{plain['epochs']} epochs" + (f" in batches of {plain['batch_size']}" if plain.get("batch_size") else "")]
    parts += [_call(plain[key]) for key in ("optimizer", "schedule") if isinstance(plain.get(key), dict)]
    module = plain.get("module")
    if isinstance(module, dict) and isinstance(module.get("loss"), dict):
        parts.append(f"loss {_call(module['loss'])}")
    if isinstance(plain.get("sampler"), dict):
        parts.append(_call(plain["sampler"]))
    parts.append(f"keeps its {plain['keep']} epoch")
    return "; ".join(parts)


def _call(node: Mapping[str, Any]) -> str:
    name = str(node.get("_target_", "")).rpartition(".")[2]
    values = ((key, value) for key, value in node.items() if not isinstance(value, (dict, list)))
    plain = {key: value for key, value in values if not key.startswith("_")}
    return f"{name}({', '.join(f'{key}={value}' for key, value in plain.items())})" if plain else name
