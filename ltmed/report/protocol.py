"""What a person must know to trust a report's figures: splits, leakage, repetitions, training, code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ltmed.report.columns import protocol_name
from ltmed.report.model import Table
from ltmed.report.shown import Grid, Shown
from ltmed.runs import Run
from ltmed.tables import leakage as leakage_of_one_split


def folds(runs: Iterable[Run]) -> set[int]:
    """The folds that the runs have."""
    return {run.found["run"]["fold"] for run in runs}


def seeds(runs: Iterable[Run]) -> set[int]:
    """The seeds that the runs have."""
    return {run.found["run"]["seed"] for run in runs}


def facts(runs: Sequence[Run]) -> tuple[tuple[str, str], ...]:
    """(term, sentence) pairs on the protocol that all `runs` of a column share."""
    by_fold = {run.found["run"]["fold"]: run for run in runs}
    order = sorted(by_fold)
    parts = [by_fold[fold].found["split"] for fold in order]
    hashes = [part["hash"] for part in parts]
    intervals = runs[0].found["test"]["intervals"]
    found = [
        ("split", protocol_name(runs[0])),
        ("hash", ", ".join(f"{h} (fold {f})" if len(order) > 1 else h for f, h in zip(order, hashes, strict=True))),
        ("images", "; ".join(dict.fromkeys(_images(part) for part in parts))),
        ("folds", _folds(order, runs[0])),
        ("seeds", _numbers(sorted(seeds(runs)))),
        ("leakage", _leakage(parts)),
        ("tiers", f"{runs[0].found['tiers']['rule']} ({_tiers(runs[0])})"),
        ("intervals of single runs", f"{intervals['resamples']:,} resamples of {intervals['unit']}s"),
    ]
    if parts[0].get("imbalance"):
        cut = parts[0]["imbalance"]
        found.append(("long tail", f"{cut['ratio']:g} : 1 requested, {cut['achieved_ratio']:.1f} : 1 achieved"))
    if absent := sorted({code for run in runs for code in run.found["test"]["absent"]}):
        found.append(("not tested", f"no test image of {', '.join(absent)}, which no average includes"))
    return tuple(found)


def warnings(table: Table) -> Iterator[str]:
    """Sentences on what weakens the report's comparisons."""
    for column in table.columns:
        cells = {row: cell for row in table.rows if (cell := table.cells.get((row, column))) and cell.runs}
        runs = [run for cell in cells.values() for run in cell.runs]
        single = [row for row, cell in cells.items() if len(cell.runs) == 1]
        if single:
            few = ", ".join(single) if len(single) < 4 else f"{len(single)} of {len(cells)} rows"
            listed = "every row" if len(single) == len(cells) else few
            yield f"{column}: a single run of {listed}; another seed may change the order."
        if len({frozenset(folds(cell.runs)) for cell in cells.values()}) > 1:
            yield f"{column}: rows have different folds; those that lack some are not ranked."
        commits = {run.found["git"]["commit"] for run in runs}
        if len(commits) > 1:
            yield f"{column}: runs of {len(commits)} commits of the code (see Runs)."
        if any(run.found["git"]["dirty"] for run in runs):
            yield f"{column}: some runs were made with uncommitted changes to the code (see Runs)."
        if skipped := max((len(run.found["skipped"]) for run in runs), default=0):
            yield f"{column}: {skipped:,} unreadable images took no part."
        said = sorted({sentence for run in runs for sentence in run.found.get("warnings", ())})
        yield from (f"{sentence}." for sentence in said)


def runs_grid(table: Table) -> Grid:
    """One line per cell: repetitions, epochs, image size, commits."""
    lines = []
    for column in table.columns:
        for row in table.rows:
            cell = table.cells.get((row, column))
            if cell and cell.runs:
                label = row if len(table.columns) == 1 else f"{row}; {column}"
                shown = (
                    str(len(cell.runs)) + (f" of {len(cell.runs) + len(cell.missing)}" if cell.missing else ""),
                    _numbers(sorted(folds(cell.runs))),
                    _numbers(sorted(seeds(cell.runs))),
                    _alike(epochs(run) for run in cell.runs),
                    _alike(str(run.config.image_size) for run in cell.runs),
                    _alike(_commit(run) for run in cell.runs),
                )
                lines.append((label, tuple(Shown(text) for text in shown)))
    headings = ("runs", "folds", "seeds", "epochs", "image size", "commit")
    return Grid("Runs", headings, tuple(lines), ("+: with uncommitted changes.",))


def epochs(run: Run) -> str:
    """Epochs of each stage, joined by +."""
    from ltmed.config import per_stage

    stages = run.config.method.stages
    chosen = per_stage(run.config.epochs, list(stages), "epochs")
    return "+".join(str(chosen[name] or stages[name].epochs) for name in stages)


def _commit(run: Run) -> str:
    state = run.found["git"]
    return f"{state['commit'][:9]}{'+' if state['dirty'] else ''}" if state["commit"] else "unknown"


def _alike(texts: Iterable[str]) -> str:
    return ", ".join(sorted(set(texts)))


def _numbers(found: Sequence[int]) -> str:
    """`0 to 4`, or a list."""
    if len(found) > 2 and list(found) == list(range(found[0], found[-1] + 1)):
        return f"{found[0]} to {found[-1]}"
    return ", ".join(map(str, found))


def _folds(order: Sequence[int], run: Run) -> str:
    settings = run.config.split
    total = settings.get("folds") if settings.get("test") is None else None
    return f"{_numbers(order)} of {total} (0 to {total - 1})" if total else _numbers(order)


def _images(split: dict) -> str:
    return ", ".join(f"{part} {number:,}" for part, number in split["images"].items())


def _tiers(run: Run) -> str:
    return "; ".join(f"{tier} {', '.join(run.found['tiers'][tier])}" for tier in ("head", "medium", "tail"))


def _leakage(splits: Sequence[dict]) -> str:
    """In words, for the test images of all folds together."""
    known = [split["leakage"] for split in splits if split["leakage"]]
    if len(known) < len(splits):
        return leakage_of_one_split({**splits[0], "leakage": None})
    images, leaking = (sum(one[key] for one in known) for key in ("images", "leaking"))
    total = {"images": images, "leaking": leaking, "fraction": leaking / images}
    return leakage_of_one_split({**splits[0], "leakage": total})
