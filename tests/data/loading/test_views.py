"""Operations put together: views, the yamls of conf/augment, what is refused."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image, ImageFilter
from torchvision.transforms import functional

from ltmed.data import augment
from ltmed.errors import UserError
from tests.data.pictures import IMAGES, LIMIT, difference, empty, lesion

CONF = Path(__file__).resolve().parents[3] / "conf" / "augment"


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest) -> np.ndarray:
    return IMAGES[request.param]


@pytest.mark.parametrize("crop", [True, False])
def test_evaluation_view(crop):
    image, out = lesion(256, 7), empty()
    augment.EvaluationView(224, crop=crop)(image, np.random.default_rng(0), out)
    expected = image[16:240, 16:240] if crop else cv2.resize(image, (224, 224))
    np.testing.assert_array_equal(out, expected)
    same = empty(256)
    augment.EvaluationView(256, crop=crop)(image, np.random.default_rng(0), same)
    np.testing.assert_array_equal(same, image)


def config(name: str, size: int = 64):
    return instantiate(OmegaConf.merge({"image_size": size, "augment": OmegaConf.load(CONF / f"{name}.yaml")}).augment)


@pytest.mark.parametrize("name", sorted(path.stem for path in CONF.glob("*.yaml")))
def test_configs(name, tmp_path):
    view = config(name)
    assert view.size == 64
    pickle.loads(pickle.dumps(view))
    np.save(tmp_path / "cache.npy", np.stack([lesion(73, seed) for seed in range(3)]))
    cache = np.load(tmp_path / "cache.npy", mmap_mode="r")  # Read only, as the image cache is.
    batch, again = np.zeros((2, 3, 64, 64, 3), np.uint8)
    for out in (batch, again):
        for row in range(3):
            view(cache[row], np.random.default_rng(row), out[row])
    np.testing.assert_array_equal(batch, again)
    assert all(one.std() > 0 for one in batch)
    other = np.empty_like(batch[0])
    views = [(view(cache[0], np.random.default_rng(seed), other), other.copy())[1] for seed in range(10)]
    assert (len({one.tobytes() for one in views}) == 1) == (name == "none")


def test_mocov2_equals_its_parts_in_torchvision(image):
    view, distances = config("mocov2", 224), []
    for seed in range(12):
        out, rng = empty(), np.random.default_rng(seed)
        view(image, np.random.default_rng(seed), out)
        crop, jitter, grey, blur, flip = view.operations
        reference = functional.resized_crop(Image.fromarray(image), *crop.draw(rng, 256, 256), [224, 224])
        sampled = jitter.draw(rng, 224, 224)
        if sampled:
            order, factors = sampled[0]
            for step in order:
                adjust = (functional.adjust_brightness, functional.adjust_contrast,
                          functional.adjust_saturation, functional.adjust_hue)[step]  # fmt: skip
                reference = adjust(reference, factors[step])
        if grey.draw(rng, 224, 224):
            reference = functional.to_grayscale(reference, 3)
        sampled = blur.draw(rng, 224, 224)
        if sampled:
            reference = reference.filter(ImageFilter.GaussianBlur(sampled[0]))
        if flip.draw(rng, 224, 224):
            reference = functional.hflip(reference)
        distances.append(difference(out, reference))
    assert np.mean(distances) < LIMIT
    assert max(distances) < 2 * LIMIT


def test_compose_with_sizes_in_the_middle():
    image, out = lesion(100, 8), empty(64)
    view = augment.Compose(
        first=augment.HorizontalFlip(1.0), shrink=augment.Resize(80), off=None, crop=augment.CenterCrop(64),
        last=augment.VerticalFlip(1.0),
    )  # fmt: skip
    before = image.copy()
    view(image, np.random.default_rng(0), out)
    expected = cv2.resize(image[:, ::-1].copy(), (80, 80))[8:72, 8:72][::-1]
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(image, before)
    assert view.size == 64


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: augment.Compose(flip=augment.HorizontalFlip()),
        lambda: augment.Compose(),
        lambda: augment.Compose(crop=augment.RandomCrop(8), p=0.3),
        lambda: augment.RandomApply(augment.RandomCrop(8), 0.5),
        lambda: augment.HorizontalFlip(1.2),
        lambda: augment.ColorJitter(hue=0.6),
        lambda: augment.ColorJitter(brightness=-0.1),
        lambda: augment.ColorJitter(contrast=math.nan),
        lambda: augment.GaussianBlur((2.0, 1.0)),
        lambda: augment.GaussianBlur((0.0, 1.0)),
        lambda: augment.RandomResizedCrop(8, scale=(0.2,)),
        lambda: augment.RandomCrop(300)(IMAGES["lesion"], np.random.default_rng(0), empty(300)),
        lambda: augment.EvaluationView(300)(IMAGES["lesion"], np.random.default_rng(0), empty(300)),
    ],
)
def test_mistakes(mistake):
    with pytest.raises(UserError):
        mistake()


@pytest.mark.parametrize("out", [empty(225), empty(448)[::2, ::2]])
@pytest.mark.parametrize("operation", [augment.CenterCrop(224), augment.HorizontalFlip(1.0)])
def test_unusable_out(operation, out):
    with pytest.raises(ValueError, match="cannot write"):
        operation(lesion(224, 0), np.random.default_rng(0), out)
