"""Exported networks compute what the run's network does, whatever its head, and a file that does not is not left."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from PIL import Image, ImageOps

from ltmed.errors import UserError
from ltmed.inference import export as module
from ltmed.inference.export import FORMATS, METADATA, export, load_export, metadata
from ltmed.inference.predictor import Predictor
from ltmed.inference.preprocessing import open_run
from tests.data.images import encoded, picture
from tests.harness import METHODS, PRESETS, ROOT
from tests.methods.small import Encoder
from tests.trained_runs import CODES, untrained

PROBABILITIES = [f"prob_{code}" for code in CODES]


def heads() -> dict[str, str]:
    """Every kind of classifier that the configs name, and a method that has it."""
    found: dict[str, str] = {}
    for method in [*METHODS, *PRESETS]:
        if method == "probe":  # Its runs keep the frozen encoder in a file of its own, which these made runs lack.
            continue
        text = (ROOT / f"conf/method/{method}.yaml").read_text()
        for target in re.findall(r"classifier:\s*\{?\s*_target_: ([\w.]+)", text):
            found.setdefault(target, f"method={method}")
    return found


def run_file(form: str, file: Path, images: np.ndarray) -> np.ndarray:
    """Runs an exported file as somebody without this package would (but for `torch`)."""
    if form == "onnx":
        return np.asarray(onnxruntime.InferenceSession(str(file)).run(None, {"images": images})[0])
    load: Any = torch.jit.load if form == "torchscript" else load_export
    with torch.no_grad():
        return load(file)(torch.from_numpy(images)).numpy()


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives all networks an encoder of one layer: a real one takes the exporter seconds."""
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: Encoder())


@pytest.fixture(autouse=True)
def small_unless_the_test_is_about_the_encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "backbone" not in request.node.name:
        small(monkeypatch)


@pytest.mark.parametrize(
    "overrides",
    # Of the transformer's blocks one takes the exporter a second less than six, which are equal.
    [*heads().values(), "backbone=tiny", "backbone=tiny backbone.name=test_vit +backbone.depth=1 image_size=160"],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")
def test_every_head_gives_the_probabilities_of_predict(overrides, tmp_path):
    run = untrained(tmp_path / "run", *overrides.split())
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded(picture(number, 40, 50), "PNG"))
    files = sorted(tmp_path.glob("*.png"))
    predictor = Predictor(run, device="cpu")
    expected = predictor(files)[PROBABILITIES].to_numpy()
    assert np.ptp(expected, axis=0).max() > 1e-3, "a test that sees the images"
    pixels = np.stack([predictor.preprocessing(image.read_bytes()) for image in files])
    images = (pixels.transpose(0, 3, 1, 2) / 255).astype(np.float32)
    for form in FORMATS:
        file, difference = export(run, form)
        assert file == run / f"model{FORMATS[form].suffix}"
        assert difference <= 1e-4, form
        for size in (1, 3):
            assert np.abs(run_file(form, file, images[:size]) - expected[:size]).max() < 1e-4, form


