"""The search itself, with a fake clock and fake scores: who goes on, for how long, and what a stop leaves."""

from __future__ import annotations

import errno
import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ltmed.errors import DivergedError, TrainingError, UserError
from ltmed.runs.checkpoint import DamagedCheckpointError
from ltmed.runs.directory import METRICS, DamagedRunError
from ltmed.studies.budget import Budget
from ltmed.studies.halving import MORE_TIME, Search
from ltmed.studies.rungs import Candidate, Plan, Rung
from ltmed.studies.trials import OtherDataError, Outcome, State, Trial

GROUPS = {"loss": ["ce", "a", "b", "c", "d"], "sampler": ["plain", "x", "y"]}
REFERENCE = Candidate((("loss", "ce"), ("sampler", "plain")))
WORTH = {"ce": 0.0, "a": 0.05, "b": 0.1, "c": -0.1, "d": 0.02, "plain": 0.0, "x": 0.2, "y": 0.03}
EVERY = len(GROUPS["loss"]) * len(GROUPS["sampler"])
PLAN = Plan(
    ("loss", "sampler"),
    2,
    (
        Rung("probes", "probes", (), 0.2, None),
        Rung("short", "short", (), 0.3, 3, min_epochs=2, max_epochs=10),
        Rung("long", "long", (), 0.5, 2, min_epochs=4, max_epochs=100),
    ),
)


class World:
    """Runs that cost what they say and are as good as their choices."""

    def __init__(self, folder: Path, *, probe: float = 1.0, epoch: float = 2.0, overhead: float = 1.0) -> None:
        self.folder, self.now = folder, 0.0
        self.probe, self.epoch, self.overhead = probe, epoch, overhead
        self.ran: list[Trial] = []
        self.saved = State()
        self.refuses: set[str] = set()
        self.stop_after: int | None = None

    def run(self, trial: Trial) -> Outcome:
        if self.stop_after == len(self.ran):
            raise KeyboardInterrupt
        names = [choice for _, choice in trial.candidate.choices]
        if self.refuses & set(names):
            raise UserError("it does not fit")
        self.ran.append(trial)
        training = self.probe if trial.epochs is None else trial.epochs * self.epoch
        self.now += training + self.overhead
        place = self.folder / trial.key
        place.mkdir(parents=True, exist_ok=True)
        (place / METRICS).write_text("{}")
        noise = 0.001 * trial.repetition
        value = 0.5 + sum(WORTH[name] for name in names) + noise
        if trial.timing:  # A quarter of an epoch.
            self.now -= 0.75 * training
            return Outcome(
                str(place), value, 0.25 * training + self.overhead, 0.25 * training, 0.25, trial.key, "split"
            )
        return Outcome(str(place), value, training + self.overhead, training, trial.epochs or 20, trial.key, "split")

    def search(self, total: float, state: State | None = None, maximise: bool = True) -> Search:
        def save(known: State) -> None:
            self.saved = State.from_json(json.loads(json.dumps(known.to_json())))

        state = state or State()
        budget = Budget(total, state.spent, lambda: self.now)
        return Search(PLAN, REFERENCE, GROUPS, run=self.run, budget=budget, state=state, save=save, maximise=maximise)


def names(candidates) -> list[str]:
    return [one.label for one in candidates]


def test_with_time_enough_every_candidate_is_probed_and_the_best_win(tmp_path):
    world = World(tmp_path)
    probes, short, long = world.search(2000).run_all()
    first = [t for t in world.ran if t.rung.name == "probes" and t.repetition == 0]
    second = [t for t in world.ran if t.rung.name == "probes" and t.repetition == 1]
    assert len({t.candidate for t in first}) == len(first) == EVERY
    assert len(second) == (EVERY + 1) // 2 + 1  # The better half, and the reference, which is not among it.
    assert names(short.order) == ["b, x", "a, x", "d, x", "ce, plain"]
    assert names(long.order) == ["b, x", "a, x", "ce, plain"]
    assert all(len(values) == 2 for values in (*short.values.values(), *long.values.values()))
    assert not probes.unfinished
    assert not any(one.is_cut_short for one in (probes, short, long))


def test_less_may_be_better(tmp_path):
    *_, long = World(tmp_path).search(2000, maximise=False).run_all()
    assert names(long.order)[0] == "c, plain"


