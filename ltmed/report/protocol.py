"""The protocol behind a report's figures: splits, leakage, repetitions, training, code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ltmed.logging.console import leakage as leakage_of_one_split
from ltmed.report.columns import protocol_name
from ltmed.report.formatting import division_names, duration, number_list, split_seed
from ltmed.report.model import FormattedCell, Grid, Table
from ltmed.report.statistics import basis, has_others, lacking
from ltmed.runs.division import Division
from ltmed.runs.reader import Run

_TIERS = ("head", "medium", "tail")


def folds(runs: Iterable[Run]) -> set[int]:
    """The folds that the runs have."""
    return {run.metrics["run"]["fold"] for run in runs}


def seeds(runs: Iterable[Run]) -> set[int]:
    """The seeds that the runs have."""
    return {run.metrics["run"]["seed"] for run in runs}


def split_seeds(runs: Iterable[Run]) -> set[str]:
    """The seeds that the runs' images were split with, of each division as text."""
    return {split_seed(run.division) for run in runs}


def facts(runs: Sequence[Run]) -> tuple[tuple[str, str], ...]:
    """(term, sentence) pairs on the protocol that all `runs` of a column share."""
    first: dict[Division, Run] = {}
    for run in runs:
        first.setdefault(run.division, run)
    first = dict(sorted(first.items()))
    parts = [run.metrics["split"] for run in first.values()]
    hashes = [(division, run.metrics["split"]["hash"]) for division, run in first.items()]
    intervals = runs[0].metrics["test"]["intervals"]
    terms = [
        ("split", protocol_name(runs[0])),
        (
            "hash",
            ", ".join(f"{h} ({division_names([division], first)})" if len(first) > 1 else h for division, h in hashes),
        ),
        ("images", "; ".join(dict.fromkeys(_images(part) for part in parts))),
        ("folds", _folds(sorted(folds(runs)), runs[0])),
        ("seeds", number_list(sorted(seeds(runs)))),
        ("leakage", _leakage(list(first.values()))),
        ("tiers", f"{runs[0].metrics['tiers']['rule']} ({_tiers(first)})"),
        ("intervals of single runs", f"{intervals['resamples']:,} resamples of {intervals['unit']}s"),
    ]
    if len(split_seeds(runs)) > 1:
        names = dict.fromkeys(split_seed(division) for division in sorted(first, key=lambda one: one.seeds))
        terms.insert(4, ("split seeds", f"{', '.join(names)}: each divides the images differently"))
    if parts[0].get("imbalance"):
        achieved = sorted(part["imbalance"]["achieved_ratio"] for part in parts)
        between = " to ".join(dict.fromkeys(f"{ratio:.1f}" for ratio in (achieved[0], achieved[-1])))
        terms.append(("long tail", f"{parts[0]['imbalance']['ratio']:g} : 1 requested, {between} : 1 achieved"))
    if absent := _absent(first):
        terms.append(("not tested", absent))
    return tuple(terms)


def warnings(table: Table) -> Iterator[tuple[str, str]]:
    """(column or nothing, sentence without a full stop) on limits of the report's comparisons."""
    for column in table.columns:
        cells = {row: cell for row in table.rows if (cell := table.cells.get((row, column))) and cell.runs}
        runs = [run for cell in cells.values() for run in cell.runs]
        single = [row for row, cell in cells.items() if len(cell.runs) == 1]
        if single:
            few = ", ".join(single) if len(single) < 4 else f"{len(single)} of {len(cells)} rows"
            listed = "every row" if len(single) == len(cells) else few
            yield column, f"a single run of {listed}; another seed may change the order"
        needed = basis(cell.runs for cell in cells.values())
        if any(lacking(cell.runs, needed) or has_others(cell.runs, needed) for cell in cells.values()):
            ranks = "none is one that most rows have, and no row is ranked"
            if needed:
                common = division_names(needed, [run.division.tested for run in runs])
                ranks = f"ranks are of {common}, which most rows have"
            yield column, f"rows have different repetitions; {ranks}"
        commits = {run.metrics["git"]["commit"] for run in runs}
        if len(commits) > 1:
            yield column, f"runs of {len(commits)} commits of the code (see Runs)"
        if any(run.metrics["git"]["dirty"] for run in runs):
            yield column, "some runs were made with uncommitted changes to the code (see Runs)"
        if skipped := max((len(run.metrics["skipped"]) for run in runs), default=0):
            yield column, f"{skipped:,} unreadable images took no part"
        # These name the data set themselves.
        yield from (
            ("", sentence)
            for sentence in sorted({warning for run in runs for warning in run.metrics.get("warnings", ())})
        )


def runs_grid(table: Table) -> Grid:
    """One line per cell: repetitions, epochs, image size, duration and devices of the training, commits."""
    lines = []
    for column in table.columns:
        for row in table.rows:
            cell = table.cells.get((row, column))
            if cell and cell.runs:
                label = row if len(table.columns) == 1 else f"{row}; {column}"
                texts = (
                    str(len(cell.runs)) + (f" of {len(cell.runs) + len(cell.missing)}" if cell.missing else ""),
                    number_list(sorted(folds(cell.runs))),
                    number_list(sorted(seeds(cell.runs))),
                    _distinct(epochs(run) for run in cell.runs),
                    _distinct(str(run.config.image_size) for run in cell.runs),
                    training_cost(cell.runs),
                    _distinct(_commit(run) for run in cell.runs),
                )
                lines.append((label, tuple(FormattedCell(text) for text in texts)))
    headings = ("runs", "folds", "seeds", "epochs", "image size", "training", "commit")
    return Grid("Runs", headings, tuple(lines), ("+: with uncommitted changes.",))


