"""Predictions of a trained network for image files: threads decode while the network computes.

Letters: B images of a batch, S the side of what the network sees, K classes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from ltmed.data.batch import normalise
from ltmed.data.build import UNREADABLE, silent_opencv
from ltmed.data.threads import keep_opencv_sequential, usable_cores
from ltmed.errors import UserError
from ltmed.losses.triplet import distances
from ltmed.nn.centres import CentreHead
from ltmed.nn.decoupled import NearestMean
from ltmed.trained import open_run

_AHEAD = 2
"""Batches that are decoded while the network has one."""


class Predictor:
    """The network of a finished run with the preprocessing of its test part: image files -> tables of predictions.

        table = Predictor("runs/isic2018/erm/default/fold0-seed0")(["a.jpg", "b.png"])

    A table has one row per file, in order: `image`; `predicted` (class code) and `name` (its full name); `probability`
    (of that class) and `prob_<class>` for every class, float32; `distance` (Euclidean, of the embedding to the
    predicted class's centre) where the network has class centres; `error`, None or why the file cannot be read, and
    then everything else but `image` is missing.

    Args:
        run_dir: folder of a finished run; its data are not needed.
        device: `auto` (a GPU if there is one), `cpu`, `cuda` or another name that torch knows.
        batch_size: B.
        threads: decoding threads; None takes one per usable core.

    Raises:
        UserError: there is no finished run, or no such device.
    """

    def __init__(
        self, run_dir: str | Path, *, device: str = "auto", batch_size: int = 128, threads: int | None = None
    ) -> None:
        self.device = _device(device)
        trained = open_run(run_dir)
        self.preprocessing = trained.preprocessing
        self.classes, self.names = trained.classes, trained.names
        self.network = trained.network.to(self.device)
        self.batch_size, self.threads = batch_size, threads or usable_cores()
        self._distances = _distances(self.network.classifier)
        self._mean, self._std = (
            255 * torch.tensor(values, device=self.device)
            for values in (self.preprocessing.mean, self.preprocessing.std)
        )

    @property
    def columns(self) -> dict[str, type]:
        """Columns of every table, with `str` or `float` (32 bits)."""
        numbers = [
            "probability",
            *(f"prob_{code}" for code in self.classes),
            *["distance"] * (self._distances is not None),
        ]
        return {"image": str, "predicted": str, "name": str, **dict.fromkeys(numbers, float), "error": str}

    def __call__(self, files: Sequence[str | Path]) -> pd.DataFrame:
        """The table of all files."""
        tables = list(self.batches(files))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(self.columns))

    def batches(self, files: Sequence[str | Path], shown: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """The same table in pieces of B rows; what is in memory does not grow with the number of files.

        Args:
            files: paths.
            shown: what column `image` calls them; None takes the paths.
        """
        shown = [str(file) for file in files] if shown is None else shown
        done = 0
        with silent_opencv():
            for squares in self._decoded(files):
                yield self._table(shown[done : done + len(squares)], squares)
                done += len(squares)

    def _decoded(self, files: Sequence[str | Path]) -> Iterator[list[np.ndarray | str]]:
        """Batches of uint8 [S, S, 3], or why a file is none."""
        keep_opencv_sequential()
        parts = (files[start : start + self.batch_size] for start in range(0, len(files), self.batch_size))
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="ltmed-decode")
        pending = deque([pool.submit(self._read, file) for file in part] for part in islice(parts, _AHEAD))
        try:
            while pending:
                squares = [task.result() for task in pending.popleft()]
                pending.extend([pool.submit(self._read, file) for file in part] for part in islice(parts, 1))
                yield squares
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, file: str | Path) -> np.ndarray | str:
        try:
            return self.preprocessing(Path(file).read_bytes())
        except OSError as error:
            return f"{UNREADABLE}: {error.strerror or type(error).__name__}"
        except (ValueError, UserError) as error:  # A bad image, an impossible name, DICOM without pydicom.
            return str(error)

    def _table(self, shown: Sequence[str], squares: list[np.ndarray | str]) -> pd.DataFrame:
        numbers = [name for name, kind in self.columns.items() if kind is float]
        values = np.full((len(squares), len(numbers)), np.nan, np.float32)
        predicted = np.full(len(squares), -1)
        readable = [row for row, square in enumerate(squares) if isinstance(square, np.ndarray)]
        if readable:
            pixels = torch.from_numpy(np.stack([squares[row] for row in readable]))
            predicted[readable], values[readable] = self._predict(pixels)
        codes, names = ([[*words, None][k] for k in predicted] for words in (self.classes, self.names))
        found: dict[str, Any] = {"image": shown, "predicted": codes, "name": names}
        found |= {name: values[:, place] for place, name in enumerate(numbers)}
        found["error"] = [square if isinstance(square, str) else None for square in squares]
        # Without the type, a column that is None throughout would be one of numbers.
        return pd.DataFrame({name: pd.Series(found[name], dtype=_DTYPES[kind]) for name, kind in self.columns.items()})

    @torch.inference_mode()
    def _predict(self, pixels: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [B, S, S, 3] -> classes [B] and the values of all columns of numbers [B, 1 + K (+ 1)]."""
        images = normalise(pixels.to(self.device, non_blocking=True), self._mean, self._std)
        features = self.network.encoder(images)
        probabilities = self.network.classifier(features).float().softmax(1)
        most, predicted = probabilities.max(1, keepdim=True)
        values = [most, probabilities]
        if self._distances is not None:
            values.append(self._distances(features).gather(1, predicted))
        return predicted[:, 0].cpu().numpy(), torch.cat(values, 1).cpu().numpy()


_DTYPES = {str: object, float: np.float32}


def _distances(head: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """What gives the Euclidean distances [B, K] from features [B, D] to the class centres, if the head has any."""
    if isinstance(head, CentreHead):
        return lambda features: distances(head.embed(features), head.centres)
    if isinstance(head, NearestMean) and head.is_set:
        # Cosines order classes as distances do once both sides have norm 1.
        means = functional.normalize(head.means, dim=1) if head.metric == "cosine" else head.means
        return lambda features: distances(head.normalised(features), means)
    return None


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device={name} is not known", "Known: auto, cpu, cuda.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("torch sees no GPU", "Use the device cpu or auto.")
    return device