@pytest.mark.parametrize("maximise", [True, False])
def test_combinations_of_an_undefined_change_are_tried_last(tmp_path, maximise):
    world = World(tmp_path)
    search = world.search(2000, maximise=maximise)

    def run(trial: Trial) -> Outcome:
        done = world.run(trial)
        return replace(done, value=None) if trial.candidate.label.startswith("c, ") else done

    search._run = run
    search.run_all()
    tried = [t.candidate for t in world.ran if t.rung.name == "probes" and t.repetition == 0]
    singles = len(GROUPS["loss"]) + len(GROUPS["sampler"]) - 1
    assert {one.label for one in tried[-2:]} == {"c, x", "c, y"}
    assert not any(one.label.startswith("c, ") for one in tried[singles:-2])


@pytest.mark.parametrize("total", [150, 300, 700, 2000, 10000])
@pytest.mark.parametrize("epoch", [0.3, 2.0, 8.0])
def test_the_budget_holds(tmp_path, total, epoch):
    world = World(tmp_path, epoch=epoch)
    standings = world.search(total).run_all()
    assert world.now <= total
    assert standings[0].order
    trained = [one for one in standings[1:] if one.values]
    assert all(one.epochs >= one.rung.min_epochs for one in trained)
    for earlier, later in itertools.pairwise(trained):
        assert later.epochs > earlier.epochs


def test_longer_epochs_are_noticed_and_fewer_are_trained(tmp_path):
    quick = World(tmp_path / "quick", epoch=0.5).search(700).run_all()
    slow = World(tmp_path / "slow", epoch=8.0).search(700).run_all()
    assert quick[1].epochs > slow[1].epochs or len(quick[1].order) > len(slow[1].order)
    assert quick[2].epochs > slow[2].epochs


def test_what_a_rung_leaves_over_goes_to_the_next(tmp_path):
    cheap = World(tmp_path / "cheap", probe=0.1, overhead=0.1).search(1000).run_all()
    dear = World(tmp_path / "dear", probe=4, overhead=0.1).search(1000).run_all()
    assert cheap[1].epochs >= dear[1].epochs
    assert cheap[2].epochs > dear[2].epochs


def test_a_budget_that_is_too_short_leaves_rungs_out_and_says_so(tmp_path):
    probes, short, long = World(tmp_path, epoch=60).search(200).run_all()
    assert probes.order
    assert not short.values
    assert not long.values
    assert short.note
    assert long.note
    assert len(probes.values) == EVERY  # With the time of the others.
    assert not probes.is_cut_short


@pytest.mark.parametrize("stop", [3, 8, 12, 19])
def test_probes_that_are_continued_for_want_of_room_go_on_after_a_stop_and_end_alike(tmp_path, stop):
    whole = World(tmp_path / "whole", probe=3, epoch=60)
    expected, *_ = whole.search(110).run_all()
    assert whole.saved.continued_at is not None
    assert len(expected.values) == EVERY
    assert expected.is_cut_short
    assert len(whole.ran) > 20
    world = World(tmp_path / "stopped", probe=3, epoch=60)
    world.stop_after = stop
    with pytest.raises(KeyboardInterrupt):
        world.search(110).run_all()
    world.stop_after = None
    again, *_ = world.search(110, world.saved).run_all()
    assert (names(again.order), again.values, again.compared) == (names(expected.order), expected.values, 1)
    assert world.now <= 110
    ran = len(world.ran)
    world.search(110, world.saved).run_all()
    assert len(world.ran) == ran


def test_probes_that_do_not_fit_are_named_and_singles_come_before_combinations(tmp_path):
    world = World(tmp_path, probe=3, overhead=1)
    probes, *_ = world.search(200).run_all()
    singles = {one.candidate for one in world.ran if one.rung.name == "probes" and one.repetition == 0}
    assert probes.unfinished
    assert not set(probes.unfinished) & set(probes.values)
    assert names(singles).count("ce, plain") == 1
    assert all("ce" in one.label or "plain" in one.label for one in singles)


def test_a_candidate_that_is_refused_is_left_out_with_its_combinations(tmp_path):
    world = World(tmp_path)
    world.refuses = {"b"}
    probes, short, long = world.search(2000).run_all()
    assert names(probes.refused) == ["b, plain"]
    assert not any("b" in one.label.split(", ") for one in (*probes.order, *short.order, *long.order))
    assert names(long.order)[0] == "a, x"


