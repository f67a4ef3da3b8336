"""C that is compiled where it runs: for loops that tensor operations can only do by keeping what nobody needs.

A source is compiled once for a processor, the first time that it is asked for (about a second), and kept in the cache
under a name that hashes the source, the flags and the processor. Where that can't be done, `load` says so once and
returns None: whoever calls it has another way, in tensor code.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import shlex
import shutil
import subprocess
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hpf_core.errors import RunError
from hpf_core.files.cache import cache_folder, content_key, write_atomic

# No contraction to fused multiply-adds: results are then those of the same tensor operations, bit for bit. The error
# number of roots and traps aren't looked at, and without them loops become vector instructions.
_FLAGS = ("-O3", "-std=c11", "-shared", "-fPIC", "-pthread", "-ffp-contract=off", "-fno-math-errno",
          "-fno-trapping-math")  # fmt: skip
_THIS_PROCESSOR = ("-march=native",)
_HEADER = Path(__file__).with_name("native.h")
_REAL = {torch.float32: "float", torch.float64: "double"}
_told: list[str] = []  # why there are no kernels, once it was said
_SECONDS = 120  # after which a compiler is taken for stuck


class NoCompilerWarning(UserWarning):
    """There is no C compiler that works, and so tensor operations do what it would have compiled."""


class _Uncompiled(Exception):
    """No compiler makes it, with the reason."""


def load(source: Path, dtype: torch.dtype, quiet: bool = False) -> ctypes.CDLL | None:
    """The functions of a C file in which `REAL` is the C type of a dtype.

    Args:
        source: the file; beside system headers it may include `native.h`, which shares work among threads.
        dtype: float32 or float64.
        quiet: whether nobody is told where it can't be made: the other way isn't much slower.

    Returns:
        The library, or None where there is no compiler that can make it (said once, as `NoCompilerWarning`).
    """
    library, reason = _loaded(source, _REAL[dtype])
    if library is None and not quiet and not _told:
        _told.append(reason)
        warnings.warn(
            f"No C compiler serves ({reason}): rendering, distances and residuals are left to tensor operations, "
            "several times slower. Install gcc or clang, or name one in CC (said once)",
            NoCompilerWarning,
            stacklevel=2,
        )
    return library


def availability(source: Path) -> Callable[[torch.dtype], bool]:
    """For a C file, the function that says whether it serves tensors of a dtype on a CPU; the first time it is
    compiled. In a graph of `torch.compile` its answer is a constant."""

    @torch.compiler.assume_constant_result
    def serves(dtype: torch.dtype) -> bool:
        return load(source, dtype) is not None

    return serves


def function(source: Path, name: str, dtype: torch.dtype) -> Any:
    """A function of a C file that `load` was seen to find."""
    library = load(source, dtype)
    assert library is not None, "the caller asks first whether there is a compiler"
    return getattr(library, name)


def call(function: Any, rows: int, *arguments: Tensor | int | float | None) -> None:
    """Call a C function with tensors as pointers to their contiguous data, and let it share its rows among threads.

    The function's first two parameters are the number of rows and of threads, both int64_t. Integers become int64_t,
    floats double, None a null pointer.
    """
    values: list[Any] = [ctypes.c_int64(rows), ctypes.c_int64(torch.get_num_threads())]
    for argument in arguments:
        if argument is None:
            values.append(ctypes.c_void_p(None))
        elif isinstance(argument, Tensor):
            assert argument.is_contiguous(), "C is given contiguous tensors"
            values.append(ctypes.c_void_p(argument.data_ptr()))
        else:
            values.append(ctypes.c_int64(argument) if isinstance(argument, int) else ctypes.c_double(argument))
    function(*values)


@functools.cache
def _loaded(source: Path, real: str) -> tuple[ctypes.CDLL | None, str]:
    """The library, or why there is none."""
    texts = [file.read_text(encoding="utf-8") for file in (source, _HEADER)]
    key = content_key({"texts": texts, "real": real, "flags": [*_FLAGS, *_THIS_PROCESSOR], "processor": processor()})
    path = cache_folder() / "kernels" / f"{source.stem}-{real}-{key[:32]}.so"
    if path.is_file() and (library := _opened(path)) is not None:
        return library, ""
    try:
        write_atomic(path, lambda temporary: _compile(source, real, temporary))
        return ctypes.CDLL(str(path)), ""
    except (OSError, RunError, _Uncompiled) as error:
        return None, str(error)


def _opened(path: Path) -> ctypes.CDLL | None:
    """A kept library; None where it is damaged, or of another system that shares the cache: it is made again."""
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        return None


def _compile(source: Path, real: str, out: Path) -> None:
    """Raises _Uncompiled with the compiler's words where it can't."""
    compiler, reason = _compiler(), ""
    for flags in ((*_FLAGS, *_THIS_PROCESSOR), _FLAGS):  # some compilers don't know the processor that they run on
        command = [*compiler, *flags, f"-DREAL={real}", f"-I{_HEADER.parent}", str(source), "-o", str(out), "-lm"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise _Uncompiled(f"{command[0]} took more than {_SECONDS} s") from error
        if done.returncode == 0:
            return
        reason = (done.stderr.strip().splitlines() or ["it gave no reason"])[0]
    raise _Uncompiled(f"{command[0]} can't compile {source.name}: {reason}")


def _compiler() -> Sequence[str]:
    """The C compiler: `$CC`, or the first of the usual ones."""
    chosen = os.environ.get("CC", "").strip()
    for name in [chosen] if chosen else ["cc", "gcc", "clang"]:
        words = shlex.split(name)
        if shutil.which(words[0]):
            return words
    raise _Uncompiled(f"no C compiler is found ({chosen or 'cc, gcc, clang'})")


@functools.cache
def processor() -> Mapping[str, Any]:
    """What distinguishes processors that may share a cache: code for one needn't run on another."""
    about = {"system": platform.system(), "machine": platform.machine(), "processor": platform.processor()}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return about
    wanted = ("model name", "flags", "Features", "CPU part")
    return about | {key: line for line in reversed(lines) for key in wanted if line.startswith(key)}
