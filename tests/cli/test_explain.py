"""`ltmed explain`: its pages and pictures, nearest training images, and what it refuses."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from ltmed.cli.main import main
from tests.cli.test_commands import refused, said
from tests.data.images import encoded, picture
from tests.trained_runs import trained, untrained

pytest.importorskip("pytorch_grad_cam")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return untrained(tmp_path_factory.mktemp("run") / "run", "method=erm", "image_size=64")


@pytest.fixture
def images(tmp_path, monkeypatch) -> Path:
    (tmp_path / "images/deep").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b<i>.png", "deep/a.png")):
        (tmp_path / "images" / name).write_bytes(encoded(picture(number, 80, 80), "PNG"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "images"


def _embedded(page: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/png;base64,([^\"]+)", page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in found]


def test_a_page_and_a_picture_for_each_image(capsys, run, images):
    shown = said(capsys, "explain", str(run), "images", "--neighbours", "0", "-o", "out", "--device", "cpu")
    assert shown == "Written: out/images.html\n"
    assert sorted(file.name for file in Path("out").iterdir()) == ["a-2.png", "a.png", "b_i.png", "images.html"]
    page = Path("out/images.html").read_text()
    assert "b&lt;i&gt;.png" in page
    assert "<i>.png" not in page
    pictures = _embedded(page)
    assert [one.shape for one in pictures] == [(64, 64, 3)] * 6  # An image and a map of each.
    assert (np.asarray(Image.open("out/a.png")) == pictures[1]).all()
    assert not (pictures[0] == pictures[1]).all()
    table = pd.read_csv(io.StringIO(said(capsys, "predict", str(run), "images")))
    for code, probability in zip(table["predicted"], table["probability"], strict=True):
        assert f"for {code} (predicted)" in page
        assert f"{100 * probability:.1f} %" in page


def test_the_map_of_a_class_that_was_chosen(capsys, run, images):
    said(capsys, "explain", str(run), "images/a.png", "--class", "VASC", "--neighbours", "0")
    assert "for VASC" in (run / "explanations/images.html").read_text()


def test_an_unreadable_image_says_why_and_stops_no_other(capsys, run, images):
    (images / "z.png").write_bytes(b"text")
    with pytest.raises(SystemExit) as ended:
        main(["explain", str(run), "images", "--neighbours", "0", "-o", "out"])
    assert ended.value.code == 3
    page = Path("out/images.html").read_text()
    assert "not an image" in page
    assert len(_embedded(page)) == 6


def test_without_the_data_there_are_no_neighbours(capsys, run, images):
    main(["explain", str(run), "images/a.png", "-o", "out"])
    assert "no nearest training images" in capsys.readouterr().err
    assert "Nearest training images" not in Path("out/images.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN"], "Nothing to explain"),
        (["RUN", "images", "--errors", "3"], "stands alone"),
        (["RUN", "images", "--class", "MEL2"], "has no class 'MEL2'"),
        (["images", "images"], "not the folder of a run"),
        (["RUN", "nowhere.png", "--neighbours", "0"], "does not exist"),
        (["RUN", "images", "--neighbours", "0", "-o", "images/a.png"], "it is a file"),
        (["RUN", "images", "--neighbours", "0", "-o", "images/../images"], "holds the images themselves"),
        (["RUN", "images", "--neighbours", "0", "-o", "images/deep"], "holds the images themselves"),
    ],
)
def test_mistakes_end_in_one_line_and_two(capsys, run, images, arguments, message):
    before = {file: file.read_bytes() for file in images.rglob("*.png")}
    assert message in refused(
        capsys, "explain", *(str(run) if argument == "RUN" else argument for argument in arguments)
    )
    assert {file: file.read_bytes() for file in images.rglob("*.png")} == before


def test_without_the_package_it_says_how_to_get_it(capsys, run, images, monkeypatch):
    monkeypatch.setattr("ltmed.inference.class_maps.find_spec", lambda name: None)
    assert "ltmed[explain]" in refused(capsys, "explain", str(run), "images", "--neighbours", "0")


def test_errors_are_found_in_folders_that_were_arranged_anew(monkeypatch):
    from ltmed.plots.explanations import test_cases

    monkeypatch.setattr("ltmed.inference.neighbours.image", lambda _, row: np.full((1, 1, 3), row, np.uint8))
    data = SimpleNamespace(manifest=SimpleNamespace(images=("nevi/2.JPG", "1.png", "0.png")))
    rows = pd.DataFrame({"image": ["part_1/1.jpg", "part_1/2.jpg", "0.png"], "label": "MEL", "predicted": "NV"})
    cases = list(test_cases(SimpleNamespace(multilabel=False), rows, data))  # type: ignore[arg-type]
    assert [int(case.pixels[0, 0, 0]) for case in cases] == [1, 0, 2]


@pytest.mark.slow
def test_errors_of_a_trained_run_and_its_nearest_training_images(capsys, tmp_path, monkeypatch):
    import ltmed
    from ltmed.data.batch import normalise
    from ltmed.inference.neighbours import TrainingImages, image, open_images
    from ltmed.plots.error_maps import error_maps
    from ltmed.plots.explanations import worst_errors
    from ltmed.plots.run import figures as run_figures
    from ltmed.runs.reader import read_run

    monkeypatch.setattr(run_figures, "figures", lambda run: {})  # Others are not looked at here.
    folder, _ = trained(tmp_path, "method=erm", "image_size=64", "dataset.tail=[NV,MEL,BKL,BCC,AKIEC,DF]")
    run = read_run(folder)
    assert run is not None
    worst = worst_errors(run, 3)
    table = run.predictions
    wrong = table[(table["label"] != table["predicted"]) & table["label"].isin(run.metrics["tiers"]["tail"])]
    by_hand = sorted((row[f"prob_{row['label']}"], row["image"]) for row in wrong.to_dict("records"))
    assert worst["image"].tolist() == [name for _, name in by_hand[:3]]
    said(capsys, "explain", str(folder), "--errors", "3", "--neighbours", "2")
    page = (folder / "explanations/errors.html").read_text()
    assert len(_embedded(page)) == 3 * (1 + 2 + 2)  # Image; maps of both classes; neighbours.
    assert all(name in page for name in worst["image"])

    said(capsys, "plot", str(folder), "--features", "none", "--maps", "2")
    assert (folder / "figures/class_maps.png").is_file()
    maps = error_maps(run, 2, (), torch.device("cpu"))
    shown = [ax.images[0].get_array() for ax in maps.axes if ax.images]
    assert len(shown) == 2 * 3
    pages = _embedded(page)  # Of the first image: the image and its two maps, then two neighbours.
    assert all((mine == theirs).all() for mine, theirs in zip(shown[:3], pages[:3], strict=True))
    main(["plot", str(folder), "--features", "none", "--maps", "2", "--class", "MEL", "--class", "NV"])
    assert "of one class" in capsys.readouterr().err

    data, encoder = open_images(run), ltmed.load(run).encoder
    mean, std = (255 * torch.tensor(list(values)) for values in (run.config.pixels.mean, run.config.pixels.std))
    pixels = torch.from_numpy(np.stack([image(data, row) for row in data.split.train]))
    with torch.no_grad():
        features = encoder(normalise(pixels, mean, std))
    found = TrainingImages(data, encoder, mean, std).nearest(features, 3)
    assert [near[0].row for near in found] == data.split.train.tolist()
    assert [near[0].similarity for near in found] == pytest.approx([1] * len(found), abs=1e-5)
    distances, _ = NearestNeighbors(n_neighbors=3, metric="cosine").fit(features.numpy()).kneighbors(features.numpy())
    assert np.array([[one.similarity for one in near] for near in found]) == pytest.approx(1 - distances, abs=1e-5)
