"""Reads arrays of numbers and texts from MATLAB's files (version 5 to 7), strictly.

SciPy's reader ends the whole process for some damaged files, so this one checks each size before it reads. Sources:
MathWorks, "MAT-File Format", version 5 (data elements, array flags, compressed elements).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpf_core.errors import DataError

_HEADER = 128
_COMPRESSED, _MATRIX = 15, 14
# Types of stored numbers, and of an array's class.
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _CHAR, _COMPLEX = 1, 4, 0x08
_MOST_PACKED = 1100  # zlib packs no better
_DEEPEST = 4  # cells in cells


class _Damaged(ValueError):
    """A file that isn't what its sizes say."""


@dataclass
class _Bytes:
    """A part of the file that is read from its start; `order` is "<" or ">"."""

    content: memoryview
    order: str
    at: int = 0

    def element(self) -> tuple[int, memoryview]:
        """The type and data of the next element."""
        (word,) = struct.unpack_from(f"{self.order}I", self._take(4))
        if word >> 16:  # small: its size and at most four bytes stand in the tag itself
            kind, size = word & 0xFFFF, word >> 16
            if size > 4:
                raise _Damaged(f"a small element has {size} bytes")
            return kind, self._take(4)[:size]
        (size,) = struct.unpack_from(f"{self.order}I", self._take(4))
        data = self._take(size)
        if word != _COMPRESSED:
            self.at = min(self.at + -size % 8, len(self.content))
        return word, data

    def _take(self, size: int) -> memoryview:
        if self.at + size > len(self.content):
            raise _Damaged(f"it ends before {self.at + size:,} bytes of an element")
        self.at += size
        return self.content[self.at - size : self.at]

    @property
    def is_over(self) -> bool:
        return self.at >= len(self.content)


def read_matlab_arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read the named variables of a MATLAB file; missing ones are left out.

    Returns:
        Arrays of numbers as they are stored; texts as arrays of str, one for each row; cells as arrays of such arrays.

    Raises:
        OSError: the file can't be opened.
        DataError: the file is damaged, or a named variable is no array of real numbers, text or cells of these.
    """
    content = memoryview(path.read_bytes())
    try:
        if len(content) < _HEADER or content[126:128] not in (b"IM", b"MI"):
            raise _Damaged("it has no header of MATLAB 5 to 7")
        order = "<" if content[126:128] == b"IM" else ">"
        found = {}
        for part in _matrices(_Bytes(content, order, _HEADER)):
            name, value = _matrix(part, names)
            if value is not None:
                found[name] = value
        return found
    except (_Damaged, struct.error, zlib.error, UnicodeError, OverflowError) as error:
        raise DataError(f"{path} can't be read as a MATLAB file: {error}.") from error


def _matrices(file: _Bytes) -> Iterator[_Bytes]:
    """The content of each variable."""
    while not file.is_over:
        kind, data = file.element()
        if kind == _COMPRESSED:
            unpacked = memoryview(_unpacked(data))
            kind, data = _Bytes(unpacked, file.order).element()
        if kind != _MATRIX:
            raise _Damaged(f"an element of type {kind} stands where a variable was expected")
        yield _Bytes(data, file.order)


def _unpacked(packed: memoryview) -> bytes:
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(packed, _MOST_PACKED * len(packed) + 1)
    if not unpacker.eof:
        raise _Damaged("a compressed variable is cut off")
    return content


def _matrix(part: _Bytes, names: Collection[str] | None, depth: int = 0) -> tuple[str, np.ndarray | None]:
    """A variable's name and value; None for other names than `names`. A cell's parts have no names (`names` None)."""
    order = part.order
    _, flags = part.element()
    if len(flags) != 8:
        raise _Damaged("a variable has no flags")
    (word,) = struct.unpack_from(f"{order}I", flags)
    kind, is_complex = word & 0xFF, bool(word >> 8 & _COMPLEX)
    _, sizes = part.element()
    if len(sizes) % 4 or not 8 <= len(sizes) <= 4 * 32:
        raise _Damaged("a variable has no shape")
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    count = math.prod(shape)
    if min(shape) < 0 or count > 1 << 34:
        raise _Damaged(f"a variable has the shape {shape}")
    _, letters = part.element()
    name = bytes(letters).decode("latin-1")
    if names is not None and name not in names:
        return name, None
    if kind == _CELL and depth < _DEEPEST and count <= len(part.content):
        return name, _cell(part, shape, count, depth)
    if is_complex or kind not in (*_CLASSES, _CHAR):
        raise _Damaged(f"the variable '{name}' is no array of real numbers or text")
    stored, data = part.element()
    return name, _text(stored, data, shape, order) if kind == _CHAR else _numbers(stored, data, shape, order, kind)


def _numbers(stored: int, data: memoryview, shape: tuple[int, ...], order: str, kind: int) -> np.ndarray:
    if stored not in _STORED:
        raise _Damaged(f"numbers are stored as type {stored}")
    numbers = np.frombuffer(data, np.dtype(order + _STORED[stored])) if len(data) else np.zeros(0)
    if numbers.size != math.prod(shape):
        raise _Damaged(f"an array of the shape {shape} has {numbers.size:,} numbers")
    return numbers.reshape(shape, order="F").astype(_CLASSES[kind])


def _text(stored: int, data: memoryview, shape: tuple[int, ...], order: str) -> np.ndarray:
    if stored not in _TEXTS or len(shape) != 2:
        raise _Damaged(f"a text is stored as type {stored} with the shape {shape}")
    coding = _TEXTS[stored]
    endian = {"<": "-le", ">": "-be"}[order] if coding in ("utf-16", "utf-32") else ""
    letters = bytes(data).decode(coding + endian)
    if len(letters) != math.prod(shape):
        raise _Damaged(f"a text of the shape {shape} has {len(letters):,} letters")
    rows = ["".join(letters[row :: shape[0]]) for row in range(shape[0])]
    return np.array([row.rstrip() for row in rows], dtype=str)


def _cell(part: _Bytes, shape: tuple[int, ...], count: int, depth: int) -> np.ndarray:
    values = np.empty(count, dtype=object)
    for place in range(count):
        kind, data = part.element()
        if kind != _MATRIX:
            raise _Damaged(f"a cell holds an element of type {kind}")
        values[place] = _matrix(_Bytes(data, part.order), None, depth + 1)[1] if len(data) else np.zeros((0, 0))
    return values.reshape(shape, order="F")
