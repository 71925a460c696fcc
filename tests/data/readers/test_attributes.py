"""Age, sex, site and other columns reach the manifest, in its order and under one name for all data sets."""

from __future__ import annotations

import pytest

from ltmed.errors import UserError
from tests.data.readers.isic2019_trees import isic2019
from tests.data.readers.reading import read
from tests.harness import make_tiny_ham

pytestmark = pytest.mark.filterwarnings("ignore:isic201.*images, not")


def written(root, *lines, header="image,label,Age_Approx,gender,anatom_site_general,clinic"):
    for line in lines:
        (root / f"{line.split(',')[0]}.png").write_bytes(b"")
    (root / "manifest.csv").write_text("\n".join([header, *lines]))
    return root


def plain(manifest):
    assert manifest.attributes is not None
    return {name: dict(zip(manifest.images, cells, strict=True)) for name, cells in manifest.attributes.items()}


def test_a_manifest_finds_known_attributes_and_those_that_are_named(tmp_path):
    root = written(tmp_path, "c,x,50,male,back,1", "a,y,,female,,2", "b,x,35,,face,2")
    actual = plain(read("manifest", root)[0])
    assert actual["age"] == {"a.png": "", "b.png": "35", "c.png": "50"}
    assert actual["sex"] == {"a.png": "female", "b.png": "", "c.png": "male"}
    assert actual["localization"] == {"a.png": "", "b.png": "face", "c.png": "back"}
    assert "clinic" not in actual
    selected = plain(read("manifest", root, "dataset.columns.attribute=[clinic]")[0])
    assert selected.keys() == {"age", "sex", "localization", "clinic"}
    assert selected["clinic"] == {"a.png": "2", "b.png": "2", "c.png": "1"}
    with pytest.raises(UserError, match="dataset.columns.attribute"):
        read("manifest", root, "dataset.columns.attribute=clinik")


def test_a_column_with_another_role_is_no_attribute(tmp_path):
    root = written(tmp_path, "a,x,1", "b,y,2", header="image,label,site")
    manifest, _ = read("manifest", root, "dataset.columns.source=site")
    assert manifest.attributes is None
    assert manifest.sources is not None


def test_ham10000_and_isic2019_have_the_same_names(tmp_path):
    make_tiny_ham(tmp_path / "ham", counts=(4, 6, 4, 4, 4, 4, 4))
    table = tmp_path / "ham/HAM10000_metadata.csv"
    lines = table.read_text().splitlines()
    lines[1] = lines[1].replace("50,male,back", "85.0,female,scalp")
    lines = [lines[0], *reversed(lines[1:])]  # Rows of the manifest are sorted; the table's order must not matter.
    table.write_text("\n".join(lines))
    manifest, _ = read("isic2018", tmp_path / "ham")
    actual = plain(manifest)
    first = manifest.images[0]
    assert first.endswith("ISIC_0000000.jpg")
    assert [actual[name][first] for name in ("age", "sex", "localization")] == ["85.0", "female", "scalp"]
    assert {cell for image, cell in actual["sex"].items() if image != first} == {"male"}
    (tmp_path / "2019").mkdir()
    other, _ = read("isic2019", isic2019(tmp_path / "2019"))
    assert other.attributes is not None
    assert set(other.attributes) <= {"age", "sex", "localization"}
    assert "sex" in other.attributes