def test_all_heads_are_found():
    names = {target.rpartition(".")[2] for target in heads()}
    assert {"Linear", "Cosine", "PrototypeHead", "CentreHead", "NearestMean"} <= names


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    overrides = ["dataset.fit=crop", "dataset.cache_scale=1.5", "evaluation.crop=false"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        small(monkeypatch)
        return untrained(tmp_path_factory.mktemp("run"), *overrides)


@pytest.fixture
def expected() -> dict[str, Any]:
    return {
        "classes": list(CODES),
        "names": [f"name of {code.lower()}" for code in CODES],
        "image_size": 32,
        "cache_size": 48,
        "fit": "crop",
        "view": {"_target_": "ltmed.data.augment.EvaluationView", "size": 32, "crop": False},
        "jpeg": False,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "run": "isic2018-erm-fold0-seed0",
        "split_hash": "0123",
        "ltmed": "0.1.0",
        "commit": "abc",
    }


def test_onnx_says_what_it_takes_and_where_it_is_from(run, expected, tmp_path):
    file, _ = export(run, "onnx", tmp_path / "made/net.onnx")
    onnx.checker.check_model(onnx.load(file), full_check=True)
    session = onnxruntime.InferenceSession(str(file))
    (image,), (probability,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape[1:], image.type) == ("images", [3, 32, 32], "tensor(float)")
    assert (probability.name, probability.shape[1:]) == ("probabilities", [7])
    assert isinstance(image.shape[0], str), "the batch has any size"
    about = session.get_modelmeta().custom_metadata_map
    found = {
        key: json.loads(about[key]) if not isinstance(value, str) else about[key] for key, value in expected.items()
    }
    assert found == expected
    assert "resize the short side to 48" in about["preprocessing"]
    assert [path.name for path in file.parent.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["dataset.fit=crop", "dataset.cache_scale=1.5", "evaluation.crop=false"],
        ["dataset.cache_scale=2", "evaluation.crop=false"],
        ["dataset.cache_scale=1.142857", "pixels.interpolation=bicubic"],
    ],
)
def test_the_metadata_say_how_an_image_becomes_the_input(overrides, tmp_path):
    """Followed with Pillow and OpenCV alone, on images of odd sizes, modes and turns."""
    loaded = open_run(untrained(tmp_path / "run", *overrides))
    about = metadata(loaded)
    side, size = about["cache_size"], about["image_size"]
    resampling = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[about["interpolation"]]
    turned = Image.Exif()
    turned[274] = 6
    blobs = Image.fromarray(picture(4, 75, 131))
    files = [
        encoded(blobs, "PNG"), encoded(blobs.resize((33, 90)).convert("L"), "PNG"), encoded(blobs, exif=turned),
        encoded(blobs.quantize(32), "PNG"), encoded(blobs.convert("RGBA"), "PNG"),
    ]  # fmt: skip
    for data in files:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        if about["fit"] == "squash":
            image = image.resize((side, side), resampling)
        else:
            short = min(image.size)
            image = image.resize((side * image.width // short, side * image.height // short), resampling)
            left, top = round((image.width - side) / 2), round((image.height - side) / 2)
            image = image.crop((left, top, left + side, top + side))
        pixels = np.asarray(image)
        if about["view"]["crop"]:
            start = round((side - size) / 2)
            pixels = pixels[start : start + size, start : start + size]
        else:
            shrinks = side / size > 1.5
            pixels = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        difference = np.abs(loaded.preprocessing(data).astype(int) - pixels)
        assert difference.mean() < 0.7
        assert difference.max() <= 8


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")
def test_torchscript_carries_its_metadata(run, expected, tmp_path):
    file, _ = export(run, "torchscript", tmp_path / "net.pt")
    extra = {METADATA: ""}
    torch.jit.load(file, _extra_files=extra)
    about = json.loads(extra[METADATA])
    assert {key: about[key] for key in expected} == expected


def test_torch_is_a_dict_without_pickled_code(run, expected, tmp_path):
    file, _ = export(run, "torch", tmp_path / "net.pt")
    saved = torch.load(file, weights_only=True)
    assert {key: saved["metadata"][key] for key in expected} == expected
    assert "/nowhere" not in str(saved["config"]), "no path of this machine"
    assert not load_export(file).training


@pytest.mark.parametrize(("form", "wrong"), [*((form, 2e-4) for form in FORMATS), ("torch", float("nan"))])
def test_a_file_that_computes_something_else_is_not_left(form, wrong, run, tmp_path, monkeypatch):
    read = FORMATS[form].read
    monkeypatch.setitem(FORMATS, form, replace(FORMATS[form], read=lambda file: lambda x: read(file)(x) + wrong))
    (tmp_path / "old").write_text("old")
    with pytest.raises(UserError, match=r"differ by (0.0002|nan)"):
        export(run, form, tmp_path / "old")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_text() == "old"


def test_a_network_that_cannot_be_traced(run, tmp_path, monkeypatch):
    def forward(self, images):
        return images.sum((1, 2, 3), keepdim=True)[..., 0, 0] if images.sum() > 0 else images

    monkeypatch.setattr(module.Classifier, "forward", forward)
    with pytest.raises(UserError, match="cannot be written as onnx"):
        export(run, "onnx", tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_missing_packages_and_wrong_words(run, monkeypatch):
    with pytest.raises(UserError, match="'onnx'"):
        export(run, "onx")
    with pytest.raises(UserError, match=r"ends in .pt, but the format is onnx. Name it net.onnx, or choose"):
        export(run, "onnx", "net.pt")
    importing = module.importlib.import_module

    def without(name, *rest):
        if name == "onnxruntime":
            raise ImportError(name)
        return importing(name, *rest)

    monkeypatch.setattr(module.importlib, "import_module", without)
    with pytest.raises(UserError, match=r"needs the package onnxruntime. Install it: pip install 'ltmed\[export\]'"):
        export(run, "onnx")
