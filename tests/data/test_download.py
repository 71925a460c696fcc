"""Downloads from a server on this machine: whole, continued, broken, refused, wrong."""

from __future__ import annotations

import hashlib
import http.server
import threading
import zipfile
from pathlib import Path

import pytest

from ltmed.data import download as download_module
from ltmed.data.download import Download, download, unpack
from ltmed.errors import UserError

BODY = bytes(range(256)) * 9000
MD5 = hashlib.md5(BODY).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves BODY under every path; `server` says how badly."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments) -> None:
        pass

    def do_GET(self) -> None:
        expected = self.headers.get("Range")
        self.server.asked.append(expected)
        if "missing" in self.path:
            self.send_error(404)
            return
        same = self.headers.get("If-Range") in (
            None,
            self.server.version.get("ETag"),
            self.server.version.get("Last-Modified"),
        )
        start = int(expected[6:-1]) if expected and self.server.ranges and same else 0
        if start >= len(BODY):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(BODY)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        for header, value in self.server.version.items():
            self.send_header(header, value)
        self.end_headers()
        end = len(BODY)
        if self.server.breaks:
            self.server.breaks -= 1
            end, self.close_connection = start + self.server.piece, True
        self.wfile.write(BODY[start:end])


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked, running.ranges, running.breaks, running.piece = [], True, 0, 1_000_000
        running.version = {}
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        running.url = f"http://127.0.0.1:{running.server_address[1]}"
        yield running
        running.shutdown()


def get(item: Download, folder: Path):
    observed = []
    return download(item, folder, lambda done, total: observed.append((done, total)), wait=0), observed


def test_whole_file_with_progress_and_checksum(server, tmp_path):
    path, observed = get(Download(f"{server.url}/a/set%201.npz?download=1", MD5), tmp_path / "new/folder")
    assert path == tmp_path / "new/folder/set 1.npz"
    assert path.read_bytes() == BODY
    assert observed[0] == (0, len(BODY))
    assert observed[-1] == (len(BODY), len(BODY))
    assert list(path.parent.iterdir()) == [path]
    get(Download(f"{server.url}/a/set%201.npz?download=1", MD5), tmp_path / "new/folder")
    assert len(server.asked) == 1


def test_a_folder_that_cannot_be_made_is_not_the_networks_fault(server):
    with pytest.raises(UserError, match=r"/proc/x cannot be written.*--root"):
        get(Download(f"{server.url}/a.zip"), Path("/proc/x"))
    assert server.asked == []


def test_an_unfinished_file_is_continued(server, tmp_path):
    (tmp_path / "x.zip.part").write_bytes(BODY[:700_001])
    path, observed = get(Download(f"{server.url}/x.zip", MD5), tmp_path)
    assert path.read_bytes() == BODY
    assert server.asked == ["bytes=700001-"]
    assert observed[0] == (700_001, len(BODY))


def test_a_complete_part_is_only_renamed(server, tmp_path):
    (tmp_path / "x.zip.part").write_bytes(BODY)
    assert get(Download(f"{server.url}/x.zip", MD5), tmp_path)[0].read_bytes() == BODY


def test_a_part_that_is_too_long_is_fetched_anew(server, tmp_path):
    (tmp_path / "x.zip.part").write_bytes(BODY + b"more")
    assert get(Download(f"{server.url}/x.zip", MD5), tmp_path)[0].read_bytes() == BODY


def test_a_server_without_ranges_sends_everything_again(server, tmp_path):
    server.ranges = False
    (tmp_path / "x.zip.part").write_bytes(b"something else")
    assert get(Download(f"{server.url}/x.zip", MD5), tmp_path)[0].read_bytes() == BODY