def test_a_larger_budget_is_advised_only_where_it_helps(tmp_path):
    _, short, _ = World(tmp_path / "small", epoch=8.0).search(60).run_all()
    assert short.note.endswith(MORE_TIME)
    world = World(tmp_path / "alone")
    world.refuses = {choice for choices in GROUPS.values() for choice in choices} - {"ce", "plain"}
    _, short, long = world.search(2000).run_all()
    assert {short.note, long.note} == {"no candidate beside ce, plain could be run."}


def test_a_loss_that_diverges_is_held_against_the_candidate(tmp_path):
    world = World(tmp_path)
    plain = world.run

    def run(trial: Trial) -> Outcome:
        if trial.candidate.label == "b, plain":
            raise DivergedError("the loss became NaN")
        return plain(trial)

    search = world.search(2000)
    search._run = run
    assert names(search.run_all()[0].refused) == ["b, plain"]


def test_errors_of_the_reference_end_the_search(tmp_path):
    world = World(tmp_path)
    world.refuses = {"ce"}
    with pytest.raises(UserError):
        world.search(2000).run_all()


def of_a_full_disk() -> UserError:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise UserError(f"the folder cannot be written: {error}") from None
    except UserError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        OtherDataError("other data"),
        DamagedCheckpointError(Path("last.ckpt")),
        DamagedRunError(Path("run.json"), "cannot be read"),
        TrainingError("process 1 ended"),
        of_a_full_disk(),
    ],
    ids=lambda error: str(error)[:20],
)
def test_what_is_not_in_the_settings_ends_the_search_and_is_not_held_against_the_candidate(tmp_path, error):
    world = World(tmp_path)
    plain = world.run

    def run(trial: Trial) -> Outcome:
        if trial.candidate.label == "b, plain":
            raise error
        return plain(trial)

    search = world.search(2000)
    search._run = run
    with pytest.raises(type(error)) as raised:
        search.run_all()
    assert raised.value is error
    assert not world.saved.refused
    assert list(world.saved.outcomes) == ["probes/ce, plain/0", "probes/a, plain/0"]


@pytest.mark.parametrize("stop", [0, 1, 9, 24, 26, 30, 33])
def test_a_stopped_search_goes_on_and_ends_alike(tmp_path, stop):
    whole = World(tmp_path / "whole")
    expected = whole.search(2000).run_all()
    world = World(tmp_path / "parts")
    world.stop_after = stop
    with pytest.raises(KeyboardInterrupt):
        world.search(2000).run_all()
    assert world.saved.spent == world.now
    world.stop_after = None
    found = world.search(2000, world.saved).run_all()
    assert [t.key for t in world.ran] == [t.key for t in whole.ran]
    assert [(one.epochs, one.order, one.values) for one in found] == [
        (one.epochs, one.order, one.values) for one in expected
    ]


def test_a_finished_search_runs_nothing_again(tmp_path):
    world = World(tmp_path, probe=3)
    first = world.search(300).run_all()
    ran = len(world.ran)
    again = world.search(300, world.saved).run_all()
    assert len(world.ran) == ran
    assert [(one.epochs, one.order, one.note == "") for one in again] == [
        (one.epochs, one.order, one.note == "") for one in first
    ]


def test_a_run_whose_folder_is_gone_is_run_again(tmp_path):
    world = World(tmp_path)
    world.stop_after = 5
    with pytest.raises(KeyboardInterrupt):
        world.search(2000).run_all()
    (Path(world.saved.outcomes["probes/ce, plain/0"].folder) / METRICS).unlink()
    world.stop_after = None
    world.search(2000, world.saved).run_all()
    assert [t.key for t in world.ran].count("probes/ce, plain/0") == 2


@pytest.mark.parametrize("rung", ["probes", "short", "long"])
def test_a_finished_search_whose_folders_are_gone_runs_these_again_and_ends_alike(tmp_path, rung):
    world = World(tmp_path)
    expected = world.search(2000).run_all()
    lost = [key for key in world.saved.outcomes if key.startswith(f"{rung}/") and not key.endswith("/timing")]
    for key in lost:
        shutil.rmtree(world.saved.outcomes[key].folder)
    ran = len(world.ran)
    found = world.search(2000, world.saved).run_all()
    assert sorted(trial.key for trial in world.ran[ran:]) == sorted(lost)
    assert found == expected


