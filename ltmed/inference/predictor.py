"""Predictions of a trained network for image files: threads that decode, and compute where there is no GPU.

Letters: B images of a batch, S the side of the network's input, K classes.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ltmed.config.targets import trusted
from ltmed.data.cache.build import UNREADABLE, silent_opencv
from ltmed.data.threads import keep_opencv_sequential, usable_cores
from ltmed.errors import UserError, require_choice
from ltmed.inference.ensemble import VIEWS, Ensemble, centre_distances, disagreement, require_sides_kept
from ltmed.inference.preprocessing import Preprocessing
from ltmed.runs.reader import Run

_AHEAD = 2
"""Pieces queued beyond the number of threads, so that no thread waits."""

_MIN_PIECE = 8
"""Smallest piece: fewer images at once do not pay for a call of the network."""


class Predictor:
    """The network of a finished run with the preprocessing of its test part: image files -> tables of predictions.

        table = Predictor("runs/isic2018/erm/default/fold0-seed0")(["a.jpg", "b.png"])

    Several runs are an ensemble: the probabilities are the mean over its members, each with its own preprocessing.

    A table has one row per file, in order: `image`; `predicted` (class code) and `name` (its full name); `probability`
    (of that class) and `prob_<class>` for every class, float32; `distance` (Euclidean, of the embedding to the
    predicted class's centre) where there is one network with class centres and one view; `disagreement` (mutual
    information between class and member in nats, see `ltmed.inference.ensemble.disagreement`) where there are several
    runs or views; `error`, None or why the file cannot be read, and then everything else but `image` is missing.

    Of a run whose images carry several labels: `predicted` and `name` are the labels whose probability reaches the
    threshold that the run's validation part chose (on one view, of which a warning reminds where there are several
    views), joined by `|`; there is no `probability` and no `distance`, and
    `predicted_<class>` (1 or 0) says the decision on each.

    Args:
        run_dir: folder of a finished run, or the run; its data are not needed. Further runs follow as
            positional arguments.
        device: `auto` (a GPU if there is one), `cpu`, `cuda` or another name that torch knows.
        batch_size: B, images in the network at once; on a CPU all threads together.
        threads: that decode, and on a CPU compute; None takes one per usable core.
        tta: test-time views that are averaged, one of `ltmed.inference.ensemble.VIEWS`: `none`, or `flips` (as it is,
            mirrored left to right, top to bottom, and both).
        trust: also builds classes that are not part of ltmed, see `ltmed.load`.

    Raises:
        UserError: there is no finished run, no such device or no such `tta`; a run is given twice; the runs have
            different classes.
    """

    def __init__(
        self,
        run_dir: str | Path | Run,
        *more: str | Path | Run,
        device: str = "auto",
        batch_size: int = 128,
        threads: int | None = None,
        tta: str = "none",
        trust: bool = False,
    ) -> None:
        self.device = device_named(device)
        require_choice("tta", tta, list(VIEWS))
        with trusted(trust):
            self.ensemble = Ensemble([run_dir, *more], self.device, VIEWS[tta])
        self.classes, self.names = self.ensemble.classes, self.ensemble.names
        require_sides_kept(tta, self.classes, self.names)
        self.batch_size, self.threads = batch_size, threads or usable_cores()
        thresholds = self.ensemble.thresholds
        if thresholds is not None and tta != "none":
            warnings.warn(
                f"labels of tta={tta} are decided at the run's thresholds, which were chosen on one view", stacklevel=2
            )
        self._thresholds = None if thresholds is None else torch.tensor(thresholds, device=self.device)
        self._gpu_lock = None if self.device.type == "cpu" else Lock()
        network = self.ensemble.members[0].network if len(self.ensemble) == 1 and thresholds is None else None
        self._distances = None if network is None else centre_distances(network.classifier)

    @property
    def preprocessing(self) -> Preprocessing:
        """Of the first run."""
        return self.ensemble.preprocessings[0]

    @property
    def columns(self) -> dict[str, type]:
        """Columns of every table, with `str` or `float` (32 bits)."""
        probabilities = [f"prob_{code}" for code in self.classes]
        if self._thresholds is not None:
            numbers = [*probabilities, *(f"predicted_{code}" for code in self.classes)]
        else:
            extra = [*["distance"] * (self._distances is not None), *["disagreement"] * (len(self.ensemble) > 1)]
            numbers = ["probability", *probabilities, *extra]
        return {"image": str, "predicted": str, "name": str, **dict.fromkeys(numbers, float), "error": str}

    def __call__(self, files: Sequence[str | Path]) -> pd.DataFrame:
        """The table of all files.

        Raises:
            UserError: a single path, which is no list of files.
        """
        tables = list(self.batches(files))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(self.columns))

    def batches(self, files: Sequence[str | Path], names: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """The same table in pieces of at most B rows; memory does not grow with the number of files.

        Args:
            files: paths.
            names: their names in the column `image`; None takes the paths.

        Raises:
            UserError: a single path, which is no list of files.
        """
        if isinstance(files, (str, Path)):  # The letters of a text would be taken for files.
            raise UserError(f"'{files}' is one path, and a list of files is needed", f"Give ['{files}'].")
        names = [str(file) for file in files] if names is None else names
        size = self._piece(len(files))
        pieces = (slice(start, start + size) for start in range(0, len(files), size))
        workers = min(self.threads, max(1, -(-len(files) // size)))
        with silent_opencv(), self._pool(workers) as pool:
            pending = deque(
                pool.submit(self._table, names[piece], files[piece]) for piece in islice(pieces, workers + _AHEAD)
            )
            while pending:
                table = pending.popleft().result()
                pending.extend(pool.submit(self._table, names[piece], files[piece]) for piece in islice(pieces, 1))
                yield table

    def _piece(self, files: int) -> int:
        """Images of one piece: every thread has one, and the network never more than about B of all threads at once."""
        at_once = self.batch_size if self._gpu_lock else max(_MIN_PIECE, -(-self.batch_size // self.threads))
        return max(1, min(at_once, self.batch_size, -(-files // self.threads)))

    @contextmanager
    def _pool(self, workers: int) -> Iterator[ThreadPoolExecutor]:
        """Threads that each take a piece from its files to its table.

        On a CPU each runs the network too, with its share of the cores: threads of the network beside those that
        decode would wait for each other. A GPU takes one piece at a time.
        """
        keep_opencv_sequential()
        before = torch.get_num_threads()
        pool = ThreadPoolExecutor(
            workers, "ltmed-predict", initializer=torch.set_num_threads, initargs=(max(1, before // workers),)
        )
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(before)

    def _read(self, file: str | Path) -> list[np.ndarray] | str:
        """The members' input for a file: an image for each preprocessing, or the reason why there is none."""
        try:
            data = Path(file).read_bytes()
            return [prepare(data) for prepare in self.ensemble.preprocessings]
        except OSError as error:
            return f"{UNREADABLE}: {error.strerror or type(error).__name__}"
        except (ValueError, UserError) as error:  # A bad image, an impossible name, DICOM without pydicom.
            return str(error)

    def _table(self, images: Sequence[str], files: Sequence[str | Path]) -> pd.DataFrame:
        inputs = [self._read(file) for file in files]
        numbers = [name for name, kind in self.columns.items() if kind is float]
        values = np.full((len(inputs), len(numbers)), np.nan, np.float32)
        codes, names = (np.full(len(inputs), None, object) for _ in range(2))
        readable = [row for row, image in enumerate(inputs) if not isinstance(image, str)]
        if readable:
            seen = zip(*(inputs[row] for row in readable), strict=True)
            pixels = [torch.from_numpy(np.stack(arrays)) for arrays in seen]
            with self._gpu_lock or nullcontext():
                predicted, values[readable] = self._predict(pixels)
            for texts, cells in ((self.classes, codes), (self.names, names)):
                cells[readable] = [_JOIN.join(texts[k] for k in indices) for indices in predicted]
        columns: dict[str, Any] = {"image": images, "predicted": codes, "name": names}
        columns |= {name: values[:, column] for column, name in enumerate(numbers)}
        columns["error"] = [image if isinstance(image, str) else None for image in inputs]
        # Without the type, a column that is None throughout would be one of numbers.
        return pd.DataFrame(
            {name: pd.Series(columns[name], dtype=_DTYPES[kind]) for name, kind in self.columns.items()}
        )

    @torch.inference_mode()
    def _predict(self, pixels: list[Tensor]) -> tuple[list[list[int]], np.ndarray]:
        """uint8 [B, S, S, 3] of each preprocessing -> the classes of each image, and the columns of numbers."""
        if self._distances is not None:
            (member,) = self.ensemble.members
            features = member.features(pixels)
            probabilities = member.network.classifier(features).float().softmax(1)
            confidence, predicted = probabilities.max(1, keepdim=True)
            extra = [self._distances(features).gather(1, predicted)]
            return predicted.tolist(), torch.cat([confidence, probabilities, *extra], 1).cpu().numpy()
        members = self.ensemble.probabilities(pixels)
        probabilities = members.mean(0)
        if self._thresholds is not None:
            decided = probabilities >= self._thresholds
            predicted = [row.nonzero()[:, 0].tolist() for row in decided.cpu()]
            return predicted, torch.cat([probabilities, decided.float()], 1).cpu().numpy()
        extra = [disagreement(members)[:, None]] if len(self.ensemble) > 1 else []
        confidence, predicted = probabilities.max(1, keepdim=True)
        return predicted.tolist(), torch.cat([confidence, probabilities, *extra], 1).cpu().numpy()


_JOIN = "|"
_DTYPES = {str: object, float: np.float32}


def device_named(name: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda`, `cuda:1`, ... mean.

    Raises:
        UserError: there is none of that name on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device={name} is not known", "Known: auto, cpu, cuda, cuda:1 and so on.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("torch sees no GPU", "Use the device cpu or auto.")
    try:
        torch.zeros(1, device=device).tolist()  # Most devices that torch can name are not on this machine.
    except Exception as error:
        number = torch.cuda.device_count()
        known = ["auto", "cpu", *(f"cuda:{index}" for index in range(number))]
        raise UserError(f"There is no device {name} on this machine", f"Use one of {', '.join(known)}.") from error
    return device
