"""Everything that needs a GPU, in one call of nine minutes: `python experiments/gpu/run.py --out DIR`.

Sections in order, each with a time limit, each in processes of its own; what one leaves over goes to the next, and a
failure in one does not stop the others. Every result is written when it is there: `results.jsonl` has one line for each
step, `log/` what it printed. `--toy` runs all of it small, on a CPU. README.md beside this file says how to prepare a
machine without a network.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MEASURE = [sys.executable, str(Path(__file__).resolve().with_name("measure.py"))]
"""What a step runs in a process of its own, where it is no plain run: `stopped`, `speed` or `rows`, and overrides."""
METHODS = ("proco", "pcct", "aduni", "lmd", "alpa")
TESTS = ("tests/losses/test_every_loss.py", "tests/data/loading/test_ring.py")
"""What skips without CUDA, and only that: `CHOSEN`."""
CHOSEN = "weights_are_where_the_counts_are or copies_to_a_gpu"
LIMITS = {"versions": 20, "tests": 50, "steps": 80, "epochs": 120, "speed": 120, "study": 540}
"""Seconds that a section may take, if the whole has as many left; in proportion where --seconds is not 540."""
VERSIONS = """
import sys, torch, lightning, timm, numpy, cv2
print(sys.version)
for package in (torch, lightning, timm, numpy, cv2): print(package.__name__, package.__version__)
print("cuda", torch.version.cuda, torch.cuda.is_available(), torch.cuda.device_count())
if torch.cuda.is_available(): print(torch.cuda.get_device_name(0), torch.cuda.is_bf16_supported())
"""


@dataclass(frozen=True)
class Options:
    """Of the command line."""

    out: Path
    toy: bool
    data: str | None
    total: float

    @property
    def trainer(self) -> list[str]:
        """Device and precision of every run."""
        device = ["trainer=cpu"] if self.toy else ["trainer=gpu"]
        return [*device, "figures=false", "trainer.enable_progress_bar=false", f"runs={self.out}/runs"]

    @property
    def images(self) -> list[str]:
        """The data set of steps, epochs and speed."""
        chosen = ["dataset=phantom"] if self.data is None else ["dataset=isic2018", f"dataset.root={self.data}"]
        size = "image_size=32" if self.toy else "image_size=224"
        return [*chosen, size, *self.trainer]


class Runner:
    """Runs steps in time, and writes down how they went."""

    def __init__(self, options: Options) -> None:
        self.options, self.begun, self.end = options, time.monotonic(), 0.0
        (options.out / "log").mkdir(parents=True, exist_ok=True)

    def section(self, name: str) -> None:
        """Starts the clock of a section."""
        now = time.monotonic()
        limit = LIMITS[name] * self.options.total / 540
        self.end = min(now + limit, self.begun + self.options.total)
        print(f"== {name}: until {self.end - self.begun:.0f} s", flush=True)

    def step(self, section: str, name: str, command: Sequence[str], expected: tuple[int, ...] = (0,)) -> str | None:
        """Runs a command until the section ends; returns what it printed, or None if it failed or had no time."""
        left = self.end - time.monotonic()
        log = self.options.out / "log" / f"{section}-{name.replace('/', '_').replace(' ', '_')}.txt"
        if left < 2:
            self._note(section, name, "no time", 0.0)
            return None
        begun = time.monotonic()
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with log.open("w") as opened:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=opened, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                code: int | None = process.wait(left)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                code = None
        how = "time limit" if code is None else "ok" if code in expected else f"exit code {code}"
        text = log.read_text(errors="replace")
        self._note(section, name, how, time.monotonic() - begun, text)
        return text if how == "ok" else None

    def _note(self, section: str, name: str, how: str, seconds: float, text: str = "") -> None:
        found = [json.loads(line[8:]) for line in text.splitlines() if line.startswith("RESULT: ")]
        line = {"section": section, "step": name, "how": how, "seconds": round(seconds, 1), "found": found}
        with (self.options.out / "results.jsonl").open("a") as opened:
            opened.write(json.dumps(line) + "\n")
        last = "" if how == "ok" else f": {next(iter(reversed(text.strip().splitlines())), '')[:200]}"
        shown = "".join(f"; {one}" for one in found)
        print(f"{section} / {name}: {how}, {seconds:.1f} s{shown}{last}", flush=True)


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
    for method in METHODS:
        words = [f"method={method}", *runner.options.images, *_small(runner.options, method), "epochs=1"]
        runner.step("steps", method, _train([*words, "+trainer.limit_train_batches=1"]))


def epochs(runner: Runner) -> None:
    """Each method is stopped in its second epoch and continued by the same command: one epoch before, one after."""
    for method in METHODS:
        words = [f"method={method}", *runner.options.images, *_small(runner.options, method), "epochs=2"]
        # 143: SIGTERM, as of a scheduler.
        stopped = runner.step("epochs", f"{method} stopped", [*MEASURE, "stopped", *words], (143,))
        if stopped is not None:
            runner.step("epochs", f"{method} resumed", _train(words))


def speed(runner: Runner) -> None:
    """Images a second of a run, beside a bare loop over one resident batch."""
    networks = ("tiny",) if runner.options.toy else ("resnet50", "convnext_base")
    for network in networks:
        for method in ("erm", "proco"):  # One view, two views.
            words = [f"method={method}", *runner.options.images, f"backbone={network}", "epochs=2"]
            words += ["augment=weak", "batch_size=64"]
            runner.step("speed", f"{network} {method}", [*MEASURE, "speed", *words])


def study(runner: Runner) -> None:
    """Rows of the pretrained study at 224 px, those of least work first, as many as there is time for."""
    words = ["+ham10000=pretrained", "fold=0", *runner.options.trainer]
    if runner.options.toy:
        words += ["+scale=smoke"]
    elif runner.options.data is None:
        print("study: left out, since --data does not say where HAM10000 is", flush=True)
        return
    else:
        words += ["image_size=224", f"dataset.root={runner.options.data}"]
    listed = runner.step("study", "order", [*MEASURE, "rows", *words])
    for row in [line[5:] for line in (listed or "").splitlines() if line.startswith("ROW: ")]:
        if time.monotonic() > runner.end - 2:
            break
        if runner.step("study", row, _train([*words, f"row='{row}'"])) is not None:
            kept = [word for word in words if not word.startswith(("+ham", "+scale"))]
            report = [sys.executable, "-m", "ltmed.cli", "report", "ham10000/pretrained", *kept, "--format", "results"]
            scale = ["--scale", "smoke"] if runner.options.toy else []
            runner.step("study", "results", [*report, *scale, "--output", str(runner.options.out / "results.csv")])


def _small(options: Options, method: str) -> list[str]:
    """At toy scale: a network and numbers that a CPU manages; else ResNet-50."""
    if not options.toy:
        return ["backbone=resnet50"]
    quick = {"lmd": ["method.stages.calibrate.module.virtual_per_class=200"]}.get(method, [])
    return ["backbone=tiny", "batch_size=140", *quick]


def _sections() -> Iterator[tuple[str, object]]:
    yield from (("versions", versions), ("tests", tests), ("steps", steps), ("epochs", epochs), ("speed", speed))
    yield "study", study


def main() -> None:
    """All sections, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--data", help="folder of HAM10000; without it phantom, and no study")
    parser.add_argument("--toy", action="store_true", help="everything small, on a CPU")
    parser.add_argument("--seconds", type=float, default=540, help="in all (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=[*LIMITS], default=[*LIMITS], help="sections")
    given = parser.parse_args()
    runner = Runner(Options(given.out.resolve(), given.toy, given.data, given.seconds))
    for name, section in _sections():
        if name not in given.only:
            continue
        runner.section(name)
        try:
            section(runner)  # pyright: ignore
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}", flush=True)
    print(f"{time.monotonic() - runner.begun:.0f} s; results in {given.out}", flush=True)


if __name__ == "__main__":
    main()
