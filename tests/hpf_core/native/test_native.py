"""C that is compiled where it runs, and what happens where it can't be."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import pytest
import torch

from hpf_core.grid import Grid
from hpf_core.native import compiler
from hpf_plugins.renderers.spheres import Spheres, SpheresConfig

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")

SOURCE = """
#include <stdint.h>
void twice(int64_t rows, int64_t threads, double plus, const REAL *in, REAL *out) {
    for (int64_t i = 0; i < rows; ++i) out[i] = 2 * in[i] + (REAL)plus + (REAL)(threads < 1) + (in == 0);
}
"""


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and nothing remembered; afterwards neither."""
    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    compiler._loaded.cache_clear()
    compiler._told.clear()
    yield tmp_path
    compiler._loaded.cache_clear()
    compiler._told.clear()


def written(folder: Path, text: str = SOURCE) -> Path:
    path = folder / "twice.c"
    path.write_text(text)
    return path


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_source_is_compiled_once_and_called_with_tensors(fresh, dtype, monkeypatch):
    library = compiler.load(written(fresh), dtype)
    given, got = torch.tensor([1.0, 2.5], dtype=dtype), torch.zeros(2, dtype=dtype)
    compiler.call(library.twice, 2, 0.25, given, got)
    assert got.tolist() == [2.25, 5.25]
    (file,) = (fresh / "cache" / "kernels").iterdir()

    compiler._loaded.cache_clear()
    monkeypatch.setattr(compiler, "_compile", lambda *_: pytest.fail("it is there already"))
    assert compiler.load(written(fresh), dtype) is not None
    assert list((fresh / "cache" / "kernels").iterdir()) == [file]


@needs_compiler
def test_another_source_and_a_damaged_file_are_compiled_anew(fresh):
    compiler.load(written(fresh), torch.float32)
    (file,) = (fresh / "cache" / "kernels").iterdir()
    compiler._loaded.cache_clear()
    file.unlink()  # not in place: it is mapped
    file.write_bytes(b"half a library")
    assert hasattr(compiler.load(written(fresh), torch.float32), "twice")
    compiler._loaded.cache_clear()
    assert hasattr(compiler.load(written(fresh, SOURCE.replace("twice", "thrice")), torch.float32), "thrice")
    assert len(list((fresh / "cache" / "kernels").iterdir())) == 2


def renders(points: torch.Tensor) -> torch.Tensor:
    return Spheres(torch.full((3,), 20.0), SpheresConfig()).depth(points, Grid(size=16)).depth


