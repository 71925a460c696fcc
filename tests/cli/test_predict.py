"""`ltmed predict`: outputs, exit codes, mistakes, interruption."""

from __future__ import annotations

import errno
import io
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from ltmed.cli.main import main
from ltmed.inference.predictor import Predictor
from tests.cli.test_commands import refused, said
from tests.data.images import encoded, picture
from tests.harness import ROOT
from tests.trained_runs import CODES, untrained

NUMBERS = ["probability", *(f"prob_{code}" for code in CODES)]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return untrained(tmp_path_factory.mktemp("run"), "method=erm")


@pytest.fixture
def images(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "b,c.jpg", "deep/ö.jpg")):
        (folder / name).write_bytes(encoded(picture(number, 40, 50)))
    monkeypatch.chdir(tmp_path)
    return folder


def test_csv_on_stdout_holds_what_python_gives(capsys, run, images):
    table = pd.read_csv(io.StringIO(said(capsys, "predict", str(run), "images", "--batch-size", "2")))
    assert table["image"].tolist() == ["images/a.jpg", "images/b,c.jpg", "images/deep/ö.jpg"]
    expected = Predictor(run)(table["image"].tolist())
    pd.testing.assert_frame_equal(table.drop(columns="error"), expected.drop(columns="error"), check_dtype=False)
    assert table["error"].isna().tolist() == [True] * 3


def test_several_runs_are_an_ensemble(capsys, run, images, tmp_path):
    other = untrained(tmp_path / "other", "method=erm", "seed=1")
    shown = said(capsys, "predict", str(run), str(other), "images", "--tta", "flips")
    table = pd.read_csv(io.StringIO(shown)).drop(columns="error")
    expected = Predictor(run, other, tta="flips")(table["image"].tolist()).drop(columns="error")
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)
    assert (table["disagreement"] > 0).all()


def test_a_file_named_like_a_formula_is_text_in_a_spreadsheet(capsys, run, images, monkeypatch):
    monkeypatch.chdir(images)
    Path("=1+1.jpg").write_bytes(Path("a.jpg").read_bytes())
    table = pd.read_csv(io.StringIO(said(capsys, "predict", str(run), "=1+1.jpg", "a.jpg")))
    assert table["image"].tolist() == ["'=1+1.jpg", "a.jpg"]
    assert table.iloc[0, 1:].equals(table.iloc[1, 1:]), "and nothing else"


def test_files_hold_the_same_and_replace_what_was_there(capsys, run, images):
    Path("new").mkdir()
    Path("new/out.csv").write_text("old")
    for name in ("new/out.csv", "more/out.parquet"):
        assert said(capsys, "predict", str(run), "images", "-o", name, "--batch-size", "2", "--device", "cpu") == ""
        assert [file.name for file in Path(name).parent.iterdir()] == [Path(name).name]
    table, columns = pd.read_csv("new/out.csv"), pd.read_parquet("more/out.parquet")
    assert list(table) == list(columns)
    assert {str(columns[name].dtype) for name in NUMBERS} == {"float32"}
    for name in ("image", "predicted", "name"):
        assert table[name].tolist() == columns[name].tolist()
    for name in NUMBERS:
        assert table[name].tolist() == pytest.approx(columns[name].tolist(), abs=1e-6)


@pytest.mark.parametrize("output", ["out.csv", "out.parquet", None])
def test_unreadable_files_are_rows_and_exit_code_three(capsys, run, images, output):
    (images / "a.jpg").write_bytes(b"")
    (images / "z.png").write_bytes(b"text")
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(run), "images", "--batch-size", "1", *(["--output", output] if output else [])])
    assert ended.value.code == 3
    said = capsys.readouterr()
    assert said.err == "2 of 4 images cannot be read; column error says why\n"
    table = pd.read_parquet(output) if output == "out.parquet" else pd.read_csv(output or io.StringIO(said.out))
    assert table["error"].fillna("").tolist() == ["empty file", "", "", "damaged, truncated or not an image"]
    assert table["predicted"].isna().tolist() == [True, False, False, True]
    assert table["probability"].isna().tolist() == [True, False, False, True]


