"""ISIC-2019-LT: the images of ISIC 2019, divided by a split that makes them long-tailed (data/splits/imbalance.py)."""

from __future__ import annotations

from ltmed.data.readers.isic2019 import ISIC2019


class ISIC2019LT(ISIC2019):
    """ISIC 2019 whose results are filed under another name; conf/dataset/isic2019_lt.yaml brings the split."""

    name = "isic2019_lt"
