"""Miniature folders of ISIC 2019 and of ISIC-Archive-LT, with their traps."""

from __future__ import annotations

from pathlib import Path

from tests.data.readers.isic2018_trees import images

CODES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")
# (code, lesion): a lesion of five images, one of two, images without a lesion id; names with a suffix.
TRUTH = {
    f"ISIC_{number:07d}" + ("_downsampled" if number % 7 == 0 else ""): (code, lesion)
    for number, (code, lesion) in enumerate(
        [("NV", "HAM_0000001")] * 5
        + [("MEL", "BCN_0000002")] * 2
        + [(code, "") for code in ("NV", "NV", "BKL", "MEL")]
        + [(code, f"BCN_{1000 + k}") for k in range(3) for code in CODES for _ in range(1 + (code == "NV"))]
    )
}
# One lesion number in two classes would be a contradiction in the real table.
TRUTH = {
    name: (code, f"{lesion}{code}" if lesion.startswith("BCN_1") else lesion) for name, (code, lesion) in TRUTH.items()
}
EXPECTED = {name.lower(): code for name, (code, _) in TRUTH.items()}
TESTED = {f"ISIC_{34321 + number:07d}": code for number, code in enumerate((*CODES, "UNK", "UNK", "NV"))}


def table(path: Path, labels: dict[str, str], *, one: str = "1.0", extra: dict[str, list[str]] | None = None) -> None:
    """A one-hot table with the column UNK."""
    codes, extra = (*CODES, "UNK"), extra or {}
    lines = [",".join(["image", *codes, *extra])]
    zero = one.replace("1", "0", 1)
    for row, (name, label) in enumerate(labels.items()):
        cells = [one if code == label else zero for code in codes]
        lines.append(",".join([name, *cells, *(column[row] for column in extra.values())]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def isic2019(root: Path, *, folder: str = "ISIC_2019_Training_Input", one: str = "1.0", sex: str = "sex") -> Path:
    """The training part in `folder`."""
    images(root / folder, TRUTH)
    (root / folder / "LICENSE.txt").write_text("CC BY-NC")
    table(root / "ISIC_2019_Training_GroundTruth.csv", {name: code for name, (code, _) in TRUTH.items()}, one=one)
    rows = [f"{name},55,anterior torso,{lesion},female" for name, (_, lesion) in TRUTH.items()]
    header = f"image,age_approx,anatom_site_general,lesion_id,{sex}"
    (root / "ISIC_2019_Training_Metadata.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


def with_test(root: Path) -> Path:
    """Adds the test part: two images of UNK, and one (the last) that is not scored."""
    images(root / "ISIC_2019_Test_Input", TESTED)
    weights = ["1.0"] * (len(TESTED) - 1) + ["0.0"]
    extra = {"score_weight": weights, "validation_weight": ["0.0"] * len(TESTED)}
    table(root / "ISIC_2019_Test_GroundTruth.csv", TESTED, extra=extra)
    return root


ARCHIVE_CODES = ("AK", "AMP", "AN", "BCC", "BKL", "DF", "LK", "LS", "MEL", "NV", "SCC", "SK", "SL", "VASC")
ARCHIVE = {
    f"ISIC_{100 * k + number:07d}": (code, part)
    for k, code in enumerate(ARCHIVE_CODES)
    for number, part in enumerate(("train", "train", "val", "test"))
}


def archive(root: Path, *, names=("training", "validation", "testing")) -> Path:
    """LMD's three lists of whole numbers, half of the images with an extension in upper case."""
    ids = list(ARCHIVE)
    images(root / "images", ids[::2])
    images(root / "images", ids[1::2], ".JPG")
    for name, part in zip(names, ("train", "val", "test"), strict=True):
        lines = [",".join(["image", *ARCHIVE_CODES])]
        for image, (label, where) in reversed(ARCHIVE.items()):
            if where == part:
                lines.append(",".join([image, *("1" if code == label else "0" for code in ARCHIVE_CODES)]))
        (root / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return root
