"""C that is compiled where it runs: for loops that tensor operations can only do by keeping what nobody needs.

A source is compiled once for a processor, on its first use (about a second). The cache keeps the library under a name
that hashes the source, the flags, the processor and the library itself (`kept`). Where no compiler can make it, `load`
warns once and returns None: each caller has another way, in tensor code.
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

# No contraction to fused multiply-adds: results are then those of the same tensor operations, bit for bit. The error
# number of roots and traps aren't looked at, and without them loops become vector instructions.
_FLAGS = ("-O3", "-std=c11", "-shared", "-fPIC", "-pthread", "-ffp-contract=off", "-fno-math-errno",
          "-fno-trapping-math")  # fmt: skip
_THIS_PROCESSOR = ("-march=native",)
_HEADER = Path(__file__).with_name("native.h")
_REAL = {torch.float32: "float", torch.float64: "double"}
_told: list[str] = []  # why there are no kernels, once it was said
_sources: list[Path] = []  # the C files that somebody may ask for
_switched_off: list[bool] = []  # one entry for each `without_kernels` that is open
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
    if _switched_off or _is_off():
        return None
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
    if source not in _sources:
        _sources.append(source)

    @torch.compiler.assume_constant_result
    def serves(dtype: torch.dtype) -> bool:
        return load(source, dtype) is not None

    return serves


def states() -> dict[str, str]:
    """Every C file that a loaded module uses, by its name: empty where it serves float32, else why it doesn't."""
    off = "HPF_KERNELS=off" if _is_off() else ""
    return {source.name: off or _loaded(source, _REAL[torch.float32])[1] for source in _sources}


def command() -> Sequence[str] | None:
    """The words that call the C compiler, or None where there is none."""
    try:
        return _compiler()
    except _Uncompiled:
        return None


def _is_off() -> bool:
    """Whether the user wants tensor operations alone."""
    return os.environ.get("HPF_KERNELS", "").strip().lower() in ("off", "0", "no", "false")


@contextmanager
def without_kernels() -> Iterator[None]:
    """Within it nothing is compiled or loaded: tensor operations do all the work, in any dtype."""
    _switched_off.append(True)
    try:
        yield
    finally:
        _switched_off.pop()


def function(source: Path, name: str, dtype: torch.dtype) -> Any:
    """A function of a C file that `load` was seen to find.

    A library that lacks it is compiled anew, once.

    Raises:
        RunError: the new library lacks it too.
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
    try:
        stem = _stem(source, real)
        for path in kept.libraries(stem):
            try:
                return ctypes.CDLL(str(path)), ""
            except OSError:  # of another system that shares the cache
                continue
        return ctypes.CDLL(str(kept.keep(stem, lambda out: _compile(source, real, out)))), ""
    except (OSError, HPFError, _Uncompiled) as error:
        return None, str(error)


def _stem(source: Path, real: str) -> str:
    """The first part of the library's name: all that its contents depend on."""
    texts = [file.read_text(encoding="utf-8") for file in (source, _HEADER)]
    key = content_key({"texts": texts, "real": real, "flags": [*_FLAGS, *_THIS_PROCESSOR], "processor": processor()})
    return f"{source.stem}-{real}-{key[:32]}"


def _compile(source: Path, real: str, out: Path) -> None:
    """Raises _Uncompiled with the compiler's words where it can't."""
    compiler, reason = _compiler(), ""
    for flags in ((*_FLAGS, *_THIS_PROCESSOR), _FLAGS):  # some compilers don't know the processor that they run on
        command = [*compiler, *flags, f"-DREAL={real}", f"-I{_HEADER.parent}", str(source), "-o", str(out), "-lm"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise _Uncompiled(f"{command[0]} took more than {_SECONDS} s") from error
        if done.returncode == 0:
            return
        # Compilers speak the user's language, in whatever encoding.
        words = done.stderr.decode("utf-8", errors="replace")
        reason = (words.strip().splitlines() or ["it gave no reason"])[0]
    raise _Uncompiled(f"{command[0]} can't compile {source.name}: {reason}")


def _compiler() -> Sequence[str]:
    """The C compiler: `$CC`, or the first of the usual ones."""
    chosen = os.environ.get("CC", "").strip()
    for name in [chosen] if chosen else ["cc", "gcc", "clang"]:
        try:
            words = shlex.split(name)
        except ValueError as error:
            raise _Uncompiled(f"CC={chosen} can't be parsed: {error}") from error
        if words and shutil.which(words[0]):
            return words
    raise _Uncompiled(f"no C compiler is found ({chosen or 'cc, gcc, clang'})")


@functools.cache
def processor() -> Mapping[str, Any]:
    """What distinguishes processors that may share a cache: code for one needn't run on another."""
    about = {"system": platform.system(), "machine": platform.machine(), "processor": platform.processor()}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return about
    wanted = ("model name", "flags", "Features", "CPU part")
    return about | {key: line for line in reversed(lines) for key in wanted if line.startswith(key)}
