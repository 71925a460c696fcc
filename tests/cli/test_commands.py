"""The command `ltmed`: quick, one-line mistakes, what check finds and what fetch does."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from ltmed.cli.main import COMMANDS, main
from ltmed.data.download import Download
from ltmed.data.readers.isic2018 import ISIC2018
from tests.cli.server import serving

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:isic2018.*images, not 10015")


def said(capsys, *arguments: str) -> str:
    main(arguments)
    return capsys.readouterr().out


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    return error


@pytest.fixture
def data(tmp_path) -> Path:
    """40 images of 2 classes: two pairs of equal files, one of them with different labels; one broken file."""
    rng = np.random.default_rng(0)
    lines = ["image,label,patient,source"]
    for number in range(40):
        content = cv2.imencode(".png", rng.integers(0, 255, (20, 24, 3), dtype=np.uint8))[1].tobytes()
        (tmp_path / f"i{number:02d}.png").write_bytes(content)
        lines.append(f"i{number:02d},{'ab'[number % 2]},p{number // 3},{'AB'[number % 2 if number < 36 else 0]}")
    (tmp_path / "i05.png").write_bytes((tmp_path / "i00.png").read_bytes())
    (tmp_path / "i06.png").write_bytes((tmp_path / "i08.png").read_bytes())
    (tmp_path / "i07.png").write_bytes(b"no image")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    return tmp_path


def test_help_is_quick_and_imports_nothing_slow():
    started = time.perf_counter()
    code = "import sys\nfrom ltmed.cli.main import main\ntry: main(['--help'])\nexcept SystemExit as end: pass\n"
    code += "assert not {'torch', 'hydra', 'lightning', 'numpy', 'omegaconf'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert time.perf_counter() - started < 3  # A second is the promise; importing torch alone takes several.
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


def test_the_script_is_declared():
    declared = re.search(
        r'^\[project.scripts\]\nltmed = "([\w.]+):(\w+)"$', (ROOT / "pyproject.toml").read_text(), re.M
    )
    assert declared is not None
    assert getattr(importlib.import_module(declared[1]), declared[2]) is main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chek"], "Did you mean 'check'"),
        (["check"], "Missing argument"),
        (["check", "dataset=isic2081"], "'isic2018'"),
        (["check", "dataset=isic2018", "dataset.rot=x"], "'root'"),
        (["check", "dataset=isic2018"], "dataset.root is not set"),
        (["fetch", "isic2081"], "'isic2018'"),
        (["fetch", "isic2018"], "--root is missing"),
        (["fetch", "isic2018", "--only", "x*"], "matches no file"),
        (["fetch", "isic2018", "--rot", "x"], "--rot"),
    ],
)
def test_mistakes_end_in_one_line_and_two(capsys, arguments, message):
    assert message in refused(capsys, *arguments)


def test_check_counts_groups_and_leakage(capsys, tiny_ham):
    out = said(capsys, "check", "dataset=isic2018", f"dataset.root={tiny_ham}", "split.test=0.3")
    assert "138 images, 7 classes" in out
    assert "! the images per class are not the published ones" in out
    lines = {line.split("  ")[0]: line for line in out.splitlines()}
    assert "0 (0.0%)" in lines["as chosen: grouped"]
    assert "0 (0.0%)" in lines["grouped"]
    assert "0 (0.0%)" not in lines["random"]
    assert "paper, 7:3 (proco)" in lines
    assert "paper, 5 folds (pcct, ...)" in lines
    assert "\n0 images cannot be read" in out


def test_check_finds_copies_broken_files_and_confounded_sources(capsys, data):
    out = said(capsys, "check", "dataset=manifest", f"dataset.root={data}")
    assert "! 1 images cannot be read\n  i07.png: " in out
    assert "! 2 images are exact copies of another one\n  i00.png = i05.png\n  i06.png = i08.png" in out
    assert "! 1 of these files have different labels:\n  i00.png a, i05.png b" in out
    assert "! 1 sets of copies are in several patients" in out
    assert "! as chosen: 1 test images have a copy in the training part" in out
    assert "\nsize of all images: 24 x 20 (width x height)\n" in out
    assert "\ndepth: 8 bits, as stored\n" in out
    assert "! from one source only, so that the source may be learned in its place: a" in out
    assert "Cramer's V 0.9" in out
    assert "14 patients; 13 have several images (39 in all, at most 3)" in out
    assert "! 13 patients have images of more than one class" in out


def test_check_without_images_opens_none(capsys, data):
    for path in data.glob("*.png"):
        path.write_bytes(b"")
    out = said(capsys, "check", "dataset=manifest", f"dataset.root={data}", "--labels-only")
    assert "40 images" in out
    assert "cannot be read" not in out
    assert "cop" not in out


def test_check_says_what_was_left_out_and_what_validation_lacks(capsys, data):
    """Two files that no row lists, and a class of three images, all of one patient."""
    for name in ("spare.png", "more/spare.JPG", "notes.txt"):
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).write_bytes(b"")
    lines = (data / "manifest.csv").read_text().splitlines()
    lines[37:40] = [line.replace(f",{'ab'[n % 2]},p12", ",c,p12") for n, line in enumerate(lines[37:40], start=36)]
    (data / "manifest.csv").write_text("\n".join(lines))
    out = said(capsys, "check", "dataset=manifest", f"dataset.root={data}", "--labels-only", "split.test=0.1")
    assert "! 2 image files below the folder are left out (" in out
    assert "the first is spare.png" in out
    assert "2 other files are below the folder (" in out
    assert "! as chosen: 1 of 3 classes have no validation image (c)" in out
    assert "! as chosen: 1 of 3 classes have no test image (c)" in out


def test_check_against_a_list_and_another_set(capsys, data, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "list.csv").write_text("x,isic_id\n1,i03\n2,folder/i04_downsampled.jpg\n3,unknown\n")
    (other / "manifest.csv").write_text("image,label\nk1,a\nk2,b\ni10,a\n" + "".join(f"z{n},a\n" for n in range(20)))
    for name in ("k2", "i10", *(f"z{n}" for n in range(20))):
        (other / f"{name}.png").write_bytes(name.encode())
    (other / "k1.png").write_bytes((data / "i20.png").read_bytes())
    out = said(
        capsys, "check", "dataset=manifest", f"dataset.root={data}", "--against", str(other / "list.csv"),
        "--against", f"dataset=manifest dataset.root={other}",
    )  # fmt: skip
    assert f"! 2 of 40 images are in {other}/list.csv by name\n  a 1, b 1\n  i03.png\n  i04.png" in out
    assert f"! 1 of 40 images are in manifest in {other} by name\n  a 1\n  i10.png" in out
    assert "! 1 of 40 images are in it by content\n  a 1\n  i20.png" in out
    assert "\n0 of 40 images look like one of it" in out
    assert "no such file" in refused(capsys, "check", "dataset=phantom", "--labels-only", "--against", "none.csv")


def test_check_reports_what_cannot_be_trained(capsys, data):
    out = said(
        capsys, "check", "dataset=manifest", f"dataset.root={data}", "dataset.classes=[a,b,c]", "--labels-only",
        "split=official",
    )  # fmt: skip
    assert "! no image of c" in out
    assert "! as chosen: manifest in" in out
    assert "! grouped: no training image of c" in out


def test_fetch_downloads_unpacks_and_repeats(capsys, tmp_path, monkeypatch):
    with serving(ROOT / "tests/cli", tmp_path) as url:
        monkeypatch.setattr(ISIC2018, "downloads", (Download(f"{url}/labels.zip"), Download(f"{url}/test_commands.py")))
        out = said(capsys, "fetch", "isic2018", "--root", str(tmp_path / "root"))
        assert "CC BY-NC 4.0" in out
        assert "labels.zip: 0.0 MiB, 1 files unpacked" in out
        assert (tmp_path / "root/folder/labels.csv").read_text() == "image,label\n"
        assert (tmp_path / "root/test_commands.py").read_bytes() == Path(__file__).read_bytes()
        again = said(capsys, "fetch", "isic2018", "--root", str(tmp_path / "root"), "--only", "*.zip")
        assert "labels.zip: 0.0 MiB, 0 files unpacked" in again
        assert "test_commands" not in again
    listed = said(capsys, "fetch", "isic2018", "--list")
    assert listed.splitlines() == [f"{url}/labels.zip", f"{url}/test_commands.py"]
    monkeypatch.setattr(ISIC2018, "downloads", (Download(f"{url}/none.zip"),))
    monkeypatch.setattr("ltmed.data.download.time.sleep", lambda _: None)
    assert "cannot be reached" in refused(capsys, "fetch", "isic2018", "--root", str(tmp_path / "root"))


def test_fetch_explains_what_has_no_direct_download(capsys):
    out = said(capsys, "fetch", "manifest")
    assert "no direct download" in out
    assert "Expected layout" in out


def test_fetch_asks_which_of_many_archives(capsys, tmp_path):
    assert "--only 'bloodmnist.npz'" in refused(capsys, "fetch", "medmnist", "--root", str(tmp_path / "root"))
    assert not (tmp_path / "root").exists()
    assert "/dermamnist_224.npz?" in said(capsys, "fetch", "medmnist", "--list")


def test_direct_downloads_are_declared():
    names = [item.name for item in ISIC2018.downloads]
    assert len(names) == len(set(names)) == 7
    assert all(item.url.startswith("https://") for item in ISIC2018.downloads)
