"""A trained network as one file for other programs, checked against the network itself.

Every format takes `images`, float32 [B, 3, S, S], RGB in [0, 1], and gives `probabilities`, float32 [B, K], for any B;
the normalisation and the softmax (of several labels the sigmoid) are inside. The metadata say what to do to an image
file before (`metadata`).

    onnx         for ONNX Runtime and others; metadata in metadata_props
    torchscript  for libtorch and Python without ltmed; metadata in the extra file metadata.json
    torch        state dict, configuration and metadata in one dict; `load_export` gives the network back

Letters: B images, S the side of what the network sees in pixels, K classes.
"""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from ltmed.config.instantiate import build_network
from ltmed.config.targets import trusted
from ltmed.errors import UserError, require_choice
from ltmed.inference.preprocessing import LoadedRun, Preprocessing, open_run
from ltmed.inference.restore import without_initial_weights
from ltmed.nn.pixels import RUN_KEY, Pixels
from ltmed.nn.weights import why_unread
from ltmed.runs.outputs import require_no_file_of_run
from ltmed.utils.files import whole_file

TOLERANCE = 1e-4
"""Largest difference of a probability from the network's own."""
METADATA = "metadata.json"

_BATCHES = (1, 2, 5)


class Classifier(nn.Module):
    """A network with its normalisation and output function: images in [0, 1] -> class probabilities.

    Args:
        network: normalised images [B, 3, S, S] -> logits [B, K].
        mean: per channel, of images in [0, 1].
        std: likewise.
        multilabel: each class has a sigmoid of its own.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], multilabel: bool = False
    ) -> None:
        super().__init__()
        self.multilabel = multilabel
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """float32 [B, 3, S, S] -> float32 [B, K], each row with sum 1 unless images carry several labels."""
        logits = self.network((images - self.mean) / self.std).float()
        return logits.sigmoid() if self.multilabel else logits.softmax(1)


def export(
    run_dir: str | Path, form: str, output: str | Path | None = None, *, trust: bool = False
) -> tuple[Path, float]:
    """Writes the network of a finished run, and removes the file if it computes something else.

    Args:
        run_dir: folder of the run; its data are not needed.
        form: one of `FORMATS`.
        output: the file; None writes `model` with the format's suffix into the folder of the run.
        trust: also builds classes that are not part of ltmed, see `ltmed.load`.

    Returns:
        the file, and the largest difference of a probability between it and the network on random images.

    Raises:
        UserError: no finished run, no such format, a suffix of another format, a missing package, a network that
            the format cannot express, a result that differs by more than `TOLERANCE`. Then no file is left.
    """
    require_choice("format", form, list(FORMATS))
    format_, run_dir = FORMATS[form], Path(run_dir).expanduser()
    if output is not None:
        _require_matching_suffix(Path(output), form)
        require_no_file_of_run(Path(output))
    for package in format_.packages:
        _require_package(package, form)
    with trusted(trust):
        loaded = open_run(run_dir)
    file = Path(output).expanduser() if output else run_dir / f"model{format_.suffix}"
    preprocessing = loaded.preprocessing
    classifier = Classifier(loaded.network, preprocessing.mean, preprocessing.std, loaded.run.multilabel).eval()
    with whole_file(file) as partial, torch.no_grad(), _quiet():
        try:
            format_.write(classifier, loaded, partial)
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"The network cannot be written as {form}: {reason}", "Try another --format.") from error
        with trusted():  # It has just been written here.
            difference = _difference(classifier, format_.read(partial), preprocessing.size)
        if not difference <= TOLERANCE:
            raise UserError(
                f"The {form} file gives probabilities that differ by {difference:.2g} from the network's own (at most "
                f"{TOLERANCE:g} is allowed)",
                "Nothing was written. Try another --format, or another version of torch.",
            )
    return file, difference


def metadata(trained: LoadedRun) -> dict[str, Any]:
    """The metadata of the file: classes, preprocessing of an image file, and the origin of the network."""
    preprocessing, metrics = trained.preprocessing, trained.run.metrics
    size = preprocessing.size
    return {
        "classes": trained.classes,
        "names": trained.names,
        "input": f"images: float32 [batch, 3, {size}, {size}], RGB in [0, 1], not normalised",
        "output": f"probabilities: float32 [batch, {len(trained.classes)}], in the order of classes",
        **({} if trained.thresholds is None else {"thresholds": trained.thresholds}),
        "preprocessing": _description(preprocessing),
        "image_size": size,
        "cache_size": preprocessing.cache_size,
        "fit": preprocessing.fit,
        "interpolation": preprocessing.interpolation,
        "intensity": preprocessing.intensity.option,
        "view": OmegaConf.to_container(trained.run.config.evaluation),
        "jpeg": preprocessing.jpeg,
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "run": metrics["run"]["name"],
        "dataset": metrics["run"]["dataset"],
        "method": metrics["run"]["method"],
        "split": metrics["split"]["name"],
        "split_hash": metrics["split"]["hash"],
        "ltmed": metrics["versions"]["ltmed"],
        "commit": metrics["git"]["commit"],
        "dirty": metrics["git"]["dirty"],
    }


def load_export(file: str | Path, *, trust: bool = False) -> Classifier:
    """The network in a file of format `torch`, in evaluation mode on the CPU; no pickled code is run.

    Args:
        file: written by `export`.
        trust: also builds classes that are not part of ltmed, see `ltmed.load`.

    Raises:
        UserError: there is no such file, or it is something else.
        UntrustedTargetError: the file names such a class, and `trust` is False.
    """
    saved = _saved(Path(file).expanduser())
    cfg, about = OmegaConf.create(saved["config"]), saved["metadata"]
    assert isinstance(cfg, DictConfig)
    with trusted(trust):
        network = build_network(cfg, len(about["classes"]))
    classifier = Classifier(network, about["mean"], about["std"], "thresholds" in about)
    classifier.load_state_dict(saved["state_dict"])
    return classifier.eval()


def _saved(file: Path) -> dict[str, Any]:
    """What `_write_torch` has saved in a file."""
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True)
        keys = saved.keys() if isinstance(saved, dict) else set()
        reason = "" if {"state_dict", "config", "metadata"} <= keys else "other content"
    except Exception as error:  # On other content the pickle reader may raise any error.
        saved, reason = {}, why_unread(error)
    if reason:
        raise UserError(f"{file} is no exported network ({reason})", "Write one with ltmed export RUN --format torch.")
    return saved


def _description(preprocessing: Preprocessing) -> str:
    size, side = preprocessing.size, f"{preprocessing.cache_size} x {preprocessing.cache_size}"
    resampling = f"{preprocessing.interpolation}, antialiased"
    steps = [
        "decode as RGB and turn as EXIF says; of more than 8 bits make 8 as 'intensity' says",
        f"resize to {side} pixels without keeping the proportions ({resampling})"
        if preprocessing.fit == "squash"
        else f"resize the short side to {preprocessing.cache_size} pixels ({resampling}) and cut the central {side}",
        *["compress as JPEG of quality 95 (4:4:4) and decode again"] * preprocessing.jpeg,
        f"make the {size} x {size} pixels that 'view' describes (EvaluationView with crop: the centre; without crop: "
        "OpenCV's resize, with INTER_AREA if it shrinks more than 1.5 times and else INTER_LINEAR)",
        "divide by 255",
    ]
    return "; ".join(steps)


def _difference(classifier: Classifier, run: Callable[[Tensor], Tensor], size: int) -> float:
    """Largest absolute difference of a probability, over batches of several sizes and images of several contrasts."""
    generator = torch.Generator().manual_seed(0)
    largest = torch.zeros(())
    for batch in _BATCHES:
        images = torch.rand(batch, 3, size, size, generator=generator)
        images = images * torch.rand(batch, 3, 1, 1, generator=generator)
        largest = torch.maximum(largest, (run(images) - classifier(images)).abs().max())  # Propagates NaN.
    return float(largest)


def _write_onnx(classifier: Classifier, trained: LoadedRun, file: Path) -> None:
    program = torch.onnx.export(
        classifier, (_example(trained),), dynamo=True, input_names=["images"], output_names=["probabilities"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}}, external_data=False, verbose=False,
        custom_translation_table={torch.ops.aten.amax.default: _amax},
    )  # fmt: skip
    assert program is not None
    entries = metadata(trained).items()
    program.model.metadata_props.update(
        {key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for key, value in entries}
    )
    program.save(str(file), external_data=False)


def _amax(self: Any, dim: Any = (), keepdim: bool = False) -> Any:
    """The exporter's own translation of `Tensor.amax` lacks the form without `dim`."""
    op: Any = importlib.import_module("onnxscript").opset18
    axes = [op.Constant(value_ints=list(dim))] if dim else []
    return op.ReduceMax(self, *axes, keepdims=int(keepdim))


