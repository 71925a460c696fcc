"""Tables of every format hold the same cells; what is no table is refused in one line."""

from __future__ import annotations

import bz2
import gzip
import importlib
import json
import lzma
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from ltmed.data.readers import _tables
from ltmed.data.readers._tables import read_table
from ltmed.errors import UserError

HEADER = ["Image", "label", "age", "flag", "note"]
ROWS = [["a.jpg", "x", 3, True, None], ["b.jpg", "y", 4.0, False, "n, m"], ["ä 1.jpg", "x", 4.5, True, ""]]
CELLS = {
    "image": ["a.jpg", "b.jpg", "ä 1.jpg"],
    "label": ["x", "y", "x"],
    "age": ["3", "4", "4.5"],
    "flag": ["True", "False", "True"],
    "note": ["", "n, m", ""],
}
CSV = 'Image,label,age,flag,note\na.jpg,x,3,True,\nb.jpg,y,4,False,"n, m"\nä 1.jpg,x,4.5,True,\n'


def sheet(path: Path, rows) -> None:
    book = importlib.import_module("openpyxl").Workbook()
    for row in rows:
        book.active.append(row)
    book.create_sheet("other").append(["nothing"])
    book.save(path)


def columns() -> dict[str, list]:
    return {name: [row[index] for row in ROWS] for index, name in enumerate(HEADER)}


def arrow() -> pa.Table:
    return pa.table({name: pa.array(cells) for name, cells in columns().items()})


def zipped(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, CSV)


def separated(separator: str) -> str:
    return CSV.replace("n, m", "n; m").replace(",", separator).replace(";", ",")


