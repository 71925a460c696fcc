"""Files of weights in the wrappers in which their authors save them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from ltmed.errors import UserError
from ltmed.nn.encoder import timm_encoder
from ltmed.nn.weights import load_weights

NAME, VIT = "test_resnet", "test_vit"
State = dict[str, torch.Tensor]


def model(name: str = NAME, seed: int = 1) -> nn.Module:
    """With its classifier, as checkpoints have it, and weights of this seed."""
    torch.manual_seed(seed)
    made = timm.create_model(name)
    with torch.no_grad():
        for buffer in made.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1)
    return made


def prefixed(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def assert_same(encoder: nn.Module, state: State) -> None:
    assert all(torch.equal(value, state[key]) for key, value in encoder.state_dict().items())


WRAPPERS: dict[str, Callable[[State, State], Any]] = {
    "model": lambda own, _: {"model": own, "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}}},
    "module": lambda own, _: {"state_dict": prefixed("module.", own), "best_acc": np.float64(0.7), "epoch": 3},
    "compiled": lambda own, _: prefixed("_orig_mod.", own),
    "lightning": lambda own, _: {"state_dict": prefixed("model.", own), "callbacks": {}, "hyper_parameters": {"a": 1}},
    "lightly": lambda own, _: {"state_dict": prefixed("backbone.", own) | {"projection_head.0.weight": torch.ones(3)}},
    "moco": lambda own, other: {
        "arch": "resnet", "state_dict": {
            **prefixed("module.encoder_q.", without_head(own)), "module.encoder_q.fc.0.weight": torch.ones(4, 4),
            **prefixed("module.encoder_k.", other), "module.queue": torch.ones(2, 9),
        },
    },
    "moco v3": lambda own, other: {
        "state_dict": prefixed("module.base_encoder.", own) | prefixed("module.momentum_encoder.", other)
    },
    "dino": lambda own, other: {
        "student": prefixed("module.backbone.", without_head(other)) | {"module.head.mlp.0.weight": torch.ones(2)},
        "teacher": prefixed("backbone.", without_head(own)) | {"head.mlp.0.weight": torch.ones(2)},
        "args": argparse.Namespace(arch="vit_small", lr=1e-3),
    },
    "timm's average": lambda own, other: {"state_dict": other, "state_dict_ema": own, "args": argparse.Namespace()},
    "a run": lambda own, other: {
        "state_dict": prefixed("network.encoder.", without_head(own)) | prefixed("teacher.", without_head(other)),
    },
}  # fmt: skip


def without_head(state: State) -> State:
    return {key: value for key, value in state.items() if not key.startswith(("fc.", "head.fc."))}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.filterwarnings("error")
def test_the_network_that_is_meant_is_found_in_the_file(wrapper: str, tmp_path: Path) -> None:
    own, other = model(seed=1).state_dict(), model(seed=2).state_dict()
    torch.save(WRAPPERS[wrapper](own, other), tmp_path / "w.pt")
    assert_same(timm_encoder(NAME, weights=tmp_path / "w.pt"), own)


def test_position_embeddings_are_interpolated_to_the_image_size(tmp_path: Path) -> None:
    saved = model(VIT)
    torch.save({"teacher": prefixed("backbone.", saved.state_dict())}, tmp_path / "w.pt")
    encoder = timm_encoder(VIT, weights=tmp_path / "w.pt", image_size=96)
    grid = saved.state_dict()["pos_embed"].shape[1]
    assert encoder.state_dict()["pos_embed"].shape[1] != grid
    assert torch.equal(encoder.state_dict()["blocks.0.attn.qkv.weight"], saved.state_dict()["blocks.0.attn.qkv.weight"])
    assert encoder(torch.zeros(1, 3, 96, 96)).shape == (1, encoder.num_features)


def test_a_vision_transformer_of_other_patches_is_refused(tmp_path: Path) -> None:
    """Timm would resize the patch embedding without a word: another network, with other features."""
    torch.save({"teacher": prefixed("backbone.", timm.create_model(VIT, patch_size=8).state_dict())}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"other shape: patch_embed\.proj\.weight .*8, 8\] in the file.*16, 16\]"):
        timm_encoder(VIT, weights=tmp_path / "w.pt")


def test_names_of_the_original_repository_are_translated(tmp_path: Path) -> None:
    """ConvNeXt's authors count stages and downsampling layers separately; timm's own function knows how."""
    saved = model("test_convnext").state_dict()
    original = {
        key.replace("stem.", "downsample_layers.0.").replace("mlp.fc1", "pwconv1").replace("mlp.fc2", "pwconv2")
        .replace("conv_dw", "dwconv").replace("head.fc.", "head.").replace("head.norm.", "norm."): value
        for key, value in saved.items()
    }  # fmt: skip
    for key in [key for key in original if key.startswith("stages.")]:
        _, stage, kind, *rest = key.split(".")
        new = ("downsample_layers", stage) if kind == "downsample" else ("stages", stage)
        original[".".join((*new, *rest))] = original.pop(key)
    torch.save({"model": original}, tmp_path / "w.pt")
    assert_same(timm_encoder("test_convnext", weights=tmp_path / "w.pt"), saved)


def test_several_networks_of_which_none_is_obvious_are_refused(tmp_path: Path) -> None:
    torch.save(
        prefixed("left.", model(seed=1).state_dict()) | prefixed("right.", model(seed=2).state_dict()), tmp_path / "w"
    )
    with pytest.raises(UserError, match=r"several networks.*left\., right\."):
        timm_encoder(NAME, weights=tmp_path / "w")


@pytest.mark.parametrize("other", ["resnet18", VIT, "test_convnext"])
def test_weights_of_another_architecture_are_refused_in_one_line(other: str, tmp_path: Path) -> None:
    torch.save({"state_dict": prefixed("module.", timm.create_model(other).state_dict())}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=rf"does not fit '{NAME}'") as caught:
        timm_encoder(NAME, weights=tmp_path / "w.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("saved", "name", "layer"),
    [
        (partial(timm.create_model, "resnet34"), "resnet18", r"layer1\.2\.conv1\.weight"),
        (partial(timm.create_model, VIT, init_values=1e-5), VIT, r"blocks\.0\.ls1\.gamma"),
    ],
)
def test_weights_of_a_network_with_more_layers_are_refused(
    saved: Callable[[], nn.Module], name: str, layer: str, tmp_path: Path
) -> None:
    """All that the model needs is in the file, but its features are not those of the file's network."""
    torch.save({"state_dict": prefixed("module.", saved().state_dict())}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=rf"more layers than '{name}' has.*{layer}"):
        timm_encoder(name, weights=tmp_path / "w.pt")