def epochs(run: Run) -> str:
    """Epochs of each stage, joined by +."""
    return "+".join(str(stage.epochs) for stage in run.config.method.stages.values())


def training_cost(runs: Sequence[Run]) -> str:
    """Mean duration of the training of one run, and the devices; empty where runs did not record it."""
    seconds = [sum(stage["seconds"] for stage in run.metrics["stages"].values()) for run in runs]
    devices = {
        f"{stage['processes']} x {stage['device']}" if stage["processes"] > 1 else stage["device"]
        for run in runs
        for stage in run.metrics["stages"].values()
    }
    return f"{duration(sum(seconds) / len(seconds))} ({', '.join(sorted(devices))})" if devices else ""


def _commit(run: Run) -> str:
    state = run.metrics["git"]
    return f"{state['commit'][:9]}{'+' if state['dirty'] else ''}" if state["commit"] else "unknown"


def _distinct(texts: Iterable[str]) -> str:
    return ", ".join(sorted(set(texts)))


def _folds(order: Sequence[int], run: Run) -> str:
    settings = run.config.split
    total = settings.get("folds") if settings.get("test") is None else None
    return f"{number_list(order)} of {total} (0 to {total - 1})" if total else number_list(order)


def _images(split: dict) -> str:
    return ", ".join(f"{part} {number:,}" for part, number in split["images"].items())


def _tiers(runs: Mapping[Division, Run]) -> str:
    """The classes of each tier; those that the training images of some divisions rank otherwise are listed apart."""
    divisions_of: dict[str, dict[str, list[Division]]] = {}
    for division, run in runs.items():
        for tier in _TIERS:
            for code in run.metrics["tiers"][tier]:
                divisions_of.setdefault(code, {}).setdefault(tier, []).append(division)
    texts = []
    for tier in _TIERS:
        always = [code for code, by_tier in divisions_of.items() if list(by_tier) == [tier]]
        texts.append(f"{tier} {', '.join(always) or '-'}")
    for code, by_tier in divisions_of.items():
        if len(by_tier) > 1:
            where = (f"{tier} in {division_names(divisions, runs)}" for tier, divisions in by_tier.items())
            texts.append(f"{code} is {', '.join(where)}")
    return "; ".join(texts)


def _absent(runs: Mapping[Division, Run]) -> str:
    """A sentence on classes without test images, with their divisions where these are not all; or nothing."""
    divisions_of: dict[str, list[Division]] = {}
    for division, run in runs.items():
        for code in run.metrics["test"]["absent"]:
            divisions_of.setdefault(code, []).append(division)
    codes_of: dict[tuple[Division, ...], list[str]] = {}
    for code, divisions in sorted(divisions_of.items()):
        codes_of.setdefault(tuple(divisions), []).append(code)
    if not codes_of:
        return ""
    places = ["" if len(where) == len(runs) else f" in {division_names(where, runs)}" for where in codes_of]
    absent = "; ".join(", ".join(codes) + place for codes, place in zip(codes_of.values(), places, strict=True))
    what = "with (or none without)" if any(run.multilabel for run in runs.values()) else "of"
    return f"no test image {what} {absent}, which no average {'there ' if any(places) else ''}includes"


def _leakage(runs: Sequence[Run]) -> str:
    """A sentence, for one run of each division of a column."""
    splits = [run.metrics["split"] for run in runs]
    if len(splits) == 1 or any(not split["leakage"] or not split["leakage"]["leaking"] for split in splits):
        return _added(splits)
    try:
        tested = [frozenset(run.predictions["image"]) for run in runs]
    except FileNotFoundError:
        return f"{_added(splits)}, counted once for each fold that tests them"
    distinct, leaking = len(frozenset().union(*tested)), [split["leakage"]["leaking"] for split in splits]
    if len(set(tested)) == 1 and len(set(leaking)) == 1:
        return leakage_of_one_split(splits[0])
    if len(set(tested)) == 1:
        share = f"{min(leaking):,} to {max(leaking):,} of the {distinct:,} test images, which all folds share,"
        return f"{share} are of a {splits[0]['group']} that has training images too"
    if distinct < sum(map(len, tested)):
        return f"{_added(splits)}; {distinct:,} images, counted once for each division that tests them"
    return _added(splits)


def _added(splits: Sequence[dict]) -> str:
    """For the test images of all divisions together."""
    leakages = [split["leakage"] for split in splits if split["leakage"]]
    if len(leakages) < len(splits):
        return leakage_of_one_split({**splits[0], "leakage": None})
    images, leaking = (sum(leakage[key] for leakage in leakages) for key in ("images", "leaking"))
    total = {"images": images, "leaking": leaking, "fraction": leaking / images}
    return leakage_of_one_split({**splits[0], "leakage": total})
