"""Equal files and images that look alike: against all pairs in a loop, and on both sides of splits."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ltmed.data.audit import copies as module
from ltmed.data.audit.contents import read_contents
from ltmed.data.audit.copies import CONTRAST, LIMIT, SIDE, find_duplicates, is_uniform
from ltmed.data.splits.protocols import Split
from tests.data.images import encoded, folder_of, picture


def ways(look: np.ndarray) -> list[np.ndarray]:
    return [np.rot90(side, turns) for side in (look, look[::-1]) for turns in range(4)]


def alike(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each of the other looks is close to one of the eight ways to lay down this one."""
    limit = np.minimum(LIMIT, CONTRAST * np.minimum(one.std(), others.std((1, 2, 3))))
    return np.min([np.sqrt(((way.astype(float) - others) ** 2).mean((1, 2, 3))) for way in ways(one)], 0) <= limit


def crowd(seed: int) -> np.ndarray:
    """60 looks, many of them close to another one, near the limit on both sides."""
    rng = np.random.default_rng(seed)
    base = [cv2.resize(rng.integers(0, 256, (3, 3, 3)).astype(np.uint8), (SIDE, SIDE)) for _ in range(12)]
    looks = [base[rng.integers(12)].astype(float) for _ in range(60)]
    looks = [
        ways(look)[rng.integers(8)] + rng.normal(0, rng.choice([0.0, 1.2, 1.7, 1.8, 4.0]), look.shape) for look in looks
    ]
    return np.clip(np.rint(looks), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("chunk", [7, 8192])
def test_pairs_are_those_of_a_loop(seed, chunk, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    looks = crowd(seed)
    actual = find_duplicates([bytes([row]) for row in range(60)], looks)
    pairs = 0
    for one in range(1, 60):
        expected = alike(looks[one], looks[:one])
        for other in range(one):
            a, b = actual.thumbnail[one], actual.thumbnail[other]
            same = a == b or bool(actual.similar[a, b])
            assert same == expected[other], (one, other)
            assert bool(actual.similar[a, b]) == bool(actual.similar[b, a])
            pairs += same
    assert pairs > 20
    assert not actual.similar.diagonal().any()


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """Eight files: an image, its copy, three other versions of it, another image, a broken file and a black one."""
    image, other = picture(0, 300, 400), picture(5, 300, 400)
    files = {
        "0.png": encoded(image, "PNG"),
        "1.png": encoded(image, "PNG"),
        "2.jpg": encoded(image, quality=60),
        "3.jpg": encoded(cv2.resize(image, (200, 150), interpolation=cv2.INTER_AREA)),
        "4.png": encoded(np.ascontiguousarray(image[:, ::-1]), "PNG"),
        "5.jpg": encoded(other),
        "6.jpg": b"broken",
        "7.png": encoded(np.zeros((30, 30, 3), np.uint8), "PNG"),
        "8.png": encoded(np.zeros((20, 30, 3), np.uint8), "PNG"),
    }
    return read_contents(folder_of(tmp_path_factory.mktemp("copies"), files), threads=2)


def test_versions_of_an_image_are_found_among_files(contents):
    actual = find_duplicates(contents.digests, contents.thumbnails)
    assert actual.repeated == 1
    assert [rows.tolist() for rows in actual.equal()] == [[0, 1]]
    assert [rows.tolist() for rows in actual.near_duplicates()] == [[0, 2, 3, 4]]
    assert actual.thumbnail[6] == actual.thumbnail[7] == -1
    assert np.flatnonzero(is_uniform(contents.thumbnails)).tolist() == [6, 7, 8]
    assert [row for row, _ in contents.bad] == [6]


def test_copies_on_both_sides_of_a_split_are_counted_once(contents):
    actual = find_duplicates(contents.digests, contents.thumbnails)
    none = np.array([], np.int64)
    for train, test, expected in (
        ([0], [1, 2, 3, 4, 5, 6, 7, 8], (1, 3)),
        ([1, 2], [0, 3, 5], (1, 1)),
        ([5], [0, 1, 2, 3, 4], (0, 0)),
        ([6, 7], [8], (0, 0)),
        ([4, 5], [0, 1], (0, 2)),
    ):
        assert actual.across(Split("x", np.array(train), none, np.array(test))) == expected


def test_nothing_in_nothing():
    for number in (0, 1, 2):
        looks = np.zeros((number, SIDE, SIDE, 3), np.uint8)
        actual = find_duplicates([None] * number, looks)
        assert (actual.repeated, actual.equal(), actual.near_duplicates()) == (0, [], [])
        assert actual.across(Split("x", np.arange(number), np.arange(0), np.arange(0))) == (0, 0)
    one = find_duplicates([b"x"], crowd(0)[:1])
    assert one.near_duplicates() == []
