"""A web server for one test."""

from __future__ import annotations

import http.server
import shutil
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args) -> None:
        pass


@contextmanager
def serving(source: Path, folder: Path) -> Iterator[str]:
    """Serves the files of `source` and a small `labels.zip` from a folder below `folder`; gives the address."""
    served = folder / "served"
    served.mkdir()
    for path in source.glob("*.py"):
        shutil.copy(path, served)
    with zipfile.ZipFile(served / "labels.zip", "w") as archive:
        archive.writestr("folder/labels.csv", "image,label\n")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(served))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
