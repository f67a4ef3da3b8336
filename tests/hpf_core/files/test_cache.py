"""The cache: its folder, its names, and writes that are whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpf_core.errors import InputError, RunError
from hpf_core.files.cache import bytes_key, cache_folder, content_key, write_atomic


def test_the_folder_moves_with_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    for unset in ("", "  "):
        monkeypatch.setenv("HPF_CACHE_DIR", unset)
        assert cache_folder().name == "hpf"
    monkeypatch.delenv("HPF_CACHE_DIR")
    assert cache_folder().is_absolute()
    monkeypatch.setenv("HPF_CACHE_DIR", "~/kept")
    assert cache_folder() == Path.home() / "kept"


def test_keys_follow_the_content() -> None:
    key = content_key({"a": 1, "b": [1, 2.5, None, "é"]})
    assert key == content_key({"b": [1, 2.5, None, "é"], "a": 1})
    assert len(key) == len(bytes_key(b"")) == 64
    others = [{"a": 1, "b": [2.5, 1, None, "é"]}, {"a": 1.5}, {"a": "1"}, {}]
    assert len({key, *map(content_key, others)}) == 5


@pytest.mark.parametrize("bad", [float("nan"), Path("x"), {1, 2}, b"bytes"])
def test_what_has_no_exact_form_is_refused(bad: object) -> None:
    with pytest.raises(InputError, match="plain finite JSON"):
        content_key({"value": bad})


def test_a_write_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"

    def one(temporary: Path) -> None:
        temporary.write_text("one")

    write_atomic(path, one)
    assert path.read_text() == "one"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_failed_write_leaves_what_was(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("before")

    def full(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    def bug(temporary: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(RunError, match=r"file\.txt.*No space left"):
        write_atomic(path, full)
    with pytest.raises(ZeroDivisionError):
        write_atomic(path, bug)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Can't write"):
        write_atomic(tmp_path / "file" / "inside.txt", lambda temporary: None)


def test_without_a_home_folder_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HPF_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for a user that the system doesn't know
    with pytest.raises(InputError, match="set HPF_CACHE_DIR"):
        cache_folder()
    monkeypatch.setenv("HPF_CACHE_DIR", "/somewhere")
    assert cache_folder() == Path("/somewhere")