@pytest.mark.parametrize("token", ["reg_token", "register_tokens"])
def test_weights_that_were_trained_with_further_tokens_are_refused(token: str, tmp_path: Path) -> None:
    torch.save(model(VIT).state_dict() | {token: torch.ones(1, 4, 64)}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=f"more layers than '{VIT}' has.*{token}"):
        timm_encoder(VIT, weights=tmp_path / "w.pt")


@pytest.mark.filterwarnings("error")
def test_a_classifier_of_several_layers_is_dropped_whole(tmp_path: Path) -> None:
    """Timm names its last layer only: `head.fc.fc2` beside `head.fc.fc1` and `head.fc.norm`."""
    saved = timm.create_model("convformer_s18").state_dict()
    assert "head.fc.fc1.weight" in saved
    torch.save(saved, tmp_path / "w.pt")
    assert_same(timm_encoder("convformer_s18", weights=tmp_path / "w.pt"), saved)


def test_what_is_beside_the_network_or_is_an_index_is_left_out_with_a_warning(tmp_path: Path) -> None:
    own = model().state_dict()
    beside = {"decoder.0.weight": torch.ones(2), "layer1.0.index": torch.arange(3)}
    torch.save(own | beside, tmp_path / "w.pt")
    with pytest.warns(UserWarning, match=r"left out.*decoder\.0\.weight, layer1\.0\.index"):
        assert_same(timm_encoder(NAME, weights=tmp_path / "w.pt"), own)


def test_a_file_without_any_tensor_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "args": argparse.Namespace()}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="missing"):
        load_weights(timm.create_model(NAME, num_classes=0), NAME, tmp_path / "w.pt")
