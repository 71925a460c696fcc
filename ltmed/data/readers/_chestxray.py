"""Sources of the chest X-rays: COVIDx lists of every version, RSNA with COVID images, or three class folders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ltmed.data.readers._files import (
    EXTENSIONS,
    PART_NAMES,
    Tree,
    class_folders,
    column,
    read_table,
    read_text,
    stem,
    walk,
)
from ltmed.data.readers._parts import parse_part
from ltmed.errors import UserError, suggest

NORMAL, PNEUMONIA, COVID = "normal", "pneumonia", "COVID-19"
SCHEMES = (
    (NORMAL, PNEUMONIA, COVID),
    ("negative", "positive"),
    ("level1", "level2"),
    (NORMAL, "bacteria", "viral", COVID),
)
"""The class schemes of the lists."""
RSNA, METADATA = "stage_2_detailed_class_info.csv", "metadata.csv"
UNKNOWN = "unknown"

_LIST = re.compile(r"(train|val|test)(_split|_covidx[-_]?(.*))?\.txt")
_LABELS = {code for scheme in SCHEMES for code in scheme}
_FOLDERS = {"covid19": COVID, "covid": COVID, "nofindings": NORMAL, "nofinding": NORMAL, "normal": NORMAL}
_FOLDERS[PNEUMONIA] = PNEUMONIA
_RSNA_CLASSES = {"Normal": NORMAL, "Lung Opacity": PNEUMONIA, "No Lung Opacity / Not Normal": None}
_FRONTAL = ("PA", "AP", "AP SUPINE", "AP ERECT", "APS")


class XRay(NamedTuple):
    """One image."""

    image: str
    """Path relative to the root."""
    code: str
    patient: str
    """"" if unknown."""
    part: str = "train"
    source: str = UNKNOWN


class Line(NamedTuple):
    """One line of a list."""

    where: str
    patient: str
    name: str
    code: str
    source: str


def covidx(tree: Tree, version: str | None, help_text: str) -> tuple[str, list[XRay]] | None:
    """Images of one pair of COVIDx lists, None if there are no lists.

    Returns:
        the version ("1", "5", "9A", "CXR-3A", ...; "kaggle" for `train.txt`, "first" for `train_split.txt`) and the
        images in the order of the lists, each file once.

    Raises:
        UserError: no such version, or several and none chosen; a list without its pair; a line that cannot be read;
            labels of different kinds; one file with two labels; listed images that are not there.
    """
    versions = _versions(tree)
    if version is None and not versions:
        return None
    if version is None and len(versions) > 1:
        raise UserError(
            f"{tree.root} has the lists of COVIDx {', '.join(sorted(versions))}",
            f"Choose one, for instance dataset.version={min(versions)}.",
        )
    selected = next((name for name in versions if version is None or name.lower() == version.lower()), None)
    if selected is None:
        raise UserError(f"{tree.root} has no lists of COVIDx {version}", suggest(str(version), versions) or help_text)
    paths = versions[selected]
    for part in ("train", "test"):
        if part not in paths:
            other = next(iter(paths.values()))
            raise UserError(f"{tree.root} has {other.name} but not its {part} list", help_text)
    lines = {part: parse(paths[part]) for part in PART_NAMES if part in paths}
    _require_one_scheme([line for part in lines.values() for line in part])
    return selected, _locate(tree, lines)


def parse(path: Path) -> list[Line]:
    """Lines `patient file class [source]`, separated by blanks; the patient may hold blanks, the source may lack.

    Raises:
        UserError: a line without a known class, patient or image name.
    """
    lines = []
    for number, text in enumerate(read_text(path).splitlines(), start=1):
        cells = text.split()
        if not cells:
            continue
        # From the right: patients such as "COVID 1" have blanks, which nothing quotes.
        index = max((index for index, cell in enumerate(cells) if cell in _LABELS), default=0)
        if index < 2 or not cells[index - 1].lower().endswith(EXTENSIONS):
            raise UserError(
                f"{path}, line {number}: '{text.strip()[:120]}' is not 'patient file class [source]'",
                f"Classes are {', '.join(sorted(_LABELS))}, in this spelling. Correct or remove that line.",
            )
        source = " ".join(cells[index + 1 :]) or UNKNOWN
        source = "rsna" if source == "rnsa" else source
        where = f"{path}, line {number}"
        lines.append(Line(where, " ".join(cells[: index - 1]), cells[index - 1], cells[index], source))
    if not lines:
        raise UserError(f"{path} is empty", "Get it again.")
    return lines


def rsna_covid(tree: Tree, help_text: str) -> list[XRay] | None:
    """RSNA's images without findings and with lung opacity, and COVID-19 of covid-chestxray-dataset; None without RSNA.

    Frontal X-rays only. RSNA's third class, abnormal without opacity, is left out.

    Raises:
        UserError: no `metadata.csv`; an unknown class, or two for one patient; images that are not there.
    """
    path = tree.file(RSNA)
    if path is None:
        return None
    table = read_table(path)
    codes: dict[str, str | None] = {}
    rows = zip(column(table, path, "patientId"), column(table, path, "class"), strict=True)
    for row, (patient, name) in enumerate(rows):
        if name not in _RSNA_CLASSES:
            raise UserError(f"{table.where(row)}: '{name}' is not a class of RSNA", suggest(name, _RSNA_CLASSES))
        if codes.setdefault(patient, _RSNA_CLASSES[name]) != _RSNA_CLASSES[name]:
            raise UserError(f"{table.where(row)}: patient '{patient}' has two classes", "Get the table again.")
    patients = [(patient, code) for patient, code in codes.items() if code is not None]
    rays, missing = [], []
    for patient, code in patients:
        image = tree.images.get(stem(patient)) or tree.files.get(f"{patient}.dcm".lower())
        if image is None:
            missing.append((f"{patient}.dcm", code))
        else:
            rays.append(XRay(image, code, f"rsna {patient}", source="rsna"))
    _require_images(tree, missing, len(patients))
    return rays + _covid_images(tree, help_text)


def folders(tree: Tree) -> list[XRay] | None:
    """Images of the folders `Covid-19`, `No_findings` and `Pneumonia` (at most one folder down), None without them.

    Folders of them that are called like parts (`train`, `test`) are the parts. Names `<number>_<number>` are those of
    ChestX-ray14: the first number is the patient. Patients of the other images come from `metadata.csv` of
    covid-chestxray-dataset if it is there.

    Raises:
        UserError: a class has no folder; several folders of classes that are no parts.
    """
    inner = sorted(entry.name for entry in tree.root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    found: dict[str, list[tuple[str, str]]] = {}
    for folder in ("", *(name for name in inner if _plain(name) not in _FOLDERS)):
        below = class_folders(tree.root / folder).items()
        if pairs := [
            (_FOLDERS[_plain(name)], path) for name, paths in below if _plain(name) in _FOLDERS for path in paths
        ]:
            found[folder] = pairs
    if not found:
        return None
    top = tree.root / next(iter(found)) if len(found) == 1 else tree.root
    codes = {code for pairs in found.values() for code, _ in pairs}
    for code in SCHEMES[0]:
        if code not in codes:
            raise UserError(
                f"{top} has no folder of the class {code} with images", "Names are Covid-19, No_findings and Pneumonia."
            )
    parts = {folder: parse_part(folder) for folder in found} if len(found) > 1 else dict.fromkeys(found, "train")
    patients = _patients(tree)
    rays = []
    for folder, pairs in found.items():
        part = parts[folder]
        if part is None:
            raise UserError(
                f"{tree.root} has folders of the classes in {' and '.join(name or 'itself' for name in found)}",
                "Take one of them as dataset.root; folders called train, val and test are parts.",
            )
        for code, path in pairs:
            number = re.fullmatch(r"(\d+)_\d+", stem(path))
            patient = f"ChestX-ray14 {int(number[1])}" if number else patients.get(stem(path), "")
            image = f"{folder}/{path}" if folder else path
            rays.append(XRay(image, code, patient, part, "ChestX-ray14" if number else "other"))
    return rays


def _versions(tree: Tree) -> dict[str, dict[str, Path]]:
    """Version -> part -> list."""
    versions: dict[str, dict[str, Path]] = {}
    for name in sorted(tree.files):
        if match := _LIST.fullmatch(name):
            part, kind, number = match.groups()
            version = "first" if kind == "_split" else "kaggle" if kind is None else (number or "1").upper()
            versions.setdefault(version, {})[part] = tree.root / tree.files[name]
    return versions


def _require_one_scheme(lines: Sequence[Line]) -> None:
    counts = Counter(line.code for line in lines)
    scheme = max(SCHEMES, key=lambda codes: sum(counts[code] for code in codes))
    odd = next((line for line in lines if line.code not in scheme), None)
    if odd is not None:
        raise UserError(
            f"{odd.where}: '{odd.code}' among the classes {', '.join(scheme)}",
            "The first edition of COVIDx9A has this mistake; get the corrected list.",
        )


def scheme_of(codes: Iterable[str]) -> tuple[str, ...]:
    """The class scheme of a list with these labels, in order."""
    present = set(codes)
    return next(scheme for scheme in SCHEMES if present <= set(scheme))


def _locate(tree: Tree, lines: dict[str, list[Line]]) -> list[XRay]:
    """Finds each listed file, preferably in the folder of its part; repeated lines count once."""
    paths: dict[str, list[str]] = {}
    for path in walk(tree.root):
        paths.setdefault(path.rpartition("/")[2].lower(), []).append(path)
    rays: dict[str, XRay] = {}
    missing: list[Line] = []
    for part, listed in lines.items():
        for line in listed:
            candidates = paths.get(line.name.lower(), [])
            in_part = [path for path in candidates if set(PART_NAMES[part]) & set(path.lower().split("/")[:-1])]
            exact = [path for path in (in_part or candidates) if path.endswith(line.name)]
            image = next(iter(exact or in_part or candidates), None)
            if image is None:
                missing.append(line)
                continue
            ray = XRay(image, line.code, line.patient, part, line.source)
            before = rays.setdefault(image, ray)
            if (before.code, before.part) != (ray.code, ray.part):
                raise UserError(
                    f"{line.where}: {line.name} is {line.code} in {part}, but {before.code} in {before.part} before",
                    "An image may have one class and be in one part only; correct the lists.",
                )
    total = sum(map(len, lines.values()))
    _require_images(tree, [(line.name, f"{line.code} of {line.source}") for line in missing], total)
    return list(rays.values())


def _covid_images(tree: Tree, help_text: str) -> list[XRay]:
    path = tree.file(METADATA)
    if path is None:
        raise UserError(f"{tree.root} has {RSNA}, but not {METADATA} of covid-chestxray-dataset", help_text)
    table = read_table(path)
    columns = [column(table, path, name) for name in ("patientid", "finding", "view", "modality", "filename")]
    selected = {
        name: patient
        for patient, finding, view, modality, name in zip(*columns, strict=True)
        if COVID in finding and view.upper() in _FRONTAL and modality.lower() == "x-ray"
    }
    missing = [name for name in selected if stem(name) not in tree.images]
    _require_images(tree, [(name, COVID) for name in missing], len(selected))
    source = "covid-chestxray-dataset"
    return [
        XRay(tree.images[stem(name)], COVID, f"{source} {patient}", source=source) for name, patient in selected.items()
    ]


def _patients(tree: Tree) -> dict[str, str]:
    """Image stem -> patient, from `metadata.csv` if it is there."""
    path = tree.file(METADATA)
    if path is None:
        return {}
    table = read_table(path)
    rows = zip(column(table, path, "filename"), column(table, path, "patientid"), strict=True)
    return {stem(name): f"covid-chestxray-dataset {patient}" for name, patient in rows}


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _require_images(tree: Tree, missing: Sequence[tuple[str, str]], total: int) -> None:
    """Raises UserError if listed images, given as name and kind, are missing: how many, which kinds, the first few."""
    if missing:
        counts = ", ".join(f"{kind} {number}" for kind, number in sorted(Counter(kind for _, kind in missing).items()))
        first = ", ".join(name for name, _ in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise UserError(
            f"{len(missing)} of {total} listed images are not under {tree.root} ({counts}): {first}",
            "Get all sources of the list, or another version of it.",
        )