RECORDS = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
WRITERS = {
    "t.csv": lambda path: path.write_text(CSV, encoding="utf-8"),
    "t.csv.gz": lambda path: path.write_bytes(gzip.compress(CSV.encode())),
    "t.csv.bz2": lambda path: path.write_bytes(bz2.compress(CSV.encode())),
    "t.csv.xz": lambda path: path.write_bytes(lzma.compress(CSV.encode())),
    "t.csv.zip": lambda path: zipped(path, "t.csv", "__MACOSX/t.csv"),
    "t.tsv": lambda path: path.write_bytes(separated("\t").encode()),
    "t.txt": lambda path: path.write_bytes(("\ufeff" + separated("|")).encode()),
    "utf16.txt": lambda path: path.write_bytes(separated("\t").encode("utf-16")),
    "t.xlsx": lambda path: sheet(path, [HEADER, *ROWS]),
    "t.json": lambda path: path.write_text(json.dumps(RECORDS)),
    "data.json": lambda path: path.write_text(json.dumps({"version": 1, "data": RECORDS})),
    "columns.json": lambda path: path.write_text(json.dumps(columns())),
    "frame.json": lambda path: path.write_text(
        json.dumps({name: dict(enumerate(cells)) for name, cells in columns().items()})
    ),
    "t.jsonl": lambda path: path.write_text("\n".join(map(json.dumps, RECORDS)) + "\n\n"),
    "lines.json": lambda path: path.write_text("\n".join(map(json.dumps, RECORDS)) + "\n"),
    "t.json.gz": lambda path: path.write_bytes(gzip.compress(json.dumps(RECORDS).encode())),
    "t.parquet": lambda path: parquet.write_table(arrow(), path),
    "t.feather": lambda path: feather.write_feather(arrow(), str(path)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_cells(tmp_path, name):
    WRITERS[name](tmp_path / name)
    table = read_table(tmp_path / name)
    assert {column: table[column] for column in table} == CELLS
    assert str(tmp_path / name) in table.where(1)


def test_an_object_of_images_and_labels(tmp_path):
    (tmp_path / "t.json").write_text('{"a.jpg": "x", "b.jpg": 2}')
    table = read_table(tmp_path / "t.json")
    assert (table["image"], table["label"]) == (["a.jpg", "b.jpg"], ["x", "2"])


def test_several_values_in_a_cell_are_joined(tmp_path):
    (tmp_path / "t.json").write_text('[{"image": "a", "label": ["Mass", "Nodule"]}, {"image": "b", "label": ["Mass"]}]')
    assert read_table(tmp_path / "t.json")["label"] == ["Mass|Nodule", "Mass"]


def test_rows_of_a_sheet_have_their_numbers(tmp_path):
    sheet(tmp_path / "t.xlsx", [[], HEADER, [None], ROWS[0], [], ROWS[1]])
    table = read_table(tmp_path / "t.xlsx")
    assert [table.where(row).rpartition(", ")[2] for row in (0, 1)] == ["row 4", "row 6"]
    sheet(tmp_path / "t.xlsx", [["image", "label"], ["a", "x", "stray"]])
    with pytest.raises(UserError, match="row 2: a cell has no name in the header"):
        read_table(tmp_path / "t.xlsx")


@pytest.mark.parametrize("size", ["A1", "A1:E2", "A1:B4", "A1:ZZ999"])
def test_a_wrong_size_in_a_workbook_hides_no_cell(tmp_path, size):
    path = tmp_path / "t.xlsx"
    sheet(path, [HEADER, *ROWS])
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = "xl/worksheets/sheet1.xml"
    assert b'<dimension ref="A1:E4"' in members[name]
    members[name] = members[name].replace(b'<dimension ref="A1:E4"', f'<dimension ref="{size}"'.encode())
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert dict(read_table(path)) == CELLS


def test_merged_cells_of_several_rows_are_refused(tmp_path):
    path = tmp_path / "t.xlsx"
    sheet(path, [HEADER, *ROWS])
    openpyxl = importlib.import_module("openpyxl")
    for merged, refused in (("C2:D2", False), ("G1:H9", False), ("B3:B4", True)):
        book = openpyxl.load_workbook(path)
        book.worksheets[0].merge_cells(merged)
        book.worksheets[1].merge_cells("A1:A3")  # Of a sheet that is not read.
        book.save(path)
        if refused:
            with pytest.raises(UserError, match=f"t.xlsx: the cells {merged} are merged"):
                read_table(path)
        else:
            assert read_table(path)["label"] == CELLS["label"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.xlsx", b"PK\x03\x04broken", "not an Excel file that can be read.*as CSV"),
        ("t.parquet", b"PAR1PAR1", "not a Parquet file that can be read"),
        ("t.feather", b"nothing", "not a Feather file that can be read"),
        ("t.json", b"{", "not JSON that can be read"),
        ("t.json", b"[1, 2]", "no list of objects"),
        ("t.json", b'{"images": [{"id": 1}], "categories": []}', "is no table"),
        ("t.json", b"[]", "no rows"),
        ("t.csv.gz", b"image,label\n", "cannot be decompressed"),
        ("t.csv.zip", b"image,label\n", "cannot be decompressed"),
        ("t.xls", b"\xd0\xcf", r"\.xls are not read.*Save it as CSV"),
        ("t.pkl", b"\x80", "Save it as CSV"),
        ("t.mat", b"", "Save it as CSV"),
        ("t.csv", b"image,sex\na,\xe9\n", "not UTF-8 text"),
        ("t.csv", b'"image","label"\n"a","b"\n\xff', "not UTF-8 text"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_table(tmp_path / name)


def test_an_archive_of_several_files_is_refused(tmp_path):
    zipped(tmp_path / "t.csv.zip", "a.csv", "b.csv")
    with pytest.raises(UserError, match="holds 2 files"):
        read_table(tmp_path / "t.csv.zip")


def test_without_openpyxl_a_sheet_is_refused_with_what_to_install(tmp_path, monkeypatch):
    sheet(tmp_path / "t.xlsx", [HEADER, *ROWS])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UserError, match=r"ltmed\[excel\]"):
        read_table(tmp_path / "t.xlsx")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_quick_way_reads_what_the_careful_one_reads(tmp_path, separator, end):
    lines = ["image, Label ,", " a ,x,1", "b,,2", ",y,3", "c,\u00e4 ,", "1.0,NA,nan"]
    text = end.join(line.replace(",", separator) for line in lines) + end
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    quick, careful = _tables._quick(path, text.encode()), _tables._careful(path, text.encode())
    assert quick is not None
    assert {name: quick[name] for name in quick} == {name: careful[name] for name in careful}
    assert list(quick.lines) == list(careful.lines) == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "text", ['a,b\n"1",2\n', "a,b\n1,2\n\n3,4\n", "a,b\n1,2\n,\n", "a,b\n1\n", "a,b\r1,2\r", "a,b\n"]
)
def test_the_quick_way_leaves_what_needs_care_to_the_careful_one(tmp_path, text):
    assert _tables._quick(tmp_path / "t.csv", text.encode()) is None


def test_excel_says_which_sheets_are_not_read(tmp_path):
    sheet(tmp_path / "t.xlsx", [HEADER, *ROWS])
    with pytest.warns(UserWarning, match="'other'"):
        read_table(tmp_path / "t.xlsx")


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_line_of_excel_that_names_the_separator(tmp_path, line, end):
    path = tmp_path / "t.csv"
    path.write_text(end.join([line, "image;label, or so", "a.jpg;x", "b.jpg;y", ""]), encoding="utf-8", newline="")
    table = read_table(path)
    assert dict(table) == {"image": ["a.jpg", "b.jpg"], "label, or so": ["x", "y"]}
    assert table.where(1).endswith("line 4")


def test_json_of_columns_keeps_the_rows_that_a_column_lacks(tmp_path):
    content = {"label": {"0": "A", "1": "B"}, "image": {"0": "a.png", "2": "c.png", "1": "b.png"}}
    (tmp_path / "t.json").write_text(json.dumps(content))
    table = read_table(tmp_path / "t.json")
    assert table["image"] == ["a.png", "b.png", "c.png"]
    assert table["label"] == ["A", "B", ""]
    assert table.where(2).endswith("t.json, entry 3")


@pytest.mark.parametrize(
    "content",
    [
        {"columns": ["image", "label"], "index": [0, 1, 2], "data": [["a", "x"], ["b", "y"], ["c", "x"]]},
        {"a": {"label": "x"}, "b": {"label": "y"}, "c": {"label": "x"}},
        {"0": {"image": "a", "label": "x"}, "1": {"image": "b", "label": "y"}, "2": {"image": "c", "label": "x"}},
        {"image": {"0": "a", "1": "b", "2": "c"}, "label": {"0": "x", "1": "y", "2": "x"}},
    ],
)
def test_json_in_the_orientations_of_pandas(tmp_path, content):
    (tmp_path / "t.json").write_text(json.dumps(content), encoding="utf-8")
    table = read_table(tmp_path / "t.json")
    assert (table["image"], table["label"]) == (["a", "b", "c"], ["x", "y", "x"])
