"""The card of a run: one page on what a trained network is for, what it learnt from, and what its figures mean.

The headings follow Mitchell et al., "Model Cards for Model Reporting", FAT* 2019, section 4. What only its makers can
say is a blank to be filled in; everything else is from the run's folder. Nothing here is computed from images.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from ltmed.evaluation.calibration import quality
from ltmed.report import protocol
from ltmed.report.formatting import metric_name, percent
from ltmed.report.model import FormattedCell, Grid
from ltmed.report.rerun import command
from ltmed.runs.reader import Run

FEW = 30
"""Test images of a class below which its figures are called uncertain."""
BLANKS = (
    ("purpose", "which decision does the network support, and at which point of the work?"),
    ("users", "who uses it, with which training?"),
    ("images", "which device, population and quality of image?"),
    ("not for", "which uses, patients and images are out of scope?"),
    ("responsible", "who answers questions, and who watches how it does in use?"),
)
"""(term, question): what no run knows about its own use."""
FIGURES = {
    "Data": ("class_distribution",),
    "Performance": ("recall_by_size", "confusion_matrix"),
    "Calibration": ("reliability",),
}
"""Section -> names of the figures of `ltmed.plots.run.figures` that belong there."""


@dataclass(frozen=True)
class Section:
    """A part of the card under one heading, from top to bottom."""

    title: str
    sentences: tuple[str, ...] = ()
    blanks: tuple[tuple[str, str], ...] = ()
    """(term, question) pairs for a person to answer."""
    facts: tuple[tuple[str, str], ...] = ()
    """(term, sentence) pairs."""
    grids: tuple[Grid, ...] = ()
    points: tuple[str, ...] = ()
    """A list."""
    figures: tuple[str, ...] = field(default=())
    """Names."""


@dataclass(frozen=True)
class Card:
    """The whole card."""

    title: str
    sections: tuple[Section, ...]


def card(run: Run) -> Card:
    """Everything that a finished run says about itself.

    Args:
        run: finished. Without predictions.parquet its calibration has less to say.
    """
    found = run.found
    about, test = found["run"], found["test"]
    summary = (
        f"A classifier of {len(run.classes)} classes, trained with the method {about['method']} on "
        f"{found['split']['images']['train']:,} images of {about['dataset']}, and tested on {test['images']:,} others.",
    )
    sections = (
        Section("Summary", summary, facts=_headline(found)),
        Section("Intended use", ("To be filled in by whoever puts the network to use.",), blanks=BLANKS),
        Section("Data", facts=_data(found), grids=(_counts(found),), figures=FIGURES["Data"]),
        Section("Split and leakage", facts=protocol.facts([run])),
        Section("Training", facts=tuple(_training(run))),
        Section("Performance", grids=(_scalars(found), _classes(found)), figures=FIGURES["Performance"]),
        Section("Calibration", _calibration_note(), facts=tuple(_calibration(run)), figures=FIGURES["Calibration"]),
        Section("Limits", points=tuple(_limits(run))),
    )
    return Card(f"Card: {about['method']} on {about['dataset']}, fold {about['fold']}, seed {about['seed']}", sections)


def _headline(found: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    shown = ("balanced_accuracy", "macro_f1", "macro_auroc", "tail_recall")
    scalars, intervals = found["test"]["scalars"], found["test"]["intervals"]["scalars"]
    return tuple(
        (metric_name(name), f"{percent(scalars[name])} % {_between(intervals.get(name))}".rstrip())
        for name in shown
        if scalars.get(name) is not None
    )


def _data(found: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    split, numbers = found["split"], list(found["split"]["counts"]["train"].values())
    ratio = f"{max(numbers) / min(numbers):.1f} : 1, largest to smallest class of the training part"
    facts = [("data set", found["run"]["dataset"]), ("imbalance", ratio)]
    facts.append(("groups", split["group"] or "unknown: the data set does not say which images are of one patient"))
    if skipped := len(found["skipped"]):
        facts.append(("left out", f"{skipped:,} unreadable images"))
    return tuple(facts)


def _counts(found: Mapping[str, Any]) -> Grid:
    parts = found["split"]["counts"]
    rows = tuple(
        (f"{row['class']}, {row['name']}", (FormattedCell(row["tier"]), *_numbers(parts, row["class"])))
        for row in found["test"]["per_class"]
    )
    return Grid("Images of each class", ("tier", *map(_PARTS.__getitem__, parts)), rows)


_PARTS = {"train": "training", "val": "validation", "test": "test"}


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
    chosen = "best" if str(cfg.monitor_mode) == "max" else "lowest"
    yield "best epoch", f"that of the {chosen} {metric_name(str(cfg.monitor))} on the validation part"
    if took := protocol.took([run]):
        yield "duration", took
    git, versions = run.found["git"], run.found["versions"]
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


# --- figures ----------------------------------------------------------------------------------------------------------


def _scalars(found: Mapping[str, Any]) -> Grid:
    test, intervals = found["test"], found["test"]["intervals"]
    rows = tuple(
        (metric_name(name), (FormattedCell(_percent(value), _between(intervals["scalars"].get(name))),
                             FormattedCell(_percent(found["val"]["scalars"].get(name)))))
        for name, value in test["scalars"].items()
    )  # fmt: skip
    note = (
        f"Percent. In brackets {100 * intervals['level']:.0f} % intervals: percentiles over {intervals['resamples']:,} "
        f"resamples of {intervals['units']:,} {intervals['unit']}s of the test part, with the same training."
    )
    return Grid("Overall", ("test", "validation"), rows, (note, "The checkpoint was chosen by the validation part."))


def _classes(found: Mapping[str, Any]) -> Grid:
    intervals = found["test"]["intervals"]["per_class"]
    keys = ("recall", "precision", "f1", "auroc")
    rows = tuple(
        (row["class"], (FormattedCell(f"{row['support']:,}"), *(
            FormattedCell(_percent(row[key]), _between(intervals.get(row["class"], {}).get(key))) for key in keys
        )))
        for row in found["test"]["per_class"]
    )  # fmt: skip
    headings = ("test images", "recall (sensitivity)", "precision (PPV)", "F1", "AUROC")
    return Grid("By class", headings, rows, ("Percent, with the same intervals.",))


def _percent(value: float | None) -> str:
    return "undefined" if value is None else percent(value)


def _between(bounds: Sequence[float | None] | None) -> str:
    if bounds is None or any(one is None for one in bounds):
        return ""
    return f"[{', '.join(percent(one) for one in bounds if one is not None)}]"


# --- calibration ------------------------------------------------------------------------------------------------------


def _calibration_note() -> tuple[str, ...]:
    return ("How far the network's probabilities, as they are, agree with what happened on the test part.",)


def _calibration(run: Run) -> Iterator[tuple[str, str]]:
    test = run.found["test"]
    if (ece := test["scalars"].get("ece")) is not None:
        bounds = _between(test["intervals"]["scalars"].get("ece"))
        yield "expected calibration error", f"{percent(ece)} % {bounds}".rstrip()
    try:
        table = run.predictions
    except FileNotFoundError:
        yield "more", "predictions.parquet was left behind, which class-wise error, Brier score and likelihood need"
        return
    places = {code: k for k, code in enumerate(run.classes)}
    probabilities = table[[f"prob_{code}" for code in run.classes]].to_numpy(float)
    scores = quality(probabilities, np.array([places[str(code)] for code in table["label"]]))
    yield "class-wise calibration error", f"{percent(scores.classwise_ece)} %, mean over the classes"
    yield "Brier score", f"{scores.brier:.3f} (0 to 2; less is better)"
    yield "negative log likelihood", f"{scores.nll:.3f} nats (a uniform guess: {math.log(len(places)):.3f})"
    sure = float(probabilities.max(1).mean())
    right = float((table["label"] == table["predicted"]).to_numpy().mean())
    word = "overconfident" if sure > right else "underconfident"
    gap = percent(abs(sure - right))
    yield "on average", f"confidence {percent(sure)} %, accuracy {percent(right)} %: {word} by {gap} points"


# --- limits -----------------------------------------------------------------------------------------------------------


def _limits(run: Run) -> Iterator[str]:
    found = run.found
    yield (
        "One training with one seed on one split: another seed or split gives other figures, and the intervals do not "
        "cover that."
    )
    files = sorted(run.path.glob("evaluations/*/evaluation.json"))
    elsewhere = [file.parent.name for file in files if not json.loads(file.read_text(encoding="utf-8"))["data"]["own"]]
    own = f"images of the same data set ({found['run']['dataset']})"
    if elsewhere:
        yield f"All figures here are of {own}; beside the run are evaluations on others: {', '.join(elsewhere)}."
    else:
        yield f"Tested on {own} only, not on those of another hospital."
    split = found["split"]
    if split["leakage"] is None:
        yield "Whether images of one patient or lesion are in both training and test part is unknown."
    elif split["leakage"]["leaking"]:
        yield f"Leakage: {protocol.facts([run])[_place(run, 'leakage')][1]}. The figures are too good for new patients."
    few = [f"{row['class']} ({row['support']})" for row in found["test"]["per_class"] if 0 < row["support"] < FEW]
    if few:
        yield f"Fewer than {FEW} test images of {', '.join(few)}: their figures are uncertain, see the intervals."
    if absent := found["test"].get("absent"):
        yield f"No test image of {', '.join(absent)}: nothing is known about them, and no average includes them."
    worst = [row for row in found["test"]["per_class"] if row["recall"] is not None]
    if worst:
        least = min(worst, key=lambda row: row["recall"])
        yield f"The worst class is {least['class']}: {percent(least['recall'])} % of its test images are recognised."
    if skipped := len(found["skipped"]):
        yield f"{skipped:,} unreadable images took no part."
    if found["git"]["dirty"]:
        yield "The code had uncommitted changes, so that its commit does not say all of it."
    yield from (f"{one}." if not one.endswith(".") else one for one in found.get("warnings", ()))
    yield "Differences between groups of patients (age, sex, skin type, site) are not on this page."


def _place(run: Run, term: str) -> int:
    return [name for name, _ in protocol.facts([run])].index(term)
