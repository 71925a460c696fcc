"""Augmentation on uint8 images with OpenCV: torchvision's v1 transforms, several times faster on a CPU.

The same operations in the same order, with the same random ranges and the same clipping to 8 bits after each, as
torchvision v1 on PIL images. With equal parameters an operation differs from it by less than 1.5 grey levels on
average. OpenCV releases the GIL, so that threads in one process suffice.

Letters: S is the side of a cached image, H and W those of the view that the network sees, all in pixels.
"""

from ltmed.data.augment.affine import RandomAffine, RandomRotation
from ltmed.data.augment.base import Augmentation, Compose, OneOf, Operation, RandomApply
from ltmed.data.augment.blur import BoxBlur, MedianBlur, MotionBlur
from ltmed.data.augment.colour import ColorJitter, GaussianBlur, RandomGrayscale
from ltmed.data.augment.distort import ElasticTransform, GridDistortion, OpticalDistortion, ShiftScaleRotate
from ltmed.data.augment.erase import RandomErasing
from ltmed.data.augment.geometry import (
    CenterCrop,
    EvaluationView,
    HorizontalFlip,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    VerticalFlip,
)
from ltmed.data.augment.intensity import BrightnessContrast, GridDropout, RGBShift
from ltmed.data.augment.sharpness import RandomAdjustSharpness

__all__ = [
    "Augmentation",
    "BoxBlur",
    "BrightnessContrast",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "ElasticTransform",
    "EvaluationView",
    "GaussianBlur",
    "GridDistortion",
    "GridDropout",
    "HorizontalFlip",
    "MedianBlur",
    "MotionBlur",
    "OneOf",
    "Operation",
    "OpticalDistortion",
    "RGBShift",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomApply",
    "RandomCrop",
    "RandomErasing",
    "RandomGrayscale",
    "RandomResizedCrop",
    "RandomRotation",
    "Resize",
    "ShiftScaleRotate",
    "VerticalFlip",
]
