"""Features of a frozen encoder: what is kept, when it is computed again, and batches of it."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ltmed.data.augment import CenterCrop, Compose, EvaluationView, HorizontalFlip, RandomCrop
from ltmed.data.cache.features import ENCODER, FeatureCache, View, digest, is_random, save_encoder
from ltmed.data.cache.images import ImageCache
from ltmed.data.loading.feature_loader import FeatureEvalLoader, FeatureTrainLoader
from ltmed.data.samplers.single import PowerSampler
from ltmed.errors import UserError
from ltmed.nn.pixels import Pixels, timm_pixels

N, SIDE, SEEN, D = 60, 20, 16, 5
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
PLAIN = View(EvaluationView(size=SEEN), "centre")
FLIPS = View(
    Compose(crop=RandomCrop(size=SEEN, padding=0), flip=HorizontalFlip(p=0.5)),  # pyright: ignore[reportArgumentType]
    "crops and flips",
)


class Encoder(nn.Module):
    num_features = D

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Conv2d(3, D, 3)
        self.images = 0

    def forward(self, images: Tensor) -> Tensor:
        self.images += len(images)
        return self.layer(images).mean((2, 3))


@pytest.fixture
def images() -> ImageCache:
    pixels = np.random.default_rng(0).integers(0, 256, (N, SIDE, SIDE, 3), np.uint8)
    return ImageCache(pixels, [(7, "damaged")], "toy-0123")  # pyright: ignore[reportArgumentType]


def cache_of(images: ImageCache, folder: Path, encoder: nn.Module | None = None, **options) -> FeatureCache:
    made = FeatureCache(
        (encoder or Encoder()).eval(),
        {"name": "toy"},
        folder=folder,
        threads=2,
        **{"mean": MEAN, "std": STD, **options},
    )
    made.images = images
    return made


@torch.no_grad()
def test_they_are_what_the_encoder_makes_of_each_image(images: ImageCache, tmp_path: Path) -> None:
    encoder = Encoder()
    actual = cache_of(images, tmp_path, encoder).get(PLAIN)
    assert actual.shape == (N, D)
    for row in range(N):
        pixels = np.empty((SEEN, SEEN, 3), np.uint8)
        PLAIN.augment(images.pixels[row], np.random.default_rng(), pixels)
        image = ((torch.from_numpy(pixels) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(2, 0, 1)[None]
        expected = torch.zeros(D) if row == 7 else encoder(image)[0]
        assert torch.allclose(actual[row], expected, atol=1e-5)


def test_cached_features_are_not_computed_again(images: ImageCache, tmp_path: Path) -> None:
    first = cache_of(images, tmp_path).get(PLAIN).clone()
    encoder = Encoder()
    assert torch.equal(cache_of(images, tmp_path, encoder).get(PLAIN), first)
    assert encoder.images == 2, "which tell whether it is the same computation"


class Maximum(Encoder):
    """The same weights and options as `Encoder`."""

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images).amax((2, 3))


class Rounded(Encoder):
    """What another device or number of threads may make of it."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * (1 + 1e-3)


@pytest.mark.parametrize("view", [PLAIN, FLIPS])
def test_another_computation_with_the_same_weights_has_its_own_features(
    view: View, images: ImageCache, tmp_path: Path
) -> None:
    first = cache_of(images, tmp_path).get(view).clone()
    expected = cache_of(images, tmp_path / "fresh", Maximum()).get(view)
    assert torch.equal(cache_of(images, tmp_path, Maximum()).get(view), expected)
    assert torch.equal(cache_of(images, tmp_path).get(view), first)
    assert torch.equal(cache_of(images, tmp_path, Rounded()).get(view), first)


@pytest.mark.parametrize("changed", ["weights", "images", "view", "mean", "options", "dtype", "pass"])
def test_whatever_changes_leads_to_another_file(changed: str, images: ImageCache, tmp_path: Path) -> None:
    cache_of(images, tmp_path).get(PLAIN)
    other = cache_of(
        images if changed != "images" else ImageCache(images.pixels, images.bad, "toy-4567"),
        tmp_path,
        Encoder(seed=int(changed == "weights")),
        **({"mean": (0.1, 0.5, 0.6)} if changed == "mean" else {"dtype": "float16"} if changed == "dtype" else {}),
    )
    if changed == "options":
        other._metadata["options"] = {"name": "toy", "drop": 1}
    view = View(PLAIN.augment, "another") if changed == "view" else PLAIN
    other.get(view, int(changed == "pass"))
    assert len(list(tmp_path.glob("features/*.npy"))) == 2


