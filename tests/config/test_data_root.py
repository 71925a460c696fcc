"""A folder of data that does not exist is reported before anything slow is imported."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from ltmed.config.data_root import require_root
from ltmed.errors import UserError
from tests.data.readers.reading import composed
from tests.harness import ROOT


def check(root: object, target: str = "ltmed.data.readers.isic2018.ISIC2018") -> None:
    require_root(OmegaConf.create({"_target_": target, "root": root}))


def test_folders_that_exist_and_roots_that_are_not_set_pass(tmp_path):
    check(str(tmp_path))
    check(None)
    check(str(tmp_path / "phantom-v1"), "ltmed.data.readers.phantom.Phantom")  # It is made there.
    require_root(composed("phantom", None).dataset)


@pytest.mark.parametrize("root", ["", "  "])
def test_an_empty_root_does_not_mean_the_folder_that_the_command_runs_in(root):
    with pytest.raises(UserError, match=r"dataset\.root is empty"):
        check(root)


def test_a_root_that_was_read_as_a_number_is_named():
    with pytest.raises(UserError, match=r"Write \./2026"):
        check(2026)


@pytest.mark.parametrize("call", ["scandir", "stat"])
def test_a_folder_that_must_not_be_read_is_not_called_missing(tmp_path, monkeypatch, call):
    real = getattr(os, call)

    def denied(path=".", *args, **settings):
        if os.fspath(path) == str(tmp_path):
            raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))
        return real(path, *args, **settings)

    monkeypatch.setattr(os, call, denied)
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        check(str(tmp_path))


def test_the_folder_that_was_meant_is_named(tmp_path):
    (tmp_path / "data/isic2018").mkdir(parents=True)
    (tmp_path / "file").touch()
    for given, message in (
        (tmp_path / "data/isic2081", f"Did you mean {tmp_path}/data/isic2018"),
        (tmp_path / "dta/isic2018", f"Did you mean {tmp_path}/data/isic2018"),
        (tmp_path / "zzz/isic2018", f"{tmp_path} exists"),
        (tmp_path / "file", "is not a folder"),
    ):
        with pytest.raises(UserError, match=message):
            check(str(given))


@pytest.mark.slow
def test_torch_is_not_imported_for_it():
    code = (
        "import sys; sys.argv[1:] = ['method=erm', 'dataset=isic2018', 'dataset.root=/nowhere/isic2018']\n"
        "from ltmed.cli.train import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    print(end.code, 'torch' in sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert ended.stdout.split() == ["2", "False"], ended.stderr
    assert "dataset.root=/nowhere/isic2018 does not exist" in ended.stderr
