"""Steps in processes of their own, in time and several at once, and a record of how they went."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Options:
    """Of the command line."""

    out: Path
    toy: bool
    data: str | None
    total: float
    """Seconds."""
    jobs: int
    """Processes at the same time, where nothing is timed."""

    @property
    def trainer(self) -> list[str]:
        """Device and precision of every run, and where it goes."""
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

    def __init__(self, options: Options, limits: Mapping[str, float]) -> None:
        self.options, self.limits = options, limits
        self.begun, self.end = time.monotonic(), 0.0
        self._lock = threading.Lock()
        (options.out / "log").mkdir(parents=True, exist_ok=True)

    @property
    def left(self) -> float:
        """Seconds until the section ends."""
        return self.end - time.monotonic()

    def section(self, name: str) -> None:
        """Starts the clock of a section."""
        now = time.monotonic()
        limit = self.limits[name] * max(1.0, self.options.total / self.limits["all"])
        self.end = min(now + limit, self.begun + self.options.total)
        print(f"== {name}: from {now - self.begun:.0f} to {self.end - self.begun:.0f} s", flush=True)

    def step(self, section: str, name: str, command: Sequence[str], expected: tuple[int, ...] = (0,)) -> str | None:
        """Runs a command until the section ends; returns what it printed, or None if it failed or had no time."""
        left = self.left
        log = self.options.out / "log" / f"{section}-{name.replace('/', '_').replace(' ', '_')}.txt"
        if left < 2:
            self.note(section, name, "no time", 0.0)
            return None
        begun = time.monotonic()
        with log.open("w") as opened:
            process = subprocess.Popen(
                command, cwd=ROOT, env=_environment(), stdout=opened, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                code: int | None = process.wait(left)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                code = None
        how = "time limit" if code is None else "ok" if code in expected else f"exit code {code}"
        text = log.read_text(errors="replace")
        self.note(section, name, how, time.monotonic() - begun, text)
        return text if how == "ok" else None

    def together(
        self, section: str, commands: Iterable[tuple[str, Sequence[str]]], expected: tuple[int, ...] = (0,)
    ) -> None:
        """Runs named commands, `jobs` at a time; what fails runs once more, alone, since memory may have been short."""
        named = dict(commands)
        with ThreadPoolExecutor(self.options.jobs) as pool:
            texts = list(pool.map(lambda name: self.step(section, name, named[name], expected), named))
        for name in [name for name, text in zip(named, texts, strict=True) if text is None]:
            if self.left > 2:
                self.step(section, f"{name} again", named[name], expected)

    def note(self, section: str, name: str, how: str, seconds: float, text: str = "") -> None:
        """One line of results.jsonl, and one for the reader; `RESULT: {...}` in the text is what was measured."""
        found = [json.loads(line[8:]) for line in text.splitlines() if line.startswith("RESULT: ")]
        line = {"section": section, "step": name, "how": how, "seconds": round(seconds, 1), "found": found}
        last = "" if how == "ok" else f": {next(iter(reversed(text.strip().splitlines())), '')[:200]}"
        shown = "".join(f"; {one}" for one in found)
        with self._lock:
            with (self.options.out / "results.jsonl").open("a") as opened:
                opened.write(json.dumps(line) + "\n")
            print(f"{section} / {name}: {how}, {seconds:.1f} s{shown}{last}", flush=True)


def _environment() -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
