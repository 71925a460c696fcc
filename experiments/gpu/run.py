"""Everything that needs a GPU, in one call of nine minutes: `python experiments/gpu/run.py --out DIR`.

Sections in order, each with a time limit, each step in a process of its own; what one leaves over goes to the next, and
a failure in one does not stop the others. Every result is written when it is there: `results.jsonl` has one line for
each step, `log/` what it printed, `runs.tar.gz` the runs of the studies without their weights. `--toy` runs all of it
small, on a CPU. README.md beside this file says how to prepare a machine without a network.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from runner import ROOT, Options, Runner  # pyright: ignore[reportImplicitRelativeImport]

MEASURE = [sys.executable, str(Path(__file__).resolve().with_name("measure.py"))]
"""What a step runs in a process of its own, where it is no plain run: `stopped`, `speed` or `ranks`, and overrides."""
METHODS = ("proco", "pcct", "aduni", "lmd", "alpa")
TESTS = ("tests/losses/test_every_loss.py", "tests/data/loading/test_ring.py")
"""What skips without CUDA, and only that: `CHOSEN`."""
CHOSEN = "weights_are_where_the_counts_are or copies_to_a_gpu"
LIMITS = {
    "versions": 40, "tests": 50, "steps": 90, "epochs": 120, "ranks": 60, "speed": 240, "search": 200, "study": 150,
    "study224": 540, "all": 540,
}  # fmt: skip
"""Seconds that a section may take, if the whole has as many left; in proportion where --seconds is more than 540."""
STUDY, LONG = "ham10000/pretrained", "ham10000/pretrained_224"
VERSIONS = """
import sys, torch, lightning, timm, numpy, cv2
print(sys.version)
for package in (torch, lightning, timm, numpy, cv2): print(package.__name__, package.__version__)
print("cuda", torch.version.cuda, torch.cuda.is_available(), torch.cuda.device_count())
if torch.cuda.is_available(): print(torch.cuda.get_device_name(0), torch.cuda.is_bf16_supported())
"""


def _train(words: Sequence[str]) -> list[str]:
    return [sys.executable, str(ROOT / "run.py"), *words]


def versions(runner: Runner) -> None:
    """What the machine is."""
    runner.step("versions", "packages", [sys.executable, "-c", VERSIONS])
    if not runner.options.toy:
        runner.step("versions", "nvidia-smi", ["nvidia-smi"])


def tests(runner: Runner) -> None:
    """The tests that need CUDA; without it they skip, so that the selection itself is tried."""
    runner.step(
        "tests", "cuda", [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *TESTS, "-k", CHOSEN]
    )


def steps(runner: Runner) -> None:
    """One training step of each method, with whatever follows it: validation, test, results."""
    one = ["epochs=1", "+trainer.limit_train_batches=1", *_shared(runner.options)]
    runner.together("steps", ((method, _train([*_small(runner.options, method), *one])) for method in METHODS))


def epochs(runner: Runner) -> None:
    """Each method is stopped in its second epoch and continued by the same command: one epoch before, one after."""
    words = {method: [*_small(runner.options, method), "epochs=2", *_shared(runner.options)] for method in METHODS}
    # The exit code of a run that a scheduler stops with SIGTERM is 143.
    runner.together(
        "epochs", ((f"{method} stopped", [*MEASURE, "stopped", *words[method]]) for method in METHODS), (143,)
    )
    runner.together("epochs", ((f"{method} resumed", _train(words[method])) for method in METHODS))


def ranks(runner: Runner) -> None:
    """Two steps of each method in two processes on one card, over gloo: collectives, queues, sums of covariances."""
    two = ["epochs=1", "+trainer.limit_train_batches=2", "trainer.num_nodes=2", "trainer.devices=1"]
    two += _shared(runner.options)
    runner.together(
        "ranks", ((method, [*MEASURE, "ranks", *_small(runner.options, method), *two]) for method in METHODS)
    )


def speed(runner: Runner) -> None:
    """Images a second of a run, beside a bare loop over one resident batch."""
    networks = ("tiny",) if runner.options.toy else ("resnet50", "convnext_base")
    for network in networks:
        for method in ("erm", "proco"):  # One view, two views.
            words = [f"method={method}", *runner.options.images, f"backbone={network}", "augment=weak", "batch_size=64"]
            runner.step("speed", f"{network} {method}", [*MEASURE, "speed", *words, "epochs=2"])


class Studies:
    """The pretrained study: a search of the learning rates on fold 0, its other folds, and the study at 224 px."""

    def __init__(self) -> None:
        self.rates: dict[str, str] = {}
        """Row -> the rate that validation chose."""

    def search(self, runner: Runner) -> None:
        """Three rates for each row on fold 0; the best on the validation images is the row's."""
        import cells  # pyright: ignore[reportImplicitRelativeImport]

        words = [*_words(runner.options), "fold=0"]
        rows = cells.rows(STUDY, words)
        tried = {(row.name, rate): row.cells(words, rate)[0] for rate_of in zip(*(r.trials for r in rows), strict=True)
                 for row, rate in zip(rows, rate_of, strict=True)}  # fmt: skip
        runner.together("search", ((f"{row} {rate}", _train(cell.overrides)) for (row, rate), cell in tried.items()))
        for row in rows:
            found = {
                rate: round(cells.validation(tried[row.name, rate].run_dir), 4)
                for rate in row.trials
                if (tried[row.name, rate].run_dir / "metrics.json").is_file()
            }
            if found:
                self.rates[row.name] = max(found, key=lambda rate: found[rate])
            measured = {"row": row.name, "validation": found, "chosen": self.rates.get(row.name)}
            runner.note("search", f"{row.name} chosen", "ok", 0.0, f"RESULT: {json.dumps(measured)}")

    def study(self, runner: Runner) -> None:
        """Folds 1 and 2 of every row, at its rate; at toy scale there is fold 0 only."""
        folds = ["fold=0"] if runner.options.toy else ["fold=1", "fold=2"]
        self._run("study", STUDY, runner, _words(runner.options), folds)

    def study224(self, runner: Runner) -> None:
        """Rows of the study at 224 px, those of least work first, as many as there is time for."""
        precision = [] if runner.options.toy else ["trainer=gpu"]
        self._run("study224", LONG, runner, [*_words(runner.options), *precision], ["fold=0"])

    def _run(self, section: str, study: str, runner: Runner, words: list[str], folds: Sequence[str]) -> None:
        import cells  # pyright: ignore[reportImplicitRelativeImport]

        chosen = [
            cell
            for fold in folds
            for row in cells.rows(study, [*words, fold])
            for cell in row.cells([*words, fold], self.rates.get(row.name))
        ]
        runner.together(section, ((f"{cell.row} {cell.repetition['fold']}", _train(cell.overrides)) for cell in chosen))


