"""`ltmed predict` on 500 JPEGs of 600 x 450: what it adds to decoding them and to the network.

Both run on the same cores here, so that the least possible is the sum of the two: all files decoded into squares by as
many threads, and the network on squares that are there already. A tiny network at 64 px makes decoding the larger part.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from ltmed.data.threads import keep_opencv_sequential, usable_cores
from ltmed.inference.predictor import Predictor
from tests.bench.loading import IMAGES, write_images
from tests.trained_runs import untrained

GOAL, BATCH = 0.9, 100


def main(rounds: int = 5) -> None:
    """Prints the share of the least possible time."""
    keep_opencv_sequential()
    torch.set_num_threads(usable_cores())
    with tempfile.TemporaryDirectory() as name:
        (folder := Path(name, "images")).mkdir()
        manifest = write_images(folder, IMAGES)
        files = [folder / image for image in manifest.images]
        predictor = Predictor(untrained(Path(name, "run"), "image_size=64"), device="cpu", batch_size=BATCH)
        prepare, times = predictor.preprocessing, []
        for turn in range(rounds + 1):
            marks = [time.perf_counter()]
            with ThreadPoolExecutor(usable_cores()) as pool:
                squares = list(pool.map(lambda file: prepare(file.read_bytes()), files))
            marks.append(time.perf_counter())
            for start in range(0, IMAGES, BATCH):
                predictor._predict(torch.from_numpy(np.stack(squares[start : start + BATCH])))
            marks.append(time.perf_counter())
            assert len(predictor(files)) == IMAGES
            marks.append(time.perf_counter())
            if turn:  # The first round warms up.
                times.append([after - before for before, after in itertools.pairwise(marks)])
    decoding, network, predict = (statistics.median(column) for column in zip(*times, strict=True))
    share = statistics.median((row[0] + row[1]) / row[2] for row in times)
    print(
        f"predict: {IMAGES / predict:.0f} images/s, decoding alone {IMAGES / decoding:.0f}, network alone "
        f"{IMAGES / network:.0f}; {share:.2f} of the least possible (goal >= {GOAL:g}) "
        f"{'met' if share >= GOAL else 'MISSED'}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds")
    main(parser.parse_args().rounds)
