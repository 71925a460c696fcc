"""The embedded data set: what is in it, that it is the same everywhere, hard but learnable, and never half there."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from ltmed.data.phantom import CODES, COUNTS, MANIFEST, write_phantom
from ltmed.data.phantom.recipes import COLOURS, CONFUSED_EVERY, CONFUSED_WITH, RECIPES, SKINS, draw_lesion
from ltmed.data.phantom.render import SIZE, STRUCTURES, paint, photograph
from ltmed.data.phantom.write import Case, cases, draw
from ltmed.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"train": (9, 6, 5, 4, 3, 2, 1), "val": (2,) * 7, "test": (3,) * 7}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "phantom"
    write_phantom(folder, counts=SMALL, threads=1)
    return folder


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Case, list[np.ndarray]]]:
    return [(case, draw(case)) for case in cases({"train": (70,) * 7, "test": (45,) * 7})]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(root: Path):
    """`read` alone: constructing the module would need the rest of a run."""
    from ltmed.data.readers.phantom import Phantom

    return Phantom.__new__(Phantom).read(root)


def test_counts_are_a_long_tail_of_imbalance_100_and_balanced_parts():
    assert COUNTS["train"] == (1500, 696, 323, 150, 70, 32, 15)
    assert COUNTS["train"][0] / COUNTS["train"][-1] == 100
    actual = {part: dict.fromkeys(CODES, 0) for part in COUNTS}
    for case in cases():
        actual[case.part][case.code] += case.views
    assert {part: tuple(numbers.values()) for part, numbers in actual.items()} == COUNTS


def test_lesions_have_one_to_four_images_and_one_part_each():
    planned = list(cases())
    assert len({case.lesion for case in planned}) == len(planned)
    assert {case.views for case in planned} == {1, 2, 3, 4}
    files = [case.image(view) for case in planned for view in range(case.views)]
    assert len({Path(file).stem.lower() for file in files}) == len(files) == 3374


def test_a_smaller_set_is_a_part_of_the_full_one():
    full = {case.lesion: case for case in cases()}
    for case in cases(SMALL):
        same = full[case.lesion]
        assert case.views <= same.views
        np.testing.assert_array_equal(draw(case)[0], draw(same)[0])


def test_recipes_only_name_what_exists():
    for recipe in RECIPES.values():
        assert set(recipe.base) | set(recipe.patch) <= set(COLOURS)
        assert set(recipe.textures) <= set(STRUCTURES)
        assert sum(recipe.base.values()) == pytest.approx(1)
        assert sum(recipe.patch.values()) == pytest.approx(1)
    assert all(code not in others and set(others) <= set(CODES) for code, others in CONFUSED_WITH.items())
    assert np.array(SKINS).shape == (4, 3)


@pytest.mark.parametrize("texture", STRUCTURES)
def test_every_structure_shows(texture):
    lesion = replace(draw_lesion("NV", 0, np.random.default_rng(3)), textures={}, patches=())
    plain, marked = paint(lesion), paint(replace(lesion, textures={texture: 1.0}))
    inside = plain[..., 3] > 0.5
    assert np.abs(plain - marked)[inside].max() > 10
    assert marked[..., 3].max() <= 1


def test_every_class_has_lesions_that_look_like_another():
    def like(code: str, numbers: range) -> np.ndarray:
        drawn = [draw_lesion(code, number, np.random.default_rng((5, number))) for number in numbers]
        return np.array([[name in lesion.textures for name in STRUCTURES] for lesion in drawn])

    stray = like("DF", range(CONFUSED_EVERY // 2, 4000, CONFUSED_EVERY))
    own = like("DF", range(0, 4000, CONFUSED_EVERY))
    scar = list(STRUCTURES).index("scar")
    assert own[:, scar].mean() == pytest.approx(RECIPES["DF"].textures["scar"], abs=0.08)
    assert stray[:, scar].mean() < 0.25
    numbers = {code: [case.number for case in cases() if case.code == code] for code in CODES}
    share = {code: np.mean([n % CONFUSED_EVERY == CONFUSED_EVERY // 2 for n in ns]) for code, ns in numbers.items()}
    assert all(0.05 < value < 0.12 for value in share.values()), share


def test_same_bytes_whatever_the_number_of_threads(small, tmp_path):
    write_phantom(tmp_path / "again", counts=SMALL, threads=4)
    assert contents(tmp_path / "again") == contents(small)


def test_files_are_what_the_manifest_says(small):
    with (small / MANIFEST).open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30 + 14 + 21
    assert {path for path in contents(small) if path.endswith(".png")} == {row["image"] for row in rows}
    for row in rows:
        pixels = cv2.imread(str(small / row["image"]))
        assert pixels is not None
        assert pixels.shape == (SIZE, SIZE, 3)
        assert pixels.std() > 3
        assert row["image"].startswith(f"{row['part']}/{row['label']}/{row['lesion']}-")
    stored = cv2.cvtColor(cv2.imread(str(small / rows[0]["image"])), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(stored, draw(next(cases(SMALL)))[0])


def features(image: np.ndarray) -> np.ndarray:
    """Colours of rings around the centre and how much they vary: nothing that a turned image changes much."""
    axis = np.linspace(-1, 1, SIZE)
    far = np.hypot(*np.meshgrid(axis, axis))
    pixels = cv2.GaussianBlur(image, (0, 0), 1).astype(float)
    rings = [pixels[(far >= low) & (far < high)] for low, high in ((0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.8, 1.0))]
    return np.concatenate([value for ring in rings for value in (ring.mean(0), ring.std(0), np.quantile(ring, 0.1, 0))])


def test_images_of_one_lesion_differ_but_less_than_lesions_do(drawn):
    several = [images for case, images in drawn if case.views > 1 and case.part == "test"]
    values = np.array([[features(image) for image in images[:2]] for images in several])
    values = (values - values.mean((0, 1))) / values.std((0, 1))
    distance = np.linalg.norm(values[:, None, 0] - values[None, :, 1], axis=-1)
    own, other = np.diag(distance), distance[~np.eye(len(several), dtype=bool)]
    assert own.min() > 0.1
    assert np.median(own) < 0.6 * np.median(other)
    nearest = np.mean(distance.argmin(1) == np.arange(len(several)))
    assert nearest > 20 / len(several)
    assert not any(np.array_equal(one, two) for one, two in (images[:2] for images in several))


def test_classes_overlap_but_can_be_learned(drawn):
    def part(name: str) -> tuple[np.ndarray, np.ndarray]:
        rows = [(features(image), CODES.index(case.code)) for case, images in drawn for image in images
                if case.part == name]  # fmt: skip
        return np.array([values for values, _ in rows]), np.array([label for _, label in rows])

    accuracy = LinearDiscriminantAnalysis().fit(*part("train")).score(*part("test"))
    assert 2.2 / 7 < accuracy < 0.8


def test_corners_do_not_tell_the_class(drawn):
    """They show skin, light, hairs and rulers only."""
    corners = np.array([images[0][[0, 0, -1, -1], [0, -1, 0, -1]].mean(0) for _, images in drawn])
    labels = np.array([CODES.index(case.code) for case, _ in drawn])
    half = np.arange(len(labels)) % 2 == 0
    accuracy = LinearDiscriminantAnalysis().fit(corners[half], labels[half]).score(corners[~half], labels[~half])
    assert accuracy < 2 / 7


def test_lesion_stays_itself_when_photographed_again():
    lesion = draw_lesion("MEL", 0, np.random.default_rng(0))
    np.testing.assert_array_equal(paint(lesion), paint(lesion))
    first, second = (photograph(paint(lesion), lesion.skin, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_reader_gives_labels_lesions_and_parts(small):
    manifest = read(small)
    assert manifest.classes == CODES
    assert manifest.counts.tolist() == [sum(numbers[label] for numbers in SMALL.values()) for label in range(7)]
    assert manifest.parts is not None
    assert manifest.groups is not None
    for image, label, part in zip(manifest.images, manifest.labels, manifest.parts, strict=True):
        assert image.split("/")[:2] == [part, CODES[label]]
    lesions = [Path(image).stem.rpartition("-")[0] for image in manifest.images]
    for group in np.unique(manifest.groups):
        rows = np.flatnonzero(manifest.groups == group)
        assert len({lesions[row] for row in rows}) == 1
        assert len({manifest.parts[row] for row in rows}) == 1
    assert len(np.unique(manifest.groups)) == len(set(lesions))


def test_reader_makes_the_set_where_there_is_none(small, tmp_path, monkeypatch):
    import ltmed.data.readers.phantom as reader

    monkeypatch.setattr(reader, "write_phantom", partial(write_phantom, counts=SMALL))
    manifest = read(tmp_path / "phantom")
    assert contents(tmp_path / "phantom") == contents(small)
    assert manifest.images == read(small).images


def test_reader_names_lost_images(small, tmp_path):
    root = tmp_path / "phantom"
    shutil.copytree(small, root)
    (root / "train/DF/DF-train-0000-0.png").unlink()
    with pytest.raises(UserError, match=r"1 of 65 listed images .*DF 1.*Remove .*phantom; it is made again"):
        read(root)


def test_left_overs_of_a_killed_process_are_not_taken_for_a_set(small, tmp_path):
    folder = tmp_path / "phantom"
    code = f"""
