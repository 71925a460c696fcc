"""Base class of every data set: subclasses have constants and a method `read(root)`."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from lightning.pytorch import LightningDataModule

from ltmed.data.augment import Augmentation
from ltmed.data.cache.features import FeatureCache, View
from ltmed.data.cache.images import BUDGET_GB, ImageCache, open_cache
from ltmed.data.cache.intensity import Intensity
from ltmed.data.download import Download
from ltmed.data.loading.feature_loader import FeatureEvalLoader, FeatureTrainLoader
from ltmed.data.loading.loader import EvalLoader, TrainLoader
from ltmed.data.manifest import Manifest, count_labels
from ltmed.data.readers._labels import spelled
from ltmed.data.sides import named, sides, without_flips
from ltmed.data.splits.coverage import require_training_images, warn_of_unseen_classes
from ltmed.data.splits.protocols import Split
from ltmed.data.stage_data import StageData
from ltmed.errors import UserError, require_between
from ltmed.evaluation.tiers import tiers
from ltmed.utils.recorded_warnings import recorded_warnings


class DataModule(LightningDataModule):
    """Images of one data set, with a split and loaders.

    Construction reads label files only, so that names, counts, groups and split are known before any pixel is
    decoded. `open` decodes the images into the cache, or opens an existing cache.

    Args:
        root: folder of the data set.
        image_size: side of the network's square input, in pixels.
        split: `(manifest, fold) -> Split`.
        fold: which of the split's folds is the test part.
        evaluation: the deterministic transform of validation and test images.
        cache_dir: folder of the caches of decoded images.
        cache_scale: cached side / image_size; the margin for random crops.
        fit: `squash` resizes the whole image to the cached square; `crop` resizes the short side and cuts the centre.
        interpolation: of that resize, `bilinear` or `bicubic`, both with antialiasing.
        intensity: scaling of images of more than eight bits: `auto`, `window`, `range` or `[low, high]`, see
            `ltmed.data.cache.intensity.Intensity`.
        cache_budget_gb: a cache with more gigabytes (10^9 bytes) of raw pixels stores JPEGs instead.
        on_bad_image: `error` stops with a list of all unreadable images; `skip` excludes them with a warning.
        threads: decoding and augmentation threads; None takes as many as keep up with the training, at most one per
            core that this process may use.
        workers: processes that load batches instead of threads, for augmentations in pure Python; 0 for none.
        head: class codes of the head group; None applies the rule of `ltmed.evaluation.tiers`.
        tail: class codes of the tail group, likewise.

    Raises:
        UserError: no or a wrong root, a fold that does not exist, a class without training images.
    """

    name: str  # pyright: ignore[reportIncompatibleVariableOverride]
    # A reader that finds its classes in the data has neither constant; the manifest always has both.
    classes: ClassVar[tuple[str, ...]]
    class_names: ClassVar[tuple[str, ...]]
    published_counts: ClassVar[tuple[int, ...]] = ()
    downloads: ClassVar[tuple[Download, ...]] = ()
    alternatives: ClassVar[bool] = False
    """Whether each of `downloads` is a separate data set, so that one has to be selected."""
    group_name: ClassVar[str] = "group"
    source: ClassVar[str]
    licence: ClassVar[str]
    layout: ClassVar[str]
    fetch: ClassVar[str]
    mean: ClassVar[tuple[float, float, float] | None] = None
    """Normalisation of all networks on these images; None uses that of the network (`ltmed.config.pixels`)."""
    std: ClassVar[tuple[float, float, float] | None] = None

    def __init__(
        self,
        *,
        root: str | None,
        image_size: int,
        split: Callable[[Manifest, int], Split],
        evaluation: Augmentation,
        cache_dir: str,
        fold: int = 0,
        cache_scale: float = 8 / 7,
        fit: str = "squash",
        interpolation: str = "bilinear",
        intensity: str | Sequence[float] = "auto",
        cache_budget_gb: float = BUDGET_GB,
        on_bad_image: str = "error",
        threads: int | None = None,
        workers: int = 0,
        head: list[Any] | None = None,
        tail: list[Any] | None = None,
    ) -> None:
        super().__init__()
        if root is None:
            raise UserError(f"dataset.root is not set for '{self.name}'", self.how_to_get())
        self.intensity = Intensity.of(intensity)
        with recorded_warnings() as recorded:
            self.manifest = self.read(Path(root).expanduser())
            self.split = split(self.manifest, fold)
            """The images in use: `open` leaves out those that cannot be decoded."""
            warn_of_unseen_classes(self.split, self.manifest)
        self.warnings = tuple(dict.fromkeys(recorded))
        """Warnings of reading and splitting, repeated in metrics.json and reports."""
        self._digest: tuple[Split, str] | None = None
        self.listed_digest = self.digest
        """Of the split as the label files give it, with the images that cannot be decoded."""
        self.evaluation = evaluation
        self.image_size, self.cache_size = image_size, round(image_size * cache_scale)
        self.cache_dir = Path(cache_dir).expanduser()
        self.interpolation = interpolation
        self.fit, self.cache_budget_gb, self.on_bad_image, self.threads = fit, cache_budget_gb, on_bad_image, threads
        require_between("dataset.workers", workers, 0, 1024)
        self.workers = workers
        require_training_images(self.split, self.manifest)
        self._head, self._tail = (codes and spelled(codes, self.manifest.classes) for codes in (head, tail))
        _ = self.tiers  # Refuses wrong lists before any image is decoded.
        self.cache: ImageCache | None = None
        self.stage_data: StageData | None = None
        self.features: FeatureCache | None = None
        """Replaces the images where the encoder is frozen."""
        self._evaluation_view: View | None = None

    @property
    def multilabel(self) -> bool:
        """Whether labels are `[N, K]`: an image may have several, or none."""
        return self.manifest.multilabel

    # From the split in use, each time: `open` changes it.
    @property
    def counts(self) -> np.ndarray:
        """int64 `[K]`: training images of each class, or positives of each label."""
        return count_labels(self.manifest.labels[self.split.train], len(self.manifest.classes))

    @property
    def tiers(self) -> dict[str, list[int]]:
        """Class indices of head, medium and tail, see `ltmed.evaluation.tiers`."""
        return tiers(self.counts, self.manifest.classes, head=self._head, tail=self._tail)

    @property
    def digest(self) -> str:
        """12 hex characters that identify the split in use."""
        if self._digest is None or self._digest[0] is not self.split:  # Seconds for 100,000 images.
            self._digest = self.split, self.split.digest(self.manifest)
        return self._digest[1]

    @abstractmethod
    def read(self, root: Path) -> Manifest:
        """Reads the label files under `root`; raises UserError that names missing files."""

    @classmethod
    def how_to_get(cls) -> str:
        """The expected folder layout, the source with its licence, and the commands that fetch it."""
        return f"Expected layout:\n{cls.layout}\nSource: {cls.source} ({cls.licence})\nTo get it: {cls.fetch}"

    def open(self) -> None:
        """Decodes all images into the cache, or opens an existing one; excludes unreadable images from the split.

        Raises:
            UserError: images cannot be read and are not to be skipped; a class has no other training image.
        """
        self.cache = open_cache(
            self.manifest,
            self.cache_size,
            self.cache_dir,
            fit=self.fit,
            interpolation=self.interpolation,
            intensity=self.intensity,
            on_bad_image=self.on_bad_image,
            budget_gb=self.cache_budget_gb,
            threads=self.threads,
        )
        if self.cache.bad:
            with recorded_warnings() as recorded:
                self.split = self.split.without([row for row, _ in self.cache.bad])
                warn_of_unseen_classes(self.split, self.manifest)
            self.warnings = tuple(dict.fromkeys([*self.warnings, *recorded]))
            require_training_images(self.split, self.manifest, unreadable=len(self.cache.bad))

    @property
    def pixels(self) -> dict[str, Any]:
        """Settings of the open image cache: store, side, fit, intensity."""
        assert self.cache is not None
        settings = {"store": self.cache.store.name, "side": self.cache_size, "fit": self.fit}
        return {**settings, "intensity": asdict(self.intensity)}

    def use_features(self, features: FeatureCache, evaluation: str) -> None:
        """Makes all loaders yield features instead of images.

        Args:
            features: of the frozen encoder.
            evaluation: the configuration of the evaluation view as text.
        """
        assert self.cache is not None
        features.images = self.cache
        self.features, self._evaluation_view = features, View(self.evaluation, evaluation)

    def compute_features(self, loaders: Iterable[TrainLoader | FeatureTrainLoader]) -> None:
        """Computes the features for evaluation and these loaders that are not cached yet."""
        if self.features is not None:
            assert self._evaluation_view is not None
            self.features.get(self._evaluation_view)
        for loader in loaders:
            if isinstance(loader, FeatureTrainLoader):
                loader.prepare()

    def use(self, stage_data: StageData) -> None:
        """Sets the sampling and augmentation of the next stage; without flips, and with a warning, if classes name a
        side (`ltmed.data.sides`).
        """
        self.stage_data = stage_data
        if not (pairs := sides(self.manifest.class_names) or sides(self.manifest.classes)):
            return
        self.stage_data = without_flips(stage_data)
        text = f"{self.manifest.name}: {named(pairs)} are mirror images of each other: training images are not flipped"
        if self.stage_data is not stage_data and text not in self.warnings:
            warnings.warn(text, stacklevel=2)
            self.warnings += (text,)

    def train_dataloader(self) -> TrainLoader | FeatureTrainLoader:
        """This rank's shard of every training batch."""
        assert self.trainer is not None
        return self.train_loader(self.trainer.global_rank, self.trainer.world_size, pin_memory=self._on_gpu())

    def train_loader(self, rank: int, world: int, *, pin_memory: bool = False) -> TrainLoader | FeatureTrainLoader:
        """The shard of one rank of every training batch; raises UserError for settings of the stage that do not fit."""
        assert self.cache is not None
        assert self.stage_data is not None
        stage, rows = self.stage_data, self.split.train
        labels = self.manifest.labels[rows]
        sampler = stage.sampler(labels=labels, batch_size=stage.batch_size, epochs=stage.epochs, seed=stage.seed)
        if self.features is not None:
            augments = list(stage.augment) if isinstance(stage.augment, Sequence) else [stage.augment] * stage.views
            views = [View(augment, text) for augment, text in zip(augments, stage.described, strict=True)]
            return FeatureTrainLoader(
                self.features, rows, labels, sampler, views, passes=stage.passes, seed=stage.seed, rank=rank,
                world=world, parts=stage.accumulate,
            )  # fmt: skip
        return TrainLoader(
            self.cache, rows, labels, sampler, stage.augment, views=stage.views, seed=stage.seed, rank=rank,
            world=world, threads=self.threads, workers=self.workers, pin_memory=pin_memory, parts=stage.accumulate,
        )  # fmt: skip

    def val_dataloader(self) -> EvalLoader | FeatureEvalLoader:
        """This rank's unpadded shard of the validation part."""
        return self._evaluation_loader(self.split.val)

    def test_dataloader(self) -> EvalLoader | FeatureEvalLoader:
        """This rank's unpadded shard of the test part."""
        return self._evaluation_loader(self.split.test)

    def training_part_loader(self) -> EvalLoader | FeatureEvalLoader:
        """This rank's unpadded shard of the training part as evaluation sees it, for class statistics."""
        return self._evaluation_loader(self.split.train)

    def _evaluation_loader(self, rows: np.ndarray) -> EvalLoader | FeatureEvalLoader:
        assert self.trainer is not None
        assert self.cache is not None
        self.require_images(self.trainer.world_size)
        if self.features is not None:
            assert self._evaluation_view is not None
            return FeatureEvalLoader(
                self.features, rows, self.manifest.labels[rows], self._evaluation_view,
                rank=self.trainer.global_rank, world=self.trainer.world_size,
            )  # fmt: skip
        return EvalLoader(
            self.cache, rows, self.manifest.labels[rows], self.evaluation, rank=self.trainer.global_rank,
            world=self.trainer.world_size, threads=self.threads, workers=self.workers, pin_memory=self._on_gpu(),
        )  # fmt: skip

    def require_images(self, world: int) -> None:
        """Raises UserError if a part of the split has fewer images than there are processes."""
        for name, rows in self.split.parts.items():
            if len(rows) < world:
                # Lightning skips the evaluation of a rank without images, and the other ranks would wait forever.
                raise UserError(
                    f"The {name} part of the split has {len(rows)} images, fewer than the {world} processes",
                    "Use fewer devices, or a larger split.val or split.test.",
                )

    def _on_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
