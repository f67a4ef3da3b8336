"""Compiles C on the user's machine, for loops that tensor operations can only do with large intermediate tensors.

HPF compiles a source once per processor, on its first use (about a second). The library's name in the cache hashes the
source, the flags, the processor and the library itself (`kept`). If no compiler works, `load` warns once and returns
None. Then each caller uses its own tensor code.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hpf_core.errors import HPFError, RunError
from hpf_core.files.cache import content_key
from hpf_core.native import kept

# No contraction to fused multiply-adds: then results equal those of the same tensor operations, bit for bit. Nothing
# reads the error number of roots or the traps, and without them the compiler can vectorise loops.
_FLAGS = ("-O3", "-std=c11", "-shared", "-fPIC", "-pthread", "-ffp-contract=off", "-fno-math-errno",
          "-fno-trapping-math")  # fmt: skip
_THIS_PROCESSOR = ("-march=native",)
_HEADER = Path(__file__).with_name("native.h")
_REAL = {torch.float32: "float", torch.float64: "double"}
_told: list[str] = []  # reasons for missing kernels; a reason is reported once
_sources: list[Path] = []  # all registered C files
_switched_off: list[bool] = []  # one entry for each open `without_kernels`
_SECONDS = 120  # time limit of a compiler, s


class NoCompilerWarning(UserWarning):
    """No C compiler works, so tensor operations replace the compiled code."""


class _Uncompiled(Exception):
    """No compiler can compile the source; the message gives the reason."""


def load(source: Path, dtype: torch.dtype, quiet: bool = False) -> ctypes.CDLL | None:
    """Load the functions of a C file in which `REAL` is the C type of a dtype.

    Args:
        source: the file. Beside system headers it may include `native.h`, which distributes work over threads.
        dtype: float32 or float64.
        quiet: suppress the warning about a missing compiler, because the tensor code isn't much slower.

    Returns:
        The library, or None if no compiler can make it (one `NoCompilerWarning` reports this).
    """
    if _switched_off or _is_off():
        return None
    library, reason = _loaded(source, _REAL[dtype])
    if library is None and not quiet and not _told:
        _told.append(reason)
        warnings.warn(
            f"No C compiler works ({reason}). Rendering, distances and residuals use tensor operations, which "
            "are several times slower. Install gcc or clang, or set CC (printed once)",
            NoCompilerWarning,
            stacklevel=2,
        )
    return library


def availability(source: Path) -> Callable[[torch.dtype], bool]:
    """Return a function that says whether a C file serves tensors of a dtype on a CPU. The first call compiles the
    file. In a graph of `torch.compile` the answer is a constant."""
    if source not in _sources:
        _sources.append(source)

    @torch.compiler.assume_constant_result
    def serves(dtype: torch.dtype) -> bool:
        return load(source, dtype) is not None

    return serves


def states() -> dict[str, str]:
    """Every C file of the loaded modules by name: empty if it works with float32, else the reason why it doesn't."""
    off = "HPF_KERNELS=off" if _is_off() else ""
    return {source.name: off or _loaded(source, _REAL[torch.float32])[1] for source in _sources}


def command() -> Sequence[str] | None:
    """The command of the C compiler, or None without a compiler."""
    try:
        return _compiler()
    except _Uncompiled:
        return None


def _is_off() -> bool:
    """Whether the user has switched the kernels off."""
    return os.environ.get("HPF_KERNELS", "").strip().lower() in ("off", "0", "no", "false")


@contextmanager
def without_kernels() -> Iterator[None]:
    """Inside the block nothing is compiled or loaded: tensor operations do all the work, in any dtype."""
    _switched_off.append(True)
    try:
        yield
    finally:
        _switched_off.pop()


def function(source: Path, name: str, dtype: torch.dtype) -> Any:
    """Return a function of a C file that `load` has loaded before.

    If the library lacks the function, HPF compiles the library again, once.

    Raises:
        RunError: the new library lacks the function too.
    """
    library = load(source, dtype)
    assert library is not None, "the caller asks first whether there is a compiler"
    found = getattr(library, name, None)
    if found is None:
        kept.forget(_stem(source, _REAL[dtype]))
        _loaded.cache_clear()
        found = getattr(load(source, dtype), name, None)
    if found is None:
        raise RunError(f"the library compiled from {source.name} has no function '{name}'")
    return found


def call(function: Any, rows: int, *arguments: Tensor | int | float | None) -> None:
    """Call a C function with tensors as pointers to their contiguous data. The function splits its rows over threads.

    The C function's first two parameters are the number of rows and of threads, both int64_t. Integers become int64_t,
    floats double, and None a null pointer.
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
    """Return the library, or the reason why no library exists."""
    try:
        stem = _stem(source, real)
        for path in kept.libraries(stem):
            try:
                return ctypes.CDLL(str(path)), ""
            except OSError:  # a library of another system that shares the cache
                continue
        return ctypes.CDLL(str(kept.keep(stem, lambda out: _compile(source, real, out)))), ""
    except (OSError, HPFError, _Uncompiled) as error:
        return None, str(error)


def _stem(source: Path, real: str) -> str:
    """The first part of the library's name: a hash of everything that determines its contents."""
    texts = [file.read_text(encoding="utf-8") for file in (source, _HEADER)]
    key = content_key({"texts": texts, "real": real, "flags": [*_FLAGS, *_THIS_PROCESSOR], "processor": processor()})
    return f"{source.stem}-{real}-{key[:32]}"


def _compile(source: Path, real: str, out: Path) -> None:
    """Compile the source. Raises _Uncompiled with the compiler's output on failure."""
    compiler, reason = _compiler(), ""
    for flags in ((*_FLAGS, *_THIS_PROCESSOR), _FLAGS):  # some compilers don't know their own processor
        command = [*compiler, *flags, f"-DREAL={real}", f"-I{_HEADER.parent}", str(source), "-o", str(out), "-lm"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise _Uncompiled(f"{command[0]} took more than {_SECONDS} s") from error
        if done.returncode == 0:
            return
        # Compilers write in the user's language, in any encoding.
        words = done.stderr.decode("utf-8", errors="replace")
        reason = (words.strip().splitlines() or ["it gave no reason"])[0]
    raise _Uncompiled(f"{command[0]} can't compile {source.name}: {reason}")


def _compiler() -> Sequence[str]:
    """The C compiler: `$CC`, or the first available one of the usual names."""
    chosen = os.environ.get("CC", "").strip()
    for name in [chosen] if chosen else ["cc", "gcc", "clang"]:
        try:
            words = shlex.split(name)
        except ValueError as error:
            raise _Uncompiled(f"CC={chosen} can't be parsed: {error}") from error
        if words and shutil.which(words[0]):
            return words
    raise _Uncompiled(f"HPF found no C compiler ({chosen or 'cc, gcc, clang'})")


@functools.cache
def processor() -> Mapping[str, Any]:
    """Features that distinguish processors with a shared cache: code for one processor may not run on another."""
    about = {"system": platform.system(), "machine": platform.machine(), "processor": platform.processor()}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return about
    wanted = ("model name", "flags", "Features", "CPU part")
    return about | {key: line for line in reversed(lines) for key in wanted if line.startswith(key)}