def test_a_table_names_images_as_it_does(capsys, run, images):
    (images / "list.csv").write_text("label,image\nNV,deep/ö\nMEL,gone.jpg\nNV,a.jpg\nNV,deep/../a.jpg\n")
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(run), "images/list.csv"])
    assert ended.value.code == 3
    said = capsys.readouterr()
    table = pd.read_csv(io.StringIO(said.out))
    assert table["image"].tolist() == ["deep/ö", "gone.jpg", "a.jpg"]
    assert table["error"].fillna("").tolist() == ["", "cannot be opened: No such file or directory", ""]
    assert "1 image is given more than once" in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict"], "Missing argument 'RUN'"),
        (["predict", "RUN"], "Missing argument '[RUN]... IMAGES"),
        (["predict", "images", "images"], "images is not the folder of a run"),
        (["predict", "RUN", "nowhere.jpg"], "nowhere.jpg does not exist"),
        (["predict", "RUN", "images", "-o", "out.json"], "ends in neither .csv nor .parquet"),
        (["predict", "RUN", "images", "-o", "folder.csv"], "folder.csv is a folder"),
        (["predict", "RUN", "list.csv", "-o", "list.csv"], "is the list of images itself"),
        (["predict", "RUN", "images", "-o", "list.csv/out.csv"], "cannot be written"),
        (["predict", "RUN", "images", "-o", "RUN/predictions.parquet"], "is a file of the run in"),
        (["predict", "RUN", "RUN", "images"], "is given twice"),
        (["predict", "RUN", "runs", "images"], "are figures of the run in"),
        (["predict", "list.csv", "images"], "list.csv is not the folder of a run (it is a file)"),
        (["predict", "RUN", "images", "--device", "tpu"], "device=tpu is not known"),
        (["predict", "RUN", "images", "--device", "xpu:3"], "There is no device xpu:3 on this machine"),
        (["predict", "RUN", "images", "--batch-size", "0"], "x>=1"),
        (["predict", "RUN", "images", "--tta", "flip"], "tta has no choice 'flip'"),
        (["predict", "RUN", "RUN"], "no images"),
        (["predict", "RUN", "images", "RUN"], "comes after images"),
    ],
)
def test_mistakes_end_in_one_line_and_two(capsys, run, images, arguments, message):
    Path("list.csv").write_text("image\nimages/a.jpg\n")
    Path("folder.csv").mkdir()
    other = Path(shutil.copytree(run, "runs/other"))
    (other / "figures").mkdir()
    shutil.copy("images/a.jpg", other / "figures")
    assert message in refused(capsys, *(argument.replace("RUN", str(run)) for argument in arguments))
    assert Path("list.csv").read_text() == "image\nimages/a.jpg\n"


def test_an_unfinished_run(capsys, run, tmp_path, images):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_text((run / "config.yaml").read_text())
    assert "no finished run" in refused(capsys, "predict", "run", "images")


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_ctrl_c_leaves_no_half_file(capsys, run, images, monkeypatch, name):
    predict = Predictor._predict
    calls, arrived = [], threading.Event()

    def interrupted(self, pixels):
        calls.append(len(pixels))
        if len(calls) == 2:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            assert arrived.wait(30)
            time.sleep(0.5)  # The main thread cancels what is left.
        return predict(self, pixels)

    def handler(*_):
        arrived.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "_predict", interrupted)
    Path("results").mkdir()
    # A shell's background jobs, and so perhaps these tests, are started with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(SystemExit) as ended:
            main(["predict", str(run), "images", "--batch-size", "1", "--threads", "1", "--output", f"results/{name}"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == 130
    assert "Interrupted" in capsys.readouterr().err
    assert calls == [1, 1]
    assert list(Path("results").iterdir()) == []


def test_a_full_disk_behind_stdout_is_one_line(run, images, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ltmed.cli.predict.click.echo", full)
    assert "The table cannot be printed: No space left on device" in refused(capsys, "predict", str(run), "images")


def test_a_wrong_folder_is_said_before_torch_is_imported():
    code = "import sys\nfrom ltmed.cli.main import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    for arguments in (["predict", "nowhere", "x.jpg"], ["export", "nowhere", "--format", "onnx"]):
        line = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: nowhere is not the folder of a run (it does not exist)")
