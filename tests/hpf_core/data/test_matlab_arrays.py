"""MATLAB's files, compared with SciPy's reader and writer."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from hpf_core.data.matlab_arrays import read_matlab_arrays
from hpf_core.errors import DataError


@pytest.mark.parametrize("packed", [False, True])
def test_the_same_arrays_as_scipys(tmp_path: Path, packed: bool) -> None:
    draw = np.random.default_rng(0)
    held = {
        "doubles": draw.normal(size=(3, 4, 5, 2)),
        "singles": draw.normal(size=(2, 7)).astype(np.float32),
        "bytes": draw.integers(0, 255, (4, 4)).astype(np.uint8),
        "longs": draw.integers(-(2**60), 2**60, (1, 3)),
        "empty": np.zeros((0, 3)),
        "names": np.array([["wrist", "tip"]], dtype=object),
        "rows": np.array(["one  ", "three"]),
        "record": {"a": 1.0},
    }
    scipy.io.savemat(tmp_path / "a.mat", held, do_compression=packed)
    wanted = [name for name in held if name != "record"]
    found, theirs = read_matlab_arrays(tmp_path / "a.mat", wanted), scipy.io.loadmat(tmp_path / "a.mat")
    assert set(found) == set(wanted)
    for name in ("doubles", "singles", "bytes", "longs", "empty"):
        np.testing.assert_array_equal(found[name], theirs[name])
        assert found[name].dtype == theirs[name].dtype
    assert [str(one[0]) for one in np.ravel(found["names"])] == ["wrist", "tip"]
    assert found["rows"].tolist() == ["one", "three"]
    assert read_matlab_arrays(tmp_path / "a.mat", ["nothing"]) == {}
    with pytest.raises(DataError, match="'record' is no array"):
        read_matlab_arrays(tmp_path / "a.mat", ["record"])


def test_numbers_that_matlab_stored_in_fewer_bytes(tmp_path: Path) -> None:
    """MATLAB writes doubles that are small whole numbers as bytes; here by hand, in both byte orders."""
    for order, mark in (("<", b"IM"), (">", b"MI")):
        flags = struct.pack(f"{order}IIII", 6, 8, 6, 0)
        shape = struct.pack(f"{order}IIii", 5, 8, 1, 3)
        name = struct.pack(f"{order}I", 1 << 16 | 1) + b"x\0\0\0"
        data = struct.pack(f"{order}I", 3 << 16 | 2) + b"\x07\x08\x09\0"
        body = flags + shape + name + data
        head = b"MATLAB 5.0".ljust(124) + struct.pack(f"{order}H", 0x0100) + mark
        path = tmp_path / "x.mat"
        path.write_bytes(head + struct.pack(f"{order}II", 14, len(body)) + body)
        np.testing.assert_array_equal(read_matlab_arrays(path, ["x"])["x"], [[7.0, 8.0, 9.0]])


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.array([[1 + 2j]]), "no array of real numbers"), (scipy.sparse.eye_array(3).tocsc(), "no array of real")],
    ids=["complex", "sparse"],
)
def test_other_kinds_are_named(tmp_path: Path, value: object, message: str) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"x": value})
    with pytest.raises(DataError, match=message):
        read_matlab_arrays(tmp_path / "a.mat", ["x"])
