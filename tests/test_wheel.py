"""The wheel holds all that the commands need, and works from another folder than the repository.

Here its environment sees the dependencies of the one that runs the tests, and one process runs all commands, which
takes seconds. `make wheel`, which continuous integration runs, installs everything into an empty environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.harness import ROOT, TINY

pytestmark = pytest.mark.slow
COMMANDS = """
import sys
from pathlib import Path
import ltmed
from ltmed.cli.main import main
from ltmed.config.paths import conf, experiments

root, images = sys.argv[1:3]
package = Path(ltmed.__file__).parent
assert (conf(), experiments()) == (package / "conf", package / "experiments")
assert package.is_relative_to(sys.prefix)
main(["check", "dataset=isic2018", f"dataset.root={root}", "--labels-only"])
main(["train", "epochs=1", f"dataset.root={root}", "cache_dir=cache", *sys.argv[3:]])
main(["report", "runs", "--output", "report.html", "--no-figures"])
run = next(Path("runs").rglob("metrics.json")).parent
main(["predict", str(run), images, "--output", "predictions.csv"])
main(["export", str(run), "--format", "torch"])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True)
    return next(folder.glob("*.whl"))


def tracked(*folders: str) -> set[str]:
    found = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(found.stdout.split())


def test_it_holds_the_package_the_configuration_and_the_studies_and_nothing_else(wheel: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    with zipfile.ZipFile(wheel) as opened:
        names = {name for name in opened.namelist() if ".dist-info/" not in name}
    moved = {f"ltmed/{name}" for name in tracked("conf", "experiments") if not name.endswith(".py")}
    assert names == tracked("ltmed", "hydra_plugins") | moved


def test_the_image_for_docker_has_what_the_wheel_is_made_of() -> None:
    copied = [line.split()[1:-1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")]
    sources = {name for names in copied for name in names}
    assert {"ltmed", "conf", "experiments", "pyproject.toml", "constraints.txt"} <= sources
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for name in sources:
        assert (ROOT / name).exists()
        assert name in allowed


def test_commands_work_from_an_empty_folder(wheel: Path, tiny_ham: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=os.name != "nt")
    kind = "nt" if os.name == "nt" else "posix_prefix"
    places = {"base": str(environment), "platbase": str(environment)}
    packages = Path(sysconfig.get_path("purelib", kind, places))
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(packages)
    # A folder that a .pth file names is searched, but its own .pth files are not: the editable ltmed stays unseen.
    known = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (packages / "dependencies.pth").write_text("\n".join(known) + "\n")
    python = Path(sysconfig.get_path("scripts", kind, places)) / Path(sys.executable).name
    empty = tmp_path / "empty"
    empty.mkdir()
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "LTMED_CONF")}
    overrides = [override for override in TINY if override != "figures=false"]
    done = subprocess.run(
        [python, "-c", COMMANDS, tiny_ham, tiny_ham / "HAM10000_images_part_1", *overrides], cwd=empty, env=clean,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "isic2018" in (empty / "report.html").read_text(encoding="utf-8")
    assert len((empty / "predictions.csv").read_text().splitlines()) == 139
    (metrics,) = empty.rglob("metrics.json")
    assert json.loads(metrics.read_text())["run"]["method"] == "erm"
    assert (metrics.parent / "model.pt").is_file()
    assert list((metrics.parent / "figures").glob("*.png"))
