"""The embedded radiographs: what is in them, that they are the same everywhere, and that findings are to be seen."""

from __future__ import annotations

import numpy as np
import pytest

from ltmed.data.phantom.chest import FINDINGS, SIZE, radiograph
from ltmed.data.phantom.write_multi import CO_OCCURRING, IMAGES, LABELS, POSITIVES, draw, plan, write_phantom_multi
from ltmed.errors import UserError

SMALL = {"train": 24, "val": 8, "test": 10}
FEW = {part: tuple(max(1, number // 3 - k // 2) for k in range(12)) for part, number in SMALL.items()}


@pytest.fixture(scope="module")
def planned():
    return plan()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "phantom_multi"
    write_phantom_multi(folder, images=SMALL, positives=FEW, threads=1)
    return folder


def read(root):
    """`read` alone: constructing the module would need the rest of a run."""
    from ltmed.data.readers.phantom_multi import PhantomMulti

    return PhantomMulti.__new__(PhantomMulti).read(root)


def test_counts_are_the_planned_ones_and_the_tail_is_a_hundredth_of_the_head(planned):
    assert POSITIVES["train"][0] == 100 * POSITIVES["train"][-1]
    for part, number in IMAGES.items():
        inside = [one for one in planned if one.part == part]
        assert len(inside) == number
        assert tuple(sum(label in one.findings for one in inside) for label in LABELS) == POSITIVES[part]
        assert any(not one.findings for one in inside)
    assert sum(IMAGES.values()) == 3000
    assert len({one.path for one in planned}) == 3000


def test_findings_occur_together_and_come_back_in_a_patient(planned):
    present = np.array([[label in one.findings for label in LABELS] for one in planned if one.part == "train"])
    chance = np.outer(present.mean(0), present.mean(0)) * len(present)
    times = (present.T.astype(float) @ present) / chance
    pairs = [(LABELS.index(one), LABELS.index(other)) for one, other in CO_OCCURRING[:3]]
    assert min(times[pair] for pair in pairs) > 1.4
    others = [times[i, j] for i in range(6) for j in range(i) if (LABELS[j], LABELS[i]) not in CO_OCCURRING]
    assert np.median(others) < 1.3
    patients = [one.patient for one in planned if one.part == "train"]
    seconds = [index for index in range(1, len(patients)) if patients[index] == patients[index - 1]]
    again = present[[index - 1 for index in seconds], 0]
    assert present[seconds, 0][again].mean() > 2 * present[seconds, 0][~again].mean()


def test_what_is_read_is_what_was_planned(small):
    actual = read(small)
    assert actual.multilabel
    assert actual.labels.dtype == np.float32
    by_path = {one.path: one for one in plan(SMALL, FEW)}
    assert set(actual.images) == set(by_path)
    for row, image in enumerate(actual.images):
        assert tuple(np.array(LABELS)[actual.labels[row] == 1]) == by_path[image].findings
        assert actual.parts[row] == by_path[image].part
    ids = [by_path[image].patient_id for image in actual.images]
    assert len(set(zip(ids, actual.groups.tolist(), strict=True))) == len(set(ids)) == len(set(actual.groups.tolist()))


def test_the_same_files_whatever_the_number_of_threads(small, tmp_path):
    write_phantom_multi(tmp_path / "again", images=SMALL, positives=FEW, threads=3)
    first, again = ({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
                    for folder in (small, tmp_path / "again"))  # fmt: skip
    assert first == again
    assert len(first) == 43


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_can_be_seen(finding):
    for patient in range(3):
        plain, marked = (radiograph(names, patient, 5).astype(int) for names in ([], [finding]))
        # The strength of a finding is drawn before the noise, so that only a large difference counts.
        assert (abs(plain - marked) > 40).sum() > 8
    assert plain.shape == (SIZE, SIZE)


def test_an_image_is_a_function_of_its_description():
    image = plan(SMALL, FEW)[0]
    np.testing.assert_array_equal(draw(image), draw(image))
    assert (draw(image) != draw(image._replace(view=7))).any()


def test_a_folder_in_use_and_lost_images_are_refused(small, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").write_text("x")
    with pytest.raises(UserError):
        read(tmp_path / "used")
    assert (tmp_path / "used" / "thesis.txt").exists()
    write_phantom_multi(tmp_path / "lost", images=SMALL, positives=FEW)
    next((tmp_path / "lost").rglob("*.png")).unlink()
    with pytest.raises(UserError, match="1 of 42"):
        read(tmp_path / "lost")
