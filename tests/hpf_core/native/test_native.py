"""C that is compiled where it runs, and what happens where it can't be."""

from __future__ import annotations

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
        match=r"\(no C compiler is found \(cc, gcc, clang\)\).*Install gcc",
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
    with pytest.warns(compiler.NoCompilerWarning, match=r"serves \(cc can't compile twice\.c: .*twice\.c:1"):
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
