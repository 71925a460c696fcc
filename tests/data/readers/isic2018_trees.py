"""Miniature ISIC 2018 folders in the five layouts, with their traps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CODES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
TRAINING = "ISIC2018_Task3_Training_GroundTruth"
# Two images of every lesion; NV has most, DF and VASC fewest.
LESIONS = {"MEL": 4, "NV": 9, "BCC": 4, "AKIEC": 3, "BKL": 4, "DF": 3, "VASC": 3}
TRUTH = {
    f"ISIC_{24306 + 7 * number:07d}": (code, f"HAM_{number // 2:07d}")
    for number, code in enumerate(code for code, lesions in LESIONS.items() for _ in range(2 * lesions))
}
EXPECTED = {name: code for name, (code, _) in TRUTH.items()}


def images(folder: Path, names, extension: str = ".jpg") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = cv2.imencode(".jpg", np.full((16, 16, 3), 90, np.uint8))[1].tobytes()
    for name in names:
        (folder / (name + extension)).write_bytes(pixels)


def onehot(path: Path, labels: dict[str, str], codes=CODES, end: str = "\n", bom: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(["image", *codes])]
    for name, label in labels.items():
        lines.append(",".join([name, *("1.0" if code == label else "0.0" for code in codes)]))
    path.write_bytes((bom + end.join([*lines, "", ""])).encode())


def challenge(root: Path, *, csv_beside: bool = False, lesions: bool = True, official_parts: bool = True) -> Path:
    """Layout A."""
    images(root / "ISIC2018_Task3_Training_Input", TRUTH)
    (root / "ISIC2018_Task3_Training_Input/LICENSE.txt").write_text("CC BY-NC")
    (root / "ISIC2018_Task3_Training_Input/ATTRIBUTION.txt").write_text("ISIC")
    onehot(root / ("" if csv_beside else TRAINING) / f"{TRAINING}.csv", EXPECTED)
    if lesions:
        rows = [f"{name},{lesion},histopathology" for name, (_, lesion) in TRUTH.items()]
        (root / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text(
            "\n".join(["image,lesion_id,diagnosis_confirm_type", *rows])
        )
    if official_parts:
        val = {f"ISIC_{34321 + number:07d}": code for number, code in enumerate(CODES)}
        test = {f"ISIC_{34524 + number:07d}": code for number, code in enumerate(CODES)}
        images(root / "ISIC2018_Task3_Validation_Input", val)
        images(root / "ISIC2018_Task3_Test_Input", test)
        onehot(root / "ISIC2018_Task3_Validation_GroundTruth/ISIC2018_Task3_Validation_GroundTruth.csv", val)
        onehot(root / "ISIC2018_Task3_Test_GroundTruth.csv", {**test, "ISIC_0035068": "NV"})
    return root


def ham10000(root: Path, suffix: str = ".csv", separator: str = ",", end: str = "\n") -> Path:
    """Layout B."""
    names = list(TRUTH)
    images(root / "HAM10000_images_part_1", names[:20])
    images(root / "HAM10000_images_part_2", names[20:])
    columns = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset"
    rows = [f"{lesion},{name},{code.lower()},histo,80,male,scalp,vidir" for name, (code, lesion) in TRUTH.items()]
    text = end.join([columns, *reversed(rows), ""]).replace(",", separator)
    (root / f"HAM10000_metadata{suffix}").write_bytes(text.encode())
    return root


def skin7(root: Path, index: bool, header: bool = True) -> Path:
    """Layout C."""
    images(root / "ISIC2018/ISIC2018_Task3_Training_Input", TRUTH)
    folder = root / "ISIC2018/split_data"
    folder.mkdir()
    for fold in range(5):
        for part in ("train", "test"):
            lines = [("," if index else "") + "path,label"] if header else []
            for number, (name, (code, _)) in enumerate(TRUTH.items()):
                if (number % 5 == fold) == (part == "test"):
                    lines.append((f"{number}," if index else "") + f"{name}.jpg,{CODES.index(code)}")
            (folder / f"split_data_{fold + 1}_fold_{part}.csv").write_text("\n".join(lines) + "\n")
    return root


def lists(root: Path) -> Path:
    """Layout D; every third image is a test image."""
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for number, (name, (code, _)) in enumerate(TRUTH.items()):
        part = "test" if number % 3 == 0 else "train"
        images(root / "split" / part / code, [name])
        lines[part].append(f"{part}/{code}/{name}.jpg {CODES.index(code)}")
    for part, text in lines.items():
        (root / f"{part}.txt").write_text("\n".join(text) + "\n")
    return root


def folders(root: Path) -> Path:
    """Layout E."""
    for number, (name, (code, _)) in enumerate(TRUTH.items()):
        images(root / ("test" if number % 3 == 0 else "train") / code.lower(), [name], ".JPG")
    return root
