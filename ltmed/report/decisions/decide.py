"""The document of `ltmed decide`, from decisions.json."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ltmed.evaluation.operating_points import FEW_POSITIVES
from ltmed.evaluation.sets import MEANING
from ltmed.evaluation.thresholds import THRESHOLD_RESAMPLES
from ltmed.report.decisions.cells import calibration_grids, count, document, grid, number, share, threshold
from ltmed.report.formatting import percent
from ltmed.report.model import Document, FormattedCell, Grid

_RATES = ("sensitivity", "specificity", "ppv", "npv")
_UNKNOWN: dict[str, Any] = {"value": None, "interval": None}


def decision_document(results: dict[str, Any], classes: Sequence[str]) -> Document:
    """Operating points, decisions by cost, sets and calibration.

    Args:
        results: decisions.json, see `ltmed.inference.decide.decide_run`.
        classes: K codes.
    """
    grids = [point_grid(results["points"])]
    if results["costs"] is not None:
        grids += _costs(results["costs"], classes)
    if results["sets"] is not None:
        grids += _sets(results["sets"], classes, results["unit"], elsewhere="" if results["own"] else results["on"])
    grids += calibration_grids(results["calibration"])
    notes = [
        f"Intervals of 95 %: {results['resamples']:,} bootstrap resamples of {results['unit']}s; where a rate rests on "
        "fewer than 30 of them, or is 0 or 100 %, joined with the exact binomial interval; of what is attained on "
        f"validation the exact one, of thresholds {min(results['resamples'], THRESHOLD_RESAMPLES)} resamples of the "
        "validation part. Thresholds are of calibrated probabilities; those of ltmed predict and of exported files are "
        "not calibrated.",
    ]
    title = f"Decisions with {results['run']['name']} on {results['on']}: {results['images']:,} images"
    return document(title, grids, few_validation_images(results["points"]), notes)


def few_validation_images(points: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A warning where thresholds are based on very few images."""
    few = {row["class"]: row["validation"]["positives"] for row in points if row["few"]}
    if few:
        listed = ", ".join(f"{code} ({images})" for code, images in few.items())
        yield (
            f"Fewer than {FEW_POSITIVES} validation images: {listed}. Thresholds of these classes are hardly more than "
            "a guess."
        )


def point_grid(points: Sequence[dict[str, Any]]) -> Grid:
    """A table of rows of `ltmed.evaluation.thresholds.operating_point`."""
    rows = []
    for row in points:
        criterion = "Youden" if row["target"] is None else f"{row['criterion']} {percent(row['target'])}"
        label = f"{row['class']}, {criterion}"
        validation = row["validation"]
        if row["threshold"] is None:
            cells = [count(validation["positives"]), FormattedCell(f"none: {row['reason']}"), *[share(None)] * 6]
            rows.append((label, cells))
            continue
        rate = "specificity" if row["criterion"] == "specificity" else "sensitivity"
        attained = validation[rate]
        test = row["test"] or {"positives": 0, **dict.fromkeys(_RATES, _UNKNOWN)}
        rows.append(
            (
                label,
                [
                    count(validation["positives"]),
                    threshold(row["threshold"], row["threshold_interval"]),
                    share(attained["value"], attained["interval"]),
                    count(test["positives"]),
                    *(share(test[name]["value"], test[name]["interval"]) for name in _RATES),
                ],
            )
        )
    headings = (
        "validation images of the class", "threshold", "attained on validation", "test images of the class",
        "sensitivity", "specificity", "PPV", "NPV",
    )  # fmt: skip
    notes = [
        "Thresholds are chosen on validation images; the last four columns are of test images. PPV and NPV hold for "
        "the class frequencies of these images."
    ]
    if any(row["criterion"] == "youden" for row in points):
        notes.append("Youden: the largest sum of sensitivity and specificity; attained is its sensitivity.")
    return grid("Operating points", headings, rows, notes)


def _costs(costs: dict[str, Any], classes: Sequence[str]) -> list[Grid]:
    rows = [
        (name.replace("_", " "), [number(costs[name]["cost"]["value"], costs[name]["cost"]["interval"])])
        for name in ("most_probable", "least_cost")
    ]
    rows.append(("saving", [number(costs["saving"]["value"], costs["saving"]["interval"])]))
    by_class = [
        (
            code,
            [
                cell
                for name in ("most_probable", "least_cost")
                for cell in (share(costs[name]["recall"][k]), count(costs[name]["decisions"][k]))
            ],
        )
        for k, code in enumerate(classes)
    ]
    headings = ("recall, most probable", "decisions", "recall, least cost", "decisions, least cost")
    return [
        grid("Mean cost of an image", ("cost",), rows, ["Decisions of least expected cost (Elkan 2001)."]),
        grid("Decisions by cost", headings, by_class),
    ]


def _sets(sets: dict[str, Any], classes: Sequence[str], unit: str, elsewhere: str) -> list[Grid]:
    guarantee = "so that its coverage is promised on average"
    if elsewhere:
        guarantee += f" for images like those of the validation part, which {elsewhere} need not be"
    notes = [
        "Of the network's own probabilities. Where the validation part has also chosen the checkpoint, as it does by "
        "default, the promise of coverage does not allow for it."
    ]
    if unit != "image":
        notes.append(f"The promise is exact for independent images; those of one {unit} are alike.")
    tiers = list(sets["kinds"][0]["tiers"])
    rows, by_class = [], []
    for kind in sets["kinds"]:
        label = f"{MEANING[kind['score']]}, {MEANING[kind['condition']]}"
        cells = [
            share(kind["tiers"][tier]["coverage"]["value"], kind["tiers"][tier]["coverage"]["interval"])
            for tier in tiers
        ]
        whole, size = kind["coverage"], kind["mean_size"]
        rows.append(
            (
                label,
                [
                    share(whole["value"], whole["interval"]),
                    *cells,
                    number(size["value"], size["interval"], digits=2),
                    share(kind["empty"]),
                ],
            )
        )
        cells_of_classes = [
            FormattedCell(cell.text + ("*" if row["own"] else ""), cell.small, cell.mark)
            for row in kind["classes"]
            for cell in [share(row["coverage"]["value"], row["coverage"]["interval"])]
        ]
        by_class.append((label, cells_of_classes))
    headings = [f"{code} ({images})" for code, images in zip(classes, sets["validation"], strict=True)]
    return [
        grid(
            f"Sets with a target coverage of {percent(sets['target'])} %",
            ("coverage", *tiers, "mean size", "empty"),
            rows, notes,
        ),
        grid(
            "Coverage by class (validation images)", headings, by_class,
            [f"* the class has a threshold of its own, {guarantee}."],
        ),
    ]  # fmt: skip