import os, sys
from pathlib import Path
from ltmed.data.phantom import write
drawn = write.draw
def draw(case):
    if case.part == "val":
        os._exit(9)
    return drawn(case)
write.draw = draw
write.write_phantom(Path({str(folder)!r}), counts={SMALL!r}, threads=2)
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 9
    assert len(list(tmp_path.glob(".phantom.*.partial"))) == 1
    assert not folder.exists()
    write_phantom(folder, counts=SMALL)
    assert contents(folder) == contents(small)
    assert not list(tmp_path.glob(".phantom.*.partial"))


def test_several_processes_at_once_make_one_set(small, tmp_path):
    folder = tmp_path / "deep" / "phantom"
    code = f"""
from pathlib import Path
from ltmed.data.phantom import write_phantom
write_phantom(Path({str(folder)!r}), counts={SMALL!r})
assert len(list(Path({str(folder)!r}).rglob("*.png"))) == 65
"""
    started = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert contents(folder) == contents(small)
    assert {path.name for path in folder.parent.iterdir()} == {"phantom", ".phantom.lock"}


def test_without_locks_the_first_to_finish_wins(small, tmp_path, monkeypatch):
    """Another process renames its set into place while this one is drawing."""
    from ltmed.data.phantom import write

    folder = tmp_path / "phantom"

    def draw_slowly(case):
        if not folder.exists():
            shutil.copytree(small, folder)
        return draw(case)

    monkeypatch.setattr(write, "draw", draw_slowly)
    monkeypatch.setattr(write, "locked", lambda file: nullcontext(False))
    others = tmp_path / ".phantom.0.partial"
    others.mkdir()
    write_phantom(folder, counts=SMALL, threads=1)
    assert contents(folder) == contents(small)
    assert {path.name for path in tmp_path.iterdir()} == {"phantom", others.name}


def test_a_set_that_is_there_is_left_alone(small):
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    write_phantom(small, counts=SMALL)
    assert before == {path: path.stat().st_mtime_ns for path in small.rglob("*")}


def test_a_folder_of_something_else_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("irreplaceable")
    with pytest.raises(UserError, match=r"in use for something else.*dataset.root"):
        write_phantom(tmp_path, counts=SMALL)
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.tex"}


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be made in .*file.phantom.*Set dataset.root"):
        write_phantom(tmp_path / "file" / "phantom", counts=SMALL)


def test_configuration_brings_its_own_parts_and_can_be_overruled():
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        assert compose("config", ["dataset=phantom"]).split._target_ == "ltmed.data.splits.protocols.official"
        assert (
            compose("config", ["dataset=phantom", "split=grouped"]).split._target_
            == "ltmed.data.splits.protocols.grouped"
        )
        assert compose("config", ["dataset=phantom", "cache_dir=/x"]).dataset.root == "/x/phantom-v1"