VERSIONS = ({"ETag": '"one"'}, {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"})


@pytest.mark.parametrize("version", [*VERSIONS, VERSIONS[0] | VERSIONS[1]])
@pytest.mark.parametrize("changed", [False, True])
def test_without_a_checksum_an_unfinished_file_is_continued_if_the_server_has_the_same(
    version, changed, server, tmp_path, monkeypatch
):
    server.version, server.breaks = version, 9
    monkeypatch.setattr(server, "piece", 1000)
    monkeypatch.setattr("ltmed.data.download._continue", interrupted := Interrupted(after=1))
    with pytest.raises(KeyboardInterrupt):
        get(Download(f"{server.url}/x.csv"), tmp_path)
    server.breaks, interrupted.after = 0, 99
    if changed:
        server.version = {header: value.replace("1", "2").replace("one", "two") for header, value in version.items()}
        (tmp_path / "x.csv.part").write_bytes(b"an earlier file of some length")
    assert get(Download(f"{server.url}/x.csv"), tmp_path)[0].read_bytes() == BODY
    assert server.asked[-1] == ("bytes=30-" if changed else "bytes=1000-")
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.parametrize("version", [{}, {"ETag": 'W/"one"'}])
def test_without_a_checksum_or_a_version_it_is_fetched_anew(version, server, tmp_path):
    server.version, server.breaks = version, 1
    assert get(Download(f"{server.url}/x.csv"), tmp_path)[0].read_bytes() == BODY
    assert server.asked == [None, None]


@pytest.mark.parametrize(("version", "resumes"), [({}, False), (VERSIONS[0], True)])
def test_it_promises_to_resume_only_what_it_resumes(version, resumes, server, tmp_path):
    server.version, server.breaks, server.piece = version, 99, 0  # Nothing is received, so that the attempts end.
    (tmp_path / "x.csv.part").write_bytes(BODY[:1000])
    (tmp_path / "x.csv.part.version").write_text(version.get("ETag", ""))
    with pytest.raises(UserError, match="cannot be reached") as ended:
        get(Download(f"{server.url}/x.csv"), tmp_path)
    assert ("the same command resumes" in str(ended.value)) == resumes


class Interrupted:
    """Ctrl-C after some connections."""

    def __init__(self, after: int) -> None:
        self.after, self.real = after, download_module._continue

    def __call__(self, *arguments) -> None:
        if not self.after:
            raise KeyboardInterrupt
        self.after -= 1
        self.real(*arguments)


def test_broken_connections_are_continued(server, tmp_path):
    server.breaks = 2
    assert get(Download(f"{server.url}/x.zip", MD5), tmp_path)[0].read_bytes() == BODY
    assert server.asked == [None, "bytes=1000000-", "bytes=2000000-"]


def test_a_connection_that_brings_nothing_ends_and_keeps_what_came(server, tmp_path):
    server.breaks, server.piece = 100, 0
    (tmp_path / "x.zip.part").write_bytes(BODY[:500])
    with pytest.raises(UserError, match="cannot be reached.*the same command"):
        get(Download(f"{server.url}/x.zip", MD5), tmp_path)
    assert len(server.asked) == 5
    assert (tmp_path / "x.zip.part").read_bytes() == BODY[:500]
    server.breaks = 0
    assert get(Download(f"{server.url}/x.zip", MD5), tmp_path)[0].read_bytes() == BODY


def test_a_wrong_checksum_removes_the_file(server, tmp_path):
    with pytest.raises(UserError, match=f"x.zip has the checksum {MD5} instead of 00"):
        get(Download(f"{server.url}/x.zip", "0" * 32), tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "x.zip").write_bytes(b"old")
    with pytest.raises(UserError, match="has the checksum"):
        get(Download(f"{server.url}/x.zip", MD5), tmp_path)


def test_no_network_and_missing_files_are_one_line(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match="cannot be reached: .*refused") as caught:
        get(Download(f"{server.url}/x.zip"), tmp_path)
    assert "\n" not in str(caught.value)


def test_refusals_are_not_repeated(server, tmp_path):
    with pytest.raises(UserError, match="the server says 404"):
        get(Download(f"{server.url}/missing.zip"), tmp_path)
    assert len(server.asked) == 1


def test_a_folder_that_cannot_be_made_and_a_full_disk_are_named(server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        get(Download(f"{server.url}/x.zip"), tmp_path / "file/folder")
    monkeypatch.setattr("ltmed.data.download.shutil.disk_usage", lambda _: type("", (), {"free": 1000}))
    with pytest.raises(UserError, match="x.zip needs 0.0 GiB"):
        get(Download(f"{server.url}/x.zip"), tmp_path)


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return path


def test_archives_are_unpacked_once_and_never_outside(tmp_path):
    path = archive(tmp_path / "a.zip", {"in/1.jpg": b"one", "in/deep/2.jpg": b"two", "../out.txt": b"no"})
    target = tmp_path / "root"
    target.mkdir()
    assert unpack(path, target) == 3
    assert (target / "in/deep/2.jpg").read_bytes() == b"two"
    assert not (tmp_path / "out.txt").exists()
    (target / "in/1.jpg").write_bytes(b"o")
    assert unpack(path, target) >= 1
    assert (target / "in/1.jpg").read_bytes() == b"one"


def test_damaged_archives_are_named(tmp_path):
    whole = archive(tmp_path / "a.zip", {"1.jpg": bytes(5000) + BODY[:5000]}).read_bytes()
    for number, content in enumerate((b"<html>", whole[:-40], whole[:60] + b"????" + whole[64:])):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"{number}.zip is damaged"):
            unpack(path, tmp_path)