def test_without_a_compiler_tensors_do_it_and_it_is_said_once(fresh, monkeypatch):
    points = torch.tensor([[[0.0, 0, 0], [30, 10, 20], [-40, 0, 5]]])
    expected = renders(points)
    compiler._loaded.cache_clear()
    compiler._told.clear()
    monkeypatch.setenv("HPF_CACHE_DIR", str(fresh / "empty"))
    monkeypatch.setenv("PATH", str(fresh))
    with pytest.warns(
        compiler.NoCompilerWarning,
        match=r"\(HPF found no C compiler \(cc, gcc, clang\)\).*Install gcc",
    ) as told:
        seen = renders(points)
    assert len(told) == 1
    torch.testing.assert_close(seen, expected, atol=1e-4, rtol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        renders(points)
        renders(points.double())


@needs_compiler
def test_a_compiler_that_fails_is_quoted_and_nothing_is_left(fresh):
    with pytest.warns(compiler.NoCompilerWarning, match=r"works \(cc can't compile twice\.c: .*twice\.c:1"):
        assert compiler.load(written(fresh, "this is not C"), torch.float32) is None
    assert list((fresh / "cache" / "kernels").iterdir()) == []


def test_nothing_is_said_where_the_other_way_is_as_good(fresh, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiler.load(written(fresh), torch.float32, quiet=True) is None
    with pytest.warns(compiler.NoCompilerWarning, match="no-such-compiler"):  # to whom it matters, it still is
        assert compiler.load(written(fresh), torch.float32) is None


def test_the_compiler_can_be_named(fresh, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler -O1")
    with pytest.warns(compiler.NoCompilerWarning, match="no-such-compiler"):
        assert compiler.load(written(fresh), torch.float32) is None


def test_a_cache_that_cannot_be_written_is_no_error(fresh, monkeypatch):
    (fresh / "file").write_text("")
    monkeypatch.setenv("HPF_CACHE_DIR", str(fresh / "file"))
    with pytest.warns(compiler.NoCompilerWarning, match="Can't write"):
        assert compiler.load(written(fresh), torch.float32) is None


# ------------------------------------------------------------------------------------------- compilers that misbehave

LATIN1 = """#!/bin/sh
printf "f\\374r diesen Prozessor nicht verf\\374gbar\\n" >&2
exit 1
"""


def test_messages_in_another_encoding_are_no_traceback(fresh, monkeypatch):
    script = fresh / "latin1cc"
    script.write_text(LATIN1)
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    with pytest.warns(compiler.NoCompilerWarning, match="can't compile twice.c: f\ufffdr diesen Prozessor"):
        assert compiler.load(written(fresh), torch.float32) is None


@pytest.mark.parametrize("value", ["gcc 'unclosed", 'cc "', "''", "\\"])
def test_a_cc_that_cannot_be_parsed_means_tensor_code_with_the_same_result(fresh, monkeypatch, value):
    points = torch.tensor([[[0.0, 0, 0], [30, 10, 20], [-40, 0, 5]]])
    expected = renders(points)
    compiler._loaded.cache_clear()
    compiler._told.clear()
    monkeypatch.setenv("HPF_CACHE_DIR", str(fresh / "empty"))
    monkeypatch.setenv("CC", value)
    with pytest.warns(compiler.NoCompilerWarning, match="No C compiler works"):
        seen = renders(points)
    torch.testing.assert_close(seen, expected, atol=1e-4, rtol=0)


# --------------------------------------------------------------------------------- libraries that somebody else wrote

EVIL = SOURCE.replace("2 * in[i]", "1000 * in[i]")


def compiled_anew(folder: Path) -> bool:
    """Whether `load` compiles; what it loads must be our own code in any case."""
    compiler._loaded.cache_clear()
    compiles = []
    compile_ = compiler._compile
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "_compile", lambda *given: (compiles.append(1), compile_(*given))[1])
        library = compiler.load(written(folder), torch.float32)
    given, got = torch.tensor([1.0]), torch.zeros(1)
    compiler.call(library.twice, 1, 0.0, given, got)
    assert got.tolist() == [2.0]
    return bool(compiles)


@pytest.fixture
def kept_library(fresh) -> Path:
    compiler.load(written(fresh), torch.float32)
    (file,) = (fresh / "cache" / "kernels").iterdir()
    assert not compiled_anew(fresh)
    return file


def plant(folder: Path, at: Path, mode: int = 0o700) -> None:
    """Put a library with other contents in the place of ours."""
    compiler._compile(written(folder, EVIL), "float", folder / "evil.so")
    at.unlink()  # not in place: it is mapped
    shutil.move(folder / "evil.so", at)
    at.chmod(mode)


@needs_compiler
def test_the_folder_is_the_users_alone(kept_library):
    assert kept_library.parent.stat().st_mode & 0o777 == 0o700
    kept_library.parent.chmod(0o777)
    assert not compiled_anew(kept_library.parents[2])
    assert kept_library.parent.stat().st_mode & 0o777 == 0o700


@needs_compiler
def test_other_contents_under_our_name_are_not_loaded(fresh, kept_library):
    plant(fresh, kept_library)
    assert compiled_anew(fresh)


@needs_compiler
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_library_that_others_may_write_is_not_loaded(fresh, kept_library, mode):
    kept_library.chmod(mode)
    assert compiled_anew(fresh)


@needs_compiler
def test_a_link_is_not_loaded(fresh, kept_library):
    moved = fresh / "elsewhere.so"
    shutil.move(kept_library, moved)
    kept_library.symlink_to(moved)
    assert compiled_anew(fresh)


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
def test_a_library_or_a_folder_of_another_owner_is_not_loaded(fresh, kept_library):
    os.chown(kept_library, 12345, 12345)
    assert compiled_anew(fresh)
    before = sorted(kept_library.parent.iterdir())
    os.chown(kept_library.parent, 12345, 12345)
    assert compiled_anew(fresh)
    assert sorted(kept_library.parent.iterdir()) == before, "a private folder took its place"


@needs_compiler
def test_a_library_without_its_function_is_compiled_anew_once(fresh):
    whole, lacking = SOURCE, SOURCE.replace("void twice", "void other")
    source = written(fresh, whole)
    stem = compiler._stem(source, "float")
    compiler._compile(written(fresh, lacking), "float", fresh / "lacking.so")
    written(fresh, whole)
    compiler.kept.keep(stem, lambda out: shutil.copy(fresh / "lacking.so", out))
    assert compiler.function(source, "twice", torch.float32) is not None
    with pytest.raises(compiler.RunError, match=r"twice\.c has no function 'thrice'"):
        compiler.function(source, "thrice", torch.float32)
