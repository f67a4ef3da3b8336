"""Reads the arrays of a MANO pickle without running any of its code.

A pickle is a program that imports and calls arbitrary names. Here every name in a MANO file maps to an inert class of
this module, which stores its arguments and does nothing. Any other name ends the reading. Not even NumPy's own
unpickling runs: the module makes arrays afterwards, from types, shapes and bytes that it has checked. It needs neither
SciPy nor chumpy.

The published files come from Python 2 (protocol 2, byte strings that must be read as latin-1). In them `shapedirs` is a
chumpy expression, `chumpy.reordering.Select` of a `chumpy.ch.Ch`, and `J_regressor` is a `scipy.sparse.csc.csc_matrix`.
The module also reads files saved again by Python 3, with plain arrays instead.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from hpf.plugin import DataError, InputError

_NUMBERS = re.compile(r"[<>=|]?[fiu][1248]")
# Other exceptions of the unpickler, on truncated, damaged or malicious files.
_DAMAGED = (
    *(pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, TypeError),
    *(ValueError, OverflowError, MemoryError, RecursionError),
)


class _Closed(type):
    """A class without attributes that a pickle can set."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise TypeError(f"nothing is set on {cls.__name__}")


class _Inert(metaclass=_Closed):
    """Stores the arguments and the state from a pickle."""

    given: tuple[Any, ...]
    state: Any

    def __new__(cls, *given: Any) -> Any:
        made = super().__new__(cls)
        made.given, made.state = given, None
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Inert):
    """For `numpy.ndarray`, and for the function that creates one; its state is (version, shape, type, order, bytes)."""


class _FromBuffer(_Inert):
    """For the function with which protocol 5 creates an array, from (bytes, type, shape, order)."""


class _Type(_Inert):
    """For `numpy.dtype`: created from a code such as "f8"; its state begins with (version, byte order)."""


class _Scalar(_Inert):
    """For the function that creates a NumPy scalar, from (type, bytes)."""


class _Expression(_Inert):
    """For `chumpy.ch.Ch`: its state's `x` is an array."""


class _Selection(_Inert):
    """For `chumpy.reordering.Select`: the entries `idxs` of the flat `a`, in the shape `preferred_shape`."""


class _Columns(_Inert):
    """For SciPy's `csc_matrix`."""


class _Other(_Inert):
    """For other names in the files: `set`, `object`. No code uses them."""


class _Bytes(_Inert):
    """For `_codecs.encode`, with which Python 3 writes bytes into protocol 2."""

    def __new__(cls, *given: Any) -> Any:
        text, encoding = given
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError("text that isn't in latin-1")
        return text.encode("latin-1")


class _Rebuilt(_Inert):
    """For `copy_reg._reconstructor`, with which protocols 0 and 1 create an object."""

    def __new__(cls, *given: Any) -> Any:
        if not given or not isinstance(given[0], _Closed):
            raise pickle.UnpicklingError("an object of no class")
        return given[0]()