def test_a_candidate_that_fails_when_it_is_repeated_is_left_out_now_and_when_the_search_is_read_again(tmp_path):
    world = World(tmp_path)
    world.refuses = {"y"}  # Ten are left; the better half of nine has as many as that of ten.
    plain = world.run

    def run(trial: Trial) -> Outcome:
        if trial.candidate.label == "b, x" and trial.repetition:
            raise UserError("its loss became infinite")
        return plain(trial)

    def search(state: State | None = None) -> Search:
        search = world.search(2000, state)
        search._run = run
        return search

    first = search().run_all()
    assert names(first[0].refused) == ["ce, y", "b, x"]
    assert "b, x" not in names(first[0].order)
    ran = len(world.ran)
    assert search(world.saved).run_all() == first
    assert len(world.ran) == ran


def test_the_cost_of_an_epoch_is_measured_once(tmp_path):
    """A second timing would read the first one's folder in no time, as if a run had no cost besides its epochs."""
    world = World(tmp_path, epoch=30, overhead=5)
    _, short, long = world.search(800).run_all()
    assert not short.values
    assert long.epochs
    assert [trial.key for trial in world.ran if trial.timing] == ["short/ce, plain/timing"]


def test_repetitions_that_not_all_have_are_not_compared(tmp_path):
    """The second repetition is easier; who has it must not win by it."""
    world = World(tmp_path, epoch=4.0)
    plain = world.run

    def run(trial: Trial) -> Outcome:
        done = plain(trial)
        if trial.rung.name == "probes":
            return done
        if trial.repetition:
            world.now = 1e9  # The time ends with the first of the second repetitions, which is the reference's.
        return replace(done, value=(done.value or 0) + 10 * trial.repetition)

    search = world.search(1000)
    search._run = run
    last = next(one for one in reversed(search.run_all()) if one.values)
    assert sorted(len(values) for values in last.values.values()) == [1] * (len(last.values) - 1) + [2]
    assert len(last.values[REFERENCE]) == 2
    assert last.compared == 1
    assert last.is_cut_short
    assert last.order[-1] == REFERENCE
    assert last.mean(REFERENCE) == pytest.approx(0.5)


def screened(folder: Path, total: float):
    """The standing of five probes of 10 s each; the repetition takes away what b seemed to be."""
    worth = {"ce": (0.5, 0.5), "b": (0.9, 0.05), "c": (0.8, 0.8), "d": (0.7, 0.7), "e": (0.4, 0.4)}
    now = [0.0]

    def run(trial: Trial) -> Outcome:
        now[0] += 10
        place = folder / trial.key
        place.mkdir(parents=True)
        (place / METRICS).write_text("{}")
        value = worth[trial.candidate.label][trial.repetition]
        return Outcome(str(place), value, 10, 9, 20, trial.key, "split")

    plan = Plan(("loss",), 2, (replace(PLAN.rungs[0], share=1.0),))
    search = Search(
        plan, Candidate((("loss", "ce"),)), {"loss": list(worth)}, run=run,
        budget=Budget(total, clock=lambda: now[0]), state=State(), save=lambda state: None,
    )  # fmt: skip
    (standing,) = search.run_all()
    return standing, {one.label: values for one, values in standing.values.items()}


def test_a_repetition_that_the_time_cuts_short_decides_nothing(tmp_path):
    """The reference is repeated first; that alone must not put it before candidates that had no time for it."""
    standing, values = screened(tmp_path, 78)
    assert values == {"ce": [0.5, 0.5], "b": [0.9, 0.05], "c": [0.8], "d": [0.7], "e": [0.4]}
    assert standing.is_cut_short
    assert names(standing.order) == ["b", "c", "d", "ce", "e"]
    assert [standing.mean(one) for one in standing.order] == [0.9, 0.8, 0.7, 0.5, 0.4]


def test_a_repetition_that_could_not_begin_is_cut_short_too(tmp_path):
    standing, values = screened(tmp_path, 29)
    assert values == {"ce": [0.5], "b": [0.9]}
    assert standing.is_cut_short
    assert names(standing.order) == ["b", "ce"]


def test_a_whole_repetition_decides(tmp_path):
    standing, values = screened(tmp_path, 90)
    assert {label for label, repeated in values.items() if len(repeated) == 2} == {"ce", "b", "c", "d"}
    assert not standing.is_cut_short
    assert names(standing.order) == ["c", "d", "ce", "b", "e"]