def _read_onnx(file: Path) -> Callable[[Tensor], Tensor]:
    session = importlib.import_module("onnxruntime").InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["probabilities"], {"images": images.numpy()})[0])


def _write_torchscript(classifier: Classifier, trained: LoadedRun, file: Path) -> None:
    traced = torch.jit.trace(classifier, (_example(trained),))
    torch.jit.save(traced, file, _extra_files={METADATA: json.dumps(metadata(trained), ensure_ascii=False)})


def _write_torch(classifier: Classifier, trained: LoadedRun, file: Path) -> None:
    cfg = without_initial_weights(trained.run.config)
    config = OmegaConf.to_container(OmegaConf.masked_copy(cfg, ["seed", "backbone"]))
    assert isinstance(config, dict)
    config["method"] = {"network": OmegaConf.to_container(cfg.method.network)}
    saved = {"state_dict": classifier.state_dict(), "config": config, "metadata": metadata(trained)}
    preprocessing = trained.preprocessing
    saved[RUN_KEY] = asdict(Pixels(preprocessing.mean, preprocessing.std, preprocessing.interpolation))
    torch.save(saved, file)


def _example(trained: LoadedRun) -> Tensor:
    size = trained.preprocessing.size
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@dataclass(frozen=True)
class Format:
    """How a network is written, and how the file is run."""

    suffix: str
    write: Callable[[Classifier, LoadedRun, Path], None]
    read: Callable[[Path], Callable[[Tensor], Tensor]]
    packages: tuple[str, ...] = ()


FORMATS = {
    "onnx": Format(".onnx", _write_onnx, _read_onnx, ("onnx", "onnxscript", "onnxruntime")),
    "torchscript": Format(".torchscript.pt", _write_torchscript, lambda file: torch.jit.load(file)),
    "torch": Format(".pt", _write_torch, load_export),
}


def _require_matching_suffix(file: Path, form: str) -> None:
    """Refuses a suffix of another format, which would mislead readers of the file; any other suffix is allowed."""
    formats = {".onnx": ["onnx"], ".pt": ["torchscript", "torch"], ".pth": ["torchscript", "torch"]}.get(file.suffix)
    if formats is not None and form not in formats:
        raise UserError(
            f"--output={file} ends in {file.suffix}, but the format is {form}",
            f"Name it {file.with_suffix(FORMATS[form].suffix).name}, or choose --format={' or '.join(formats)}.",
        )


def _require_package(name: str, form: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError:
        raise UserError(f"Format {form} needs the package {name}", "Install it: pip install 'ltmed[export]'") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides the warnings of exporters; the comparison of outputs decides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
