"""A pickled dictionary of NumPy arrays, read without running any code of the pickle.

A pickle is a program that calls functions by name. Here the names that an array needs become inert objects, and every
other name ends the reading. We build the arrays afterwards from types, shapes and bytes that we have checked.
"""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from hpf_core.errors import DataError

_NUMBERS = re.compile(r"[<>=|]?[fiu][1248]")
_DAMAGED = (
    *(pickle.UnpicklingError, EOFError, AttributeError, ImportError, LookupError, TypeError),
    *(ValueError, OverflowError, MemoryError, RecursionError),
)


class _RefusedNameError(Exception):
    """The pickle asks for a name that no array needs."""


class _Inert:
    """Stores the arguments and the state from the pickle, and does nothing."""

    given: tuple[Any, ...]
    state: Any

    def __init__(self, *given: Any) -> None:
        self.given, self.state = given, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Inert):
    """For `numpy.ndarray`: its state is (version, shape, type, whether by columns, bytes)."""


class _FromBuffer(_Inert):
    """For the function that makes arrays in protocol 5, from (bytes, type, shape, order)."""


class _Type(_Inert):
    """For `numpy.dtype`: made from a code such as "f8"; its state begins with (version, byte order)."""


class _Bytes(bytes):
    """For `_codecs.encode`, with which protocol 2 stores bytes as text."""

    def __new__(cls, text: str, encoding: str) -> _Bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError("text that isn't in latin-1")
        return super().__new__(cls, text.encode("latin-1"))


_KNOWN: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _Bytes,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _FromBuffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in _KNOWN:
            raise _RefusedNameError(f"{module}.{name}")
        return _KNOWN[module, name]


def read_pickled_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read a pickled dictionary from texts to arrays of numbers, all float64.

    Raises:
        DataError: the file is missing, damaged, holds something else, or asks for any other name. No code of it ran.
    """
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="latin1").load()
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}, but a dictionary of arrays was expected")
        return {str(key): _array(value) for key, value in content.items()}
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error
    except _RefusedNameError as error:
        raise DataError(f"{path} is refused: it asks for {error}, but arrays alone were expected.") from None
    except _DAMAGED as error:
        raise DataError(f"{path} can't be read as pickled arrays: {error or type(error).__name__}.") from None


def _array(value: Any) -> np.ndarray:
    if isinstance(value, _Array):
        shape, kind, by_columns, data = value.state[-4:]
        order = "F" if by_columns else "C"
    elif isinstance(value, _FromBuffer):
        data, kind, shape, order = value.given
    else:
        raise ValueError(f"there is a {type(value).__name__.strip('_')} in the place of an array")
    if not isinstance(kind, _Type) or not isinstance(kind.given[0], str) or not _NUMBERS.fullmatch(kind.given[0]):
        raise ValueError("the entries of an array aren't numbers")
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and 0 <= n < 2**31 for n in shape):
        raise ValueError("the shape of an array isn't one of lengths")
    dtype = np.dtype(kind.given[0])
    if kind.state is not None and kind.state[1] in ("<", ">"):
        dtype = dtype.newbyteorder(kind.state[1])
    raw = data.encode("latin-1") if isinstance(data, str) else bytes(memoryview(data))
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise ValueError(f"{len(raw)} bytes don't fill an array of the shape {shape}")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if order == "F" else "C").astype(np.float64)
