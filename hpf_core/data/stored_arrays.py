"""NumPy's files of arrays that are damaged."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib

UNREADABLE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, SyntaxError, OverflowError, MemoryError),
    *(RuntimeError, zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)
"""All that `numpy.load` and its archives raise for damaged files (seen on mutated ones); NotImplementedError is a
RuntimeError."""
