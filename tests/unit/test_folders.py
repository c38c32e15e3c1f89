"""Processes die at every operation on files; what they leave is read by others."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest
import torch

from span_marker.core.folders import WRITING, WRITTEN, finish, replacing


class Killed(BaseException):
    """The process is gone."""


class Killer:
    """Lets a number of operations on files happen, and none after them: a process that is dead does nothing more."""

    def __init__(self, monkeypatch, patience):
        self.patience, self.count = patience, 0
        for owner, name in (
            (os, "replace"),
            (shutil, "rmtree"),
            (Path, "rename"),
            (Path, "unlink"),
            (Path, "write_text"),
        ):
            monkeypatch.setattr(owner, name, self.counting(getattr(owner, name)))
        monkeypatch.setattr(torch, "save", self.counting(torch.save))

    def counting(self, operation):
        def run(*args, **kwargs):
            if self.count >= self.patience:
                raise Killed
            self.count += 1
            return operation(*args, **kwargs)

        return run


def write(folder, names, text):
    with replacing(folder, stale=("old-*",)) as staging:
        for name in names:
            (staging / name).parent.mkdir(exist_ok=True)
            with open(staging / name, "w", encoding="utf-8") as file:
                file.write(text)


def read(folder):
    finish(folder)
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not str(path.relative_to(folder)).startswith(WRITING)
    }


@pytest.mark.parametrize("patience", range(12))
def test_files_are_the_old_ones_or_the_new_ones(tmp_path, patience):
    write(tmp_path, ["a", "old-1", "sub/b"], "old")
    (tmp_path / "mine").write_text("mine", encoding="utf-8")
    before = read(tmp_path)
    after = {"a": "new", "c": "new", "mine": "mine", "sub/b": "new"}
    with pytest.MonkeyPatch.context() as monkeypatch:
        killer = Killer(monkeypatch, patience)
        try:
            write(tmp_path, ["a", "c", "sub/b"], "new")
        except Killed:
            assert killer.count == patience
        else:
            assert killer.count < 12  # so that every operation was the last one once
    found = read(tmp_path)
    assert found in (before, after)
    assert read(tmp_path) == found
    write(tmp_path, ["a", "c", "sub/b"], "new")
    assert read(tmp_path) == after
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((WRITING, WRITTEN))]


def test_dying_while_finishing_can_be_finished(tmp_path):
    """Readers may be killed, too."""
    write(tmp_path, ["a", "old-1"], "old")
    with pytest.MonkeyPatch.context() as monkeypatch, contextlib.suppress(Killed):
        Killer(monkeypatch, 2)
        write(tmp_path, ["a", "b", "c"], "new")
    for patience in (0, 1, 2, 1):
        with pytest.MonkeyPatch.context() as monkeypatch:
            Killer(monkeypatch, patience)
            with contextlib.suppress(Killed):
                finish(tmp_path)
    assert read(tmp_path) in ({"a": "new", "b": "new", "c": "new"}, {"a": "old", "old-1": "old"})


def test_an_error_while_writing_changes_nothing(tmp_path):
    write(tmp_path, ["a"], "old")
    with contextlib.suppress(OSError), replacing(tmp_path) as staging:
        (staging / "a").write_text("new", encoding="utf-8")
        raise OSError("the disk is full")
    assert read(tmp_path) == {"a": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_files_that_their_writer_keeps_to_itself_get_the_permissions_of_others(tmp_path):
    (tmp_path / "mine").write_text("mine", encoding="utf-8")
    with replacing(tmp_path / "folder") as staging:
        os.close(os.open(staging / "weights", os.O_CREAT, 0o600))
    assert (tmp_path / "folder" / "weights").stat().st_mode == (tmp_path / "mine").stat().st_mode


@pytest.mark.parametrize("first", range(16))
@pytest.mark.parametrize("second", range(4))
def test_a_folder_that_is_replaced_survives_two_deaths(tmp_path, first, second):
    def write_graphs(text, *names):
        with replacing(tmp_path, stale=("graphs",)) as staging:
            (staging / "graphs").mkdir()
            for name in names:
                (staging / "graphs" / name).write_bytes(text)

    write_graphs(b"old", "a", "b")
    for patience, change in ((first, lambda: write_graphs(b"new", "b", "c")), (second, lambda: finish(tmp_path))):
        with pytest.MonkeyPatch.context() as monkeypatch, contextlib.suppress(Killed):
            Killer(monkeypatch, patience)
            change()
    assert read(tmp_path) in ({"graphs/a": "old", "graphs/b": "old"}, {"graphs/b": "new", "graphs/c": "new"})