def test_an_image_that_became_readable_has_features(images: ImageCache, tmp_path: Path) -> None:
    before = cache_of(images, tmp_path).get(PLAIN)
    readable = ImageCache(images.pixels, [], images.name)  # Built again under the same name.
    after = cache_of(readable, tmp_path).get(PLAIN)
    assert before[7].abs().sum() == 0
    assert torch.equal(after[7], cache_of(readable, tmp_path / "fresh").get(PLAIN)[7])
    assert after[7].abs().sum() > 0


def test_complete_files_are_opened_without_writing(
    images: ImageCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cache_of(images, tmp_path).get(PLAIN).clone()
    for lock in tmp_path.rglob("*.lock"):
        lock.unlink()

    def read_only(path: object, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "mkdir", read_only)
    monkeypatch.setattr("ltmed.data.cache.features.locked", read_only)
    assert torch.equal(cache_of(images, tmp_path).get(PLAIN), first)
    with pytest.raises(UserError, match="cannot be written: Read-only file system.*cache_dir"):
        cache_of(images, tmp_path).get(FLIPS)


@pytest.mark.parametrize("kind", ["other weights", "truncated", "other shape", "no description"])
def test_a_file_that_is_not_what_its_name_says_is_refused(kind: str, images: ImageCache, tmp_path: Path) -> None:
    cache_of(images, tmp_path).get(PLAIN)
    (file,) = tmp_path.glob("features/*.npy")
    about = file.with_suffix(".json")
    if kind == "other weights":
        about.write_text(json.dumps(json.loads(about.read_text()) | {"weights": "0" * 16}))
    elif kind == "truncated":
        file.write_bytes(file.read_bytes()[:200])
    elif kind == "other shape":
        np.save(file, np.zeros((N - 1, D), np.float32))
    else:
        about.unlink()
    with pytest.raises(UserError, match="Delete it"):
        cache_of(images, tmp_path).get(PLAIN)


class Broken(Encoder):
    def forward(self, images: Tensor) -> Tensor:
        made = super().forward(images)
        made[3, 1] = float("nan")
        return made


class Large(Encoder):
    def forward(self, images: Tensor) -> Tensor:
        return 1e6 + super().forward(images)


@pytest.mark.parametrize(("encoder", "dtype", "hint"), [(Broken, "float32", "weights"), (Large, "float16", "float32")])
def test_features_that_are_not_finite_are_refused(encoder, dtype, hint, images: ImageCache, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"NaN or infinite.*{hint}"):
        cache_of(images, tmp_path, encoder(), dtype=dtype).get(PLAIN)
    assert not list(tmp_path.glob("features/*.npy"))


def test_half_precision_is_half_the_disk_and_about_a_thousandth_off(images: ImageCache, tmp_path: Path) -> None:
    full, half = (cache_of(images, tmp_path, dtype=dtype).get(PLAIN) for dtype in ("float32", "float16"))
    assert half.dtype == torch.float16
    assert 0 < (full - half.float()).abs().max() < 1e-3 * full.abs().max()


def test_the_digest_depends_on_every_weight() -> None:
    one = Encoder()
    before = digest(one)
    with torch.no_grad():
        one.layer.weight[4] += 1e-6
    assert digest(one) != before


@pytest.mark.parametrize(
    ("augment", "random"),
    [(PLAIN.augment, False), (CenterCrop(SEEN), False), (FLIPS.augment, True), (HorizontalFlip(p=1e-9), True)],
)
def test_whether_a_view_draws_random_numbers(augment, random: bool) -> None:
    assert is_random(augment, SIDE) is random


# --- loaders --------------------------------------------------------------------------------------------------


def loader(cache: FeatureCache, views: list[View], **options) -> FeatureTrainLoader:
    rows = np.arange(10, 50)
    labels = np.arange(len(rows)) % 3
    sampler = PowerSampler(labels, batch_size=8, epochs=3, seed=1, q=0.0)
    return FeatureTrainLoader(cache, rows, labels, sampler, views, **{"passes": None, "seed": 1, **options})


@pytest.mark.parametrize("world", [1, 2, 4])
def test_batches_are_those_of_the_sampler(world: int, images: ImageCache, tmp_path: Path) -> None:
    cache = cache_of(images, tmp_path)
    ranks = [loader(cache, [PLAIN], rank=rank, world=world) for rank in range(world)]
    expected = ranks[0]._sampler.batches(2)
    for rank in ranks:
        rank.set_epoch(2)
    batches = list(zip(*ranks, strict=True))
    assert len(batches) == len(ranks[0]) == len(expected)
    for parts, positions in zip(batches, expected, strict=True):
        indices = torch.cat([part.indices for part in parts])
        assert indices.tolist() == (positions + 10).tolist()
        assert torch.equal(torch.cat([part.images for part in parts]), cache.get(PLAIN)[indices])
        assert torch.cat([part.labels for part in parts]).tolist() == (positions % 3).tolist()


def test_every_image_comes_from_one_of_the_passes(images: ImageCache, tmp_path: Path) -> None:
    cache = cache_of(images, tmp_path)
    made = loader(cache, [FLIPS], passes=3)
    made.prepare()
    selected = torch.stack([cache.get(FLIPS, number) for number in range(3)])
    chosen = []
    for epoch in range(3):
        made.set_epoch(epoch)
        for batch in made:
            same = (selected[:, batch.indices] == batch.images).all(2)
            assert same.any(0).all()
            chosen += same.int().argmax(0).tolist()
    assert set(chosen) == {0, 1, 2}
    again = loader(cache, [FLIPS], passes=3)
    assert all(torch.equal(a.images, b.images) for a, b in zip(again, loader(cache, [FLIPS], passes=3), strict=True))


def test_two_views_of_an_image_are_different_passes(images: ImageCache, tmp_path: Path) -> None:
    cache = cache_of(images, tmp_path)
    for batch in loader(cache, [FLIPS, FLIPS], passes=2):
        assert batch.views is not None
        assert not (batch.images == batch.views).all(1).any()


def test_two_random_views_have_random_numbers_of_their_own(images: ImageCache, tmp_path: Path) -> None:
    """Of 25 places and two directions, 2 % of the images have the same in both by chance, and not all."""
    cache = cache_of(images, tmp_path)
    first, second = (cache.get(view) for view in (FLIPS, replace(FLIPS, described="crops and flips, then nothing")))
    readable = np.arange(N) != 7
    assert (first == second).all(1).numpy()[readable].mean() < 0.2


def test_two_configurations_are_two_views_also_without_random_numbers(images: ImageCache, tmp_path: Path) -> None:
    cache, whole = cache_of(images, tmp_path), View(EvaluationView(size=SEEN, crop=False), "whole")
    for batch in loader(cache, [PLAIN, whole]):
        assert torch.equal(batch.images, cache.get(PLAIN)[batch.indices])
        assert batch.views is not None
        assert torch.equal(batch.views, cache.get(whole)[batch.indices])


@pytest.mark.parametrize(("views", "passes"), [([FLIPS], None), ([PLAIN, PLAIN], None), ([FLIPS, FLIPS], 1)])
def test_random_or_equal_views_without_passes_are_refused(views, passes, images: ImageCache, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="features.views=4.*features.cache=false"):
        loader(cache_of(images, tmp_path), views, passes=passes)
    assert not (tmp_path / "features").exists(), "refused before anything is computed"


def test_evaluation_has_every_image_once(images: ImageCache, tmp_path: Path) -> None:
    cache, rows = cache_of(images, tmp_path), np.arange(5, 28)
    make = partial(FeatureEvalLoader, cache, rows, rows % 3, PLAIN, batch_size=4, world=2)
    actual = [batch for rank in range(2) for batch in make(rank=rank)]
    assert [len(make(rank=rank)) for rank in range(2)] == [3, 3]
    indices = torch.cat([batch.indices for batch in actual])
    assert sorted(indices.tolist()) == rows.tolist()
    assert torch.equal(torch.cat([batch.images for batch in actual]), cache.get(PLAIN)[indices])
    assert torch.equal(torch.cat([batch.labels for batch in actual]), indices % 3)


RED = Pixels((0.9, 0.1, 0.1), (0.3, 0.3, 0.3), "bicubic")


def saved(folder: Path, cache: Path, pixels: Pixels = RED) -> Path:
    """The file in the folder of a run."""
    folder.mkdir()
    save_encoder(Encoder(), pixels, cache, folder)
    return folder / ENCODER


def test_runs_share_one_file_of_the_encoder(tmp_path: Path) -> None:
    one, other = (saved(tmp_path / run, tmp_path / "cache") for run in ("a", "b"))
    selected = torch.load(other, weights_only=True)["state_dict"]
    assert torch.equal(selected["layer.weight"], Encoder().state_dict()["layer.weight"])
    assert one.samefile(other)


def test_the_file_of_the_encoder_has_the_pixels_of_its_run(tmp_path: Path) -> None:
    for number, pixels in enumerate((RED, Pixels(), Pixels(interpolation="bicubic"))):
        file = saved(tmp_path / str(number), tmp_path / "cache", pixels)
        assert timm_pixels("vit_base_patch16_224", weights=file) == pixels


def test_a_cache_that_cannot_be_written_shares_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(file: Path, **_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(file))

    shared = saved(tmp_path / "a", tmp_path / "cache")
    monkeypatch.setattr("ltmed.data.cache.features.locked", read_only)
    assert saved(tmp_path / "b", tmp_path / "cache").samefile(shared)
    own = saved(tmp_path / "c", tmp_path / "cache", Pixels())
    assert torch.equal(torch.load(own)["state_dict"]["layer.weight"], Encoder().state_dict()["layer.weight"])
    assert timm_pixels("vit_base_patch16_224", weights=own) == Pixels()
