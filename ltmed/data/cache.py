"""TEMP."""
from dataclasses import dataclass, field

import cv2
import numpy as np


@dataclass
class ImageCache:
    pixels: np.ndarray
    bad: list = field(default_factory=list)
def open_cache(manifest, size, folder, *, fit="squash", on_bad_image="error", threads=None, progress=None):
    p=np.zeros((len(manifest),size,size,3),np.uint8)
    for i,n in enumerate(manifest.images):
        p[i]=cv2.resize(cv2.imread(str(manifest.root/n))[...,::-1],(size,size),interpolation=cv2.INTER_AREA)
    return ImageCache(p)