_KNOWN: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _Bytes,
    ("copyreg", "_reconstructor"): _Rebuilt,
    ("builtins", "object"): _Other,
    ("builtins", "set"): _Other,
    ("chumpy.ch", "Ch"): _Expression,
    ("chumpy.reordering", "Select"): _Selection,
    ("scipy.sparse.csc", "csc_matrix"): _Columns,
    ("scipy.sparse._csc", "csc_matrix"): _Columns,
}
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _Array
    _KNOWN[f"{_core}.multiarray", "scalar"] = _Scalar
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _FromBuffer
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class _Refused(Exception):
    """A pickle contains a name that no MANO file has."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        try:
            return _KNOWN[_RENAMED.get(module, module), name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


def arrays_of(path: Path, wanted: Collection[str], optional: Collection[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of a pickled dictionary, dense, with their original types.

    Args:
        path: the pickle.
        wanted: required keys.
        optional: optional keys.

    Raises:
        InputError: the file is unreadable.
        DataError: it isn't a pickle, contains names other than arrays, or lacks a key; none of its code was run.
    """
    content = _unpickled(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no dictionary, as MANO's files do.")
    missing = sorted(set(wanted) - set(content))
    if missing:
        raise DataError(
            f"{path} has no {', '.join(map(repr, missing))}: is it MANO_RIGHT.pkl of MANO itself, not of SMPL+H?"
        )
    found = {}
    for key in (*wanted, *(key for key in optional if key in content)):
        try:
            found[key] = _dense(content[key])
        except (*_DAMAGED, _NotAnArray) as error:
            raise DataError(f"{path}: {key!r} isn't an array as MANO's files have it: {error}.") from None
    return found


def _unpickled(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _Unpickler(file, encoding="latin1").load()
    except OSError as error:
        raise InputError(f"Can't read {path}: {error.strerror or error}.") from error
    except _Refused as error:
        raise DataError(
            f"{path} is refused: it asks for {error}, and a MANO file needs nothing but arrays. Nothing of it was run."
        ) from None
    except _DAMAGED as error:
        raise DataError(f"{path} isn't a pickle, or is damaged: {error or type(error).__name__}.") from None


# ------------------------------------------------------------------------------------------------ arrays of what stands


class _NotAnArray(Exception):
    """The object in the place of an array isn't an array."""


def _dense(value: Any) -> np.ndarray:
    """The array of a value."""
    if isinstance(value, _Selection):
        source, numbers = _plain(value.state["a"]), _plain(value.state["idxs"])
        return source.ravel()[numbers].reshape(_lengths(value.state["preferred_shape"]))
    if isinstance(value, _Columns):
        return _filled(value.state)
    return _plain(value)


def _plain(value: Any) -> np.ndarray:
    """An array, or the one in a `chumpy.ch.Ch`."""
    if isinstance(value, _Expression):
        value = value.state["x"]
    if isinstance(value, _Array):
        shape, kind, by_columns, data = value.state[-4:]
        return _made(shape, kind, "F" if by_columns else "C", data)
    if isinstance(value, _FromBuffer):
        data, kind, shape, order = value.given
        return _made(shape, kind, order, data)
    raise _NotAnArray(f"there is a {type(value).__name__.strip('_')}")


def _made(shape: Any, kind: Any, order: Any, data: Any) -> np.ndarray:
    if not isinstance(kind, _Type) or not isinstance(kind.given[0], str) or not _NUMBERS.fullmatch(kind.given[0]):
        raise _NotAnArray("its entries aren't numbers")
    dtype = np.dtype(kind.given[0])
    if kind.state is not None and kind.state[1] in ("<", ">"):
        dtype = dtype.newbyteorder(kind.state[1])
    raw = data.encode("latin-1") if isinstance(data, str) else bytes(memoryview(data))
    lengths = _lengths(shape)
    if math.prod(lengths) * dtype.itemsize != len(raw):
        raise _NotAnArray(f"{len(raw)} bytes don't fill the shape {lengths}")
    return np.frombuffer(raw, dtype).reshape(lengths, order="F" if order == "F" else "C")


def _filled(state: Any) -> np.ndarray:
    """The dense matrix of a compressed one. Column c has `data[a:b]` in rows `indices[a:b]`, from a = indptr[c] to b =
    indptr[c + 1]. Duplicate entries are summed, as SciPy does."""
    rows, columns = _lengths(state["_shape"] if "_shape" in state else state["shape"])
    data, row, starts = (_plain(state[name]) for name in ("data", "indices", "indptr"))
    ends = starts.astype(np.int64)
    counts = ends[1:] - ends[:-1]
    if rows * columns > 10**8 or len(ends) != columns + 1 or ends[0] != 0 or (counts < 0).any():
        raise _NotAnArray("its columns don't fit its shape")
    dense = np.zeros((rows, columns), dtype=data.dtype.newbyteorder("="))
    column = np.repeat(np.arange(columns), counts)
    if not len(column) == len(row) == len(data) or (len(row) and (row.min() < 0 or row.max() >= rows)):
        raise _NotAnArray("its entries don't fit its shape")
    np.add.at(dense, (row, column), data)
    return dense


def _lengths(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, tuple):
        raise _NotAnArray("its shape isn't a tuple")
    lengths = tuple(int(_made((), n.given[0], "C", n.given[1])) if isinstance(n, _Scalar) else n for n in shape)
    if not all(isinstance(n, int) and 0 <= n < 2**31 for n in lengths):
        raise _NotAnArray("its shape isn't one of lengths")
    return lengths