def _words(options: Options) -> list[str]:
    """Overrides of every run of a study: the default precision, which is float32, so that CPUs have the same runs."""
    words = ["figures=false", "trainer.enable_progress_bar=false", f"runs={options.out}/studies"]
    if options.toy:
        return [*words, "trainer=cpu", "+scale=smoke", "row=ERM,PCCT,LMD"]
    assert options.data is not None
    return [*words, "trainer.accelerator=gpu", *_shared(options), f"dataset.root={options.data}"]


def _shared(options: Options) -> list[str]:
    """Settings of runs that share a device: cuDNN's search for the fastest algorithms would be slow and of no use."""
    return ["trainer.benchmark=false", "dataset.threads=2"] if options.jobs > 1 else []


def _small(options: Options, method: str) -> list[str]:
    """A run of one method; at toy scale with a network and numbers that a CPU manages, else ResNet-50."""
    words = [f"method={method}", *options.images]
    if not options.toy:
        return [*words, "backbone=resnet50"]
    quick = {"lmd": ["method.stages.calibrate.module.virtual_per_class=200"]}.get(method, [])
    return [*words, "backbone=tiny", "batch_size=140", *quick]


def _archive(out: Path) -> None:
    """The runs of the studies as one file, without weights and pictures."""
    with tarfile.open(out / "runs.tar.gz", "w:gz") as archive:
        for file in sorted((out / "studies").rglob("*")):
            if file.is_file() and file.suffix not in (".ckpt", ".png", ".lock"):
                archive.add(file, file.relative_to(out))


def _sections() -> Iterator[tuple[str, object]]:
    yield from (("versions", versions), ("tests", tests), ("steps", steps), ("epochs", epochs), ("ranks", ranks))
    studies = Studies()
    yield from (("speed", speed), ("search", studies.search), ("study", studies.study), ("study224", studies.study224))


def main() -> None:
    """All sections, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--data", help="folder of HAM10000; without it phantom, and no study")
    parser.add_argument("--toy", action="store_true", help="everything small, on a CPU")
    parser.add_argument("--seconds", type=float, default=LIMITS["all"], help="in all (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=[*LIMITS][:-1], default=[*LIMITS][:-1], help="sections")
    cores = os.cpu_count() or 1
    parser.add_argument("--jobs", type=int, default=max(1, cores * 3 // 4), help="processes (default: %(default)s)")
    given = parser.parse_args()
    sys.path.append(str(ROOT))  # ltmed need not be installed.
    options = Options(given.out.resolve(), given.toy, given.data, given.seconds, given.jobs)
    runner = Runner(options, LIMITS)
    for name, section in _sections():
        if name not in given.only:
            continue
        if name in ("search", "study", "study224") and not given.toy and given.data is None:
            print(f"{name}: left out, since --data does not say where HAM10000 is", flush=True)
            continue
        runner.section(name)
        try:
            section(runner)  # pyright: ignore
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}", flush=True)
        if (options.out / "studies").is_dir():
            _archive(options.out)
    print(f"{time.monotonic() - runner.begun:.0f} s; results in {given.out}", flush=True)


if __name__ == "__main__":
    main()
