"""Label files that people and programs spoil: read as meant, or refused with the file and the line."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ltmed.data.readers._files import column, onehot, part_of, read_list, read_rows, read_table
from ltmed.errors import UserError

CODES = ("MEL", "NV", "BCC")
SETTINGS = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="\"'"), min_size=1, max_size=12
)
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=12)
ODD = st.text(st.sampled_from("ab01.,;\t|\" '\n\r\0\x0b\x0c\x1c\x85\u2028\ufeff-eninf²٣"), max_size=80)


def named(error: UserError, path: Path, *, line: bool) -> None:
    """The message begins with the file; where a row is to blame, with its line."""
    assert str(error).startswith(str(path)), error
    if line:
        assert re.match(re.escape(str(path)) + r", line \d+: ", str(error)), error


@st.composite
def tables(draw):
    """A one-hot table, and its file as some program may write it."""
    ids = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    labels = draw(st.lists(st.sampled_from(CODES), min_size=len(ids), max_size=len(ids)))
    header = draw(st.permutations(["image", *CODES, "note", ""]))
    header = [name.upper() if draw(st.booleans()) else name for name in header]
    values = draw(st.sampled_from([("0", "1"), ("0.0", "1.0"), (" 0", "1 "), ("0e0", "1.00")]))
    separator, end = draw(st.sampled_from(",;\t")), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end)
    writer.writerow(header)
    for name, label in zip(ids, labels, strict=True):
        cells = {"image": name, "note": draw(CELLS), "": draw(CELLS)} | {code: values[code == label] for code in CODES}
        writer.writerow([cells[key.lower() if key.lower() in cells else key.upper()] for key in header])
        text.write(draw(st.sampled_from(["", end, separator * 3 + end, "  " + end])))
    return ids, labels, draw(st.sampled_from(["", "\ufeff"])) + text.getvalue()


@SETTINGS
@given(tables())
def test_shuffled_columns_line_ends_marks_and_separators_do_not_matter(tmp_path, table):
    ids, labels, text = table
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    read = read_table(path)
    assert column(read, path, "Image") == ids
    assert [CODES[label] for label in onehot(read, path, ids, CODES)] == labels
    ends = [text.splitlines()[0], *text.splitlines()]  # The line that is named is the line in an editor.
    assert all(1 < line <= len(ends) for line in read.lines)
    assert list(read.lines) == sorted(set(read.lines))


@SETTINGS
@given(tables(), st.data())
def test_one_wrong_cell_is_named_by_its_line(tmp_path, table, data):
    ids, labels, _ = table
    row = data.draw(st.integers(0, len(ids) - 1))
    wrong = data.draw(st.sampled_from(["x", "2", "-1", "nan", "inf", "0.5", "1", "yes", "٣", "1,0"]))
    lines = ["image," + ",".join(CODES)]
    for number, (name, label) in enumerate(zip(ids, labels, strict=True)):
        cells = ["1" if code == label else "0" for code in CODES]
        if number == row:
            cells[(CODES.index(label) + 1) % 3] = wrong
        lines.append(",".join([f'"{name}"', *cells]))
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        onehot(read_table(path), path, ids, CODES)
    assert str(caught.value).startswith(f"{path}, line {row + 2}: ")


@SETTINGS
@given(ODD, st.sampled_from(["image,MEL,NV,BCC\n", "image;label\n", "", '"image,MEL\n']))
def test_text_of_any_kind_is_read_or_refused(tmp_path, text, header):
    path = tmp_path / "t.csv"
    path.write_bytes((header + text).encode())
    try:
        rows = read_rows(path)
        assert all(any(row) for row in rows)
        table = read_table(path)
        assert len({len(cells) for cells in table.values()}) == 1
        ids = column(table, path, "image")
        onehot(table, path, ids, CODES)
    except UserError as error:
        named(error, path, line=not re.search("no rows under|no column", str(error)))


@SETTINGS
@given(st.binary(max_size=60))
def test_bytes_of_any_kind_are_read_or_refused(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    for read in (read_table, read_list):
        try:
            read(path)
        except UserError as error:
            named(error, path, line=False)


@SETTINGS
@given(st.lists(st.tuples(NAMES, st.integers(0, 999)), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_lists_are_read_back(tmp_path, pairs, end):
    path = tmp_path / "l.txt"
    path.write_bytes(("\ufeff" + (end * 2).join(f"{name} {number}" for name, number in pairs)).encode())
    assert read_list(path) == pairs


@SETTINGS
@given(st.lists(ODD, max_size=4))
def test_lists_of_any_kind_are_read_or_refused(tmp_path, lines):
    path = tmp_path / "l.txt"
    path.write_bytes("\n".join(["a/b.jpg 1", *lines]).encode())
    try:
        assert all(number >= 0 for _, number in read_list(path))
    except UserError as error:
        named(error, path, line=True)


@pytest.mark.parametrize("text", ['a,1\nb,"2\nc,3\n', 'a,1\nb,"2\nc,3', 'a,1\nb,"2'])
def test_a_quote_that_is_never_closed_is_named_and_does_not_swallow_rows(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text("image,n\n" + text)
    with pytest.raises(UserError, match="line 3: a quote is opened and never closed"):
        read_table(path)


@pytest.mark.parametrize("text", ['a,"1\n2"\nb,3', 'b,3\na,"1\n2"', 'b,3\r\na,"1\r\n2"\r\n'])
def test_cells_of_several_lines_are_read(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_bytes(("image,n\n" + text).encode())
    assert sorted(read_table(path)["image"]) == ["a", "b"]


def test_numbers_too_long_for_a_number_and_huge_cells_are_refused(tmp_path):
    path = tmp_path / "l.txt"
    path.write_text("a.jpg " + "9" * 5000)
    with pytest.raises(UserError, match="line 1"):
        read_list(path)
    path.write_text("image,n\na," + "9" * 200_000)
    with pytest.raises(UserError, match="line 2: field larger"):
        read_table(path)


def test_parts_in_every_spelling_and_none():
    assert [part_of(text, "f") for text in ("Train", "training", "VALID", "val", "testing", "")] == [
        "train", "train", "val", "val", "test", ""
    ]  # fmt: skip
    with pytest.raises(UserError, match="f, line 3: 'tset' is not a part of a split. Did you mean 'tst' or 'test'"):
        part_of("tset", "f, line 3")
