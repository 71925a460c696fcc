"""Encoders: names, files and the messages when either is wrong. Nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import _hub

from ltmed.errors import UserError
from ltmed.nn.encoder import timm_encoder

NAME = "test_resnet"


@pytest.fixture(scope="module")
def classifier() -> torch.nn.Module:
    """A model with its classifier of 1,000 classes, as checkpoints have it."""
    torch.manual_seed(1)
    return timm.create_model(NAME)


def same_weights(encoder: torch.nn.Module, model: torch.nn.Module) -> bool:
    state = model.state_dict()
    return all(torch.equal(value, state[key]) for key, value in encoder.state_dict().items())


@pytest.mark.parametrize("name", [NAME, "mobilenetv3_small_050", "test_vit"])
def test_output_is_num_features_wide(name: str) -> None:
    encoder = timm_encoder(name).eval()
    side = 160 if "vit" in name else 32
    assert encoder(torch.zeros(2, 3, side, side)).shape == (2, encoder.num_features)


def test_options_reach_the_model() -> None:
    assert timm_encoder("test_vit", img_size=64).eval()(torch.zeros(1, 3, 64, 64)).ndim == 2


@pytest.mark.parametrize(
    ("name", "hint"), [("resnet_18", "resnet18"), ("test_resnet.a1_in1k", "r160_in1k"), ("", "timm has no model")]
)
def test_an_unknown_name_ends_in_one_line_with_near_names(name: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        timm_encoder(name)


@pytest.mark.parametrize("error", [OSError("Name or service not known\nmore"), RuntimeError("no pretrained weights")])
def test_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(_hub, "hf_hub_download", fail)
    with pytest.raises(UserError, match=r"backbone.weights=FILE.*backbone.pretrained=false") as caught:
        timm_encoder(NAME, pretrained=True)
    assert NAME in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hub_that_is_out_of_reach_is_tried_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its client would try ten times, for most of a minute, and print each of them."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("ltmed.nn.hub.getproxies", dict)
    offline = []
    monkeypatch.setattr(_hub, "hf_hub_download", lambda *_, **__: offline.append(constants.HF_HUB_OFFLINE) or 1 / 0)
    with pytest.raises(UserError, match=r"no connection to hub\.invalid.*backbone.pretrained=false"):
        timm_encoder(NAME, pretrained=True)
    assert set(offline) == {True}
    assert constants.HF_HUB_OFFLINE is False


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "data_parallel", "run"])
def test_a_local_file_is_loaded_without_its_classifier(wrap: str, classifier: torch.nn.Module, tmp_path: Path) -> None:
    state = classifier.state_dict()
    stored: Any = {
        "plain": state,
        "state_dict": {"state_dict": state, "epoch": 3},
        "data_parallel": {f"module.{key}": value for key, value in state.items()},
        "run": {"state_dict": {f"network.encoder.{k}": v for k, v in state.items()} | {"omega": torch.ones(2)}},
    }[wrap]
    torch.save(stored, tmp_path / "w.pt")
    encoder = timm_encoder(NAME, pretrained=True, weights=str(tmp_path / "w.pt"))
    assert same_weights(encoder, classifier)


def test_safetensors_are_read(classifier: torch.nn.Module, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(classifier.state_dict(), tmp_path / "model.safetensors")
    assert same_weights(timm_encoder(NAME, weights=tmp_path / "model.safetensors"), classifier)


def test_a_file_that_does_not_fit_names_what_is_missing_and_what_has_another_shape(
    classifier: torch.nn.Module, tmp_path: Path
) -> None:
    state = classifier.state_dict()
    first = next(key for key in state if key.endswith("weight"))
    last = [key for key in state if key.endswith("weight") and not key.startswith("fc")][-1]
    broken = {key: value for key, value in state.items() if key != first} | {last: torch.ones(2), "odd": torch.ones(1)}
    torch.save(broken, tmp_path / "w.pt")
    with pytest.raises(UserError) as caught:
        timm_encoder(NAME, weights=tmp_path / "w.pt")
    for part in (f"missing: {first}", f"other shape: {last} ([2] in the file", "not in the model: odd", "w.pt"):
        assert part in str(caught.value)


def test_keys_that_the_model_lacks_are_reported(classifier: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(classifier.state_dict() | {"odd": torch.ones(1)}, tmp_path / "w.pt")
    with pytest.warns(UserWarning, match="odd"):
        assert same_weights(timm_encoder(NAME, weights=tmp_path / "w.pt"), classifier)


class Dangerous:
    """Something that a checkpoint must not run."""

    def __reduce__(self) -> Any:
        return print, ("code was run",)


@pytest.mark.parametrize("stored", ["missing", "garbage", "text", "pickled code", "a list"])
def test_a_file_that_is_no_checkpoint_is_a_user_error(
    stored: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "w.pt"
    if stored == "garbage":
        file.write_bytes(b"no weights at all")
    elif stored == "text":
        file.write_text("root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n")
    elif stored == "pickled code":
        torch.save({"state_dict": Dangerous()}, file)
    elif stored == "a list":
        torch.save([1, 2], file)
    with pytest.raises(UserError, match=r"backbone.weights=.*w\.pt"):
        timm_encoder(NAME, weights=file)
    assert "code was run" not in capsys.readouterr().out
