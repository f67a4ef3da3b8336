"""Small files in MANO's format for the tests, and MANO's skinning in plain loops.

The hand is made of tubes, not of scans, and is pickled as in Python 2. It is a right hand, in metres and in the frame
of MANO's right hand: fingers along -x, the palm's surface towards -y, the thumb's side towards +z. It has MANO's joints
and keys, and fewer vertices.
"""

from __future__ import annotations

import io
import itertools
import math
import pickle
import struct
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from safetensors.numpy import load_file

AROUND = 8
# Root of each finger (x, y, z), the lengths of its segments and its radius, mm: index, middle, little, ring, thumb.
FINGERS = (
    ((0.0, 0.0, 22.0), (38.0, 23.0, 24.0), 8.5),
    ((-3.0, 0.0, 2.0), (42.0, 26.0, 25.0), 8.8),
    ((8.0, 0.0, -34.0), (31.0, 18.0, 21.0), 7.2),
    ((2.0, 0.0, -17.0), (38.0, 24.0, 24.0), 8.2),
    ((62.0, -8.0, 26.0), (43.0, 32.0, 28.0), 10.5),
)
THUMB_ALONG = np.array([-0.72, -0.15, 0.68])
WRIST_X = 86.0


class Ch:
    """Replaces chumpy's class of this name: an array in its attribute x."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x
        self._dirty_vars: set[str] = {"x"}
        self._itr = None


class Select:
    """Replaces chumpy's class of this name, an expression."""

    def __init__(self, a: Any, idxs: np.ndarray, preferred_shape: tuple[int, ...]) -> None:
        self.a, self.idxs, self.preferred_shape = a, idxs, preferred_shape


class csc_matrix:
    """Replaces SciPy's class of this name."""

    def __init__(self, dense: np.ndarray) -> None:
        column, row = np.nonzero(dense.T)
        self._shape, self.maxprint, self.format = dense.shape, 50, "csc"
        self.data, self.indices = dense[row, column], row.astype(np.int32)
        self.indptr = np.searchsorted(column, np.arange(dense.shape[1] + 1)).astype(np.int32)


_NAMES = {
    Ch: ("chumpy.ch", "Ch"),
    Select: ("chumpy.reordering", "Select"),
    csc_matrix: ("scipy.sparse.csc", "csc_matrix"),
    set: ("__builtin__", "set"),
    np.ndarray: ("numpy", "ndarray"),
    np.dtype: ("numpy", "dtype"),
    np.zeros(1).__reduce__()[0]: ("numpy.core.multiarray", "_reconstruct"),
}


class Python2(pickle._Pickler):
    """Writes protocol 2 as Python 2 did: strings are bytes, and modules have their names of that time."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=2)

    def save_string(self, value: str | bytes) -> None:
        raw = value.encode("latin-1") if isinstance(value, str) else value
        self.write(b"T" + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module, name = _NAMES.get(obj, (obj.__module__, obj.__qualname__))
        self.write(f"c{module}\n{name}\n".encode())
        self.memoize(obj)

    dispatch[type] = save_global


def as_python2(content: Any) -> bytes:
    """A pickle as Python 2 writes it."""
    buffer = io.BytesIO()
    Python2(buffer).dump(content)
    return buffer.getvalue()


def write_pickle(path: Path, content: Any) -> Path:
    path.write_bytes(as_python2(content))
    return path


def little_hand(*, published: bool = True) -> dict[str, Any]:
    """Content of a MANO pickle: `published` with its chumpy and SciPy objects, else only with arrays."""
    skin = _Skin()
    vertices = np.array(skin.vertices) / 1000
    count = len(vertices)
    draw = np.random.default_rng(7)
    regressor = np.zeros((16, count))
    for joint, ring in skin.rings.items():
        regressor[joint, ring] = 1 / len(ring)
    shapes = 4e-4 * draw.standard_normal((count, 3, 20))  # the shapes of people are noise, except for the first: size
    shapes[:, :, 0] = 0.05 * (vertices - vertices.mean(axis=0))
    mean = np.zeros((15, 3))
    mean[:12, 2] = np.tile([0.3, 0.4, 0.2], 4)  # about +z, fingers bend towards -y
    parents = np.array([2**32 - 1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14], dtype=np.int64)
    ten = np.arange(count * 3)[:, None] * 20 + np.arange(10)
    return {
        "v_template": vertices,
        "shapedirs": Select(Ch(shapes), ten.ravel(), (count, 3, 10)) if published else shapes[..., :10],
        "posedirs": np.asfortranarray(2e-4 * draw.standard_normal((count, 3, 135))),
        "J_regressor": csc_matrix(regressor) if published else regressor,
        "J": regressor @ vertices,
        "weights": np.array(skin.weights),
        "kintree_table": np.stack([parents, np.arange(16)]),
        "f": np.array(skin.faces, dtype=np.uint32),
        "hands_components": np.linalg.qr(draw.standard_normal((45, 45)))[0],
        "hands_mean": mean.ravel(),
        "hands_coeffs": draw.standard_normal((60, 45)) * np.linspace(0.5, 0.02, 45),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


class _Skin:
    """A palm with an open wrist, and five closed fingers that begin inside of it."""

    def __init__(self) -> None:
        self.vertices: list[np.ndarray] = []
        self.weights: list[np.ndarray] = []
        self.faces: list[tuple[int, int, int]] = []
        self.rings: dict[int, list[int]] = {}
        stations = [(x, 0.0) for x in (WRIST_X + 10, WRIST_X, 60.0, 30.0, 5.0, -4.0)]
        sizes = [(10.0, 27.0), (11.0, 28.0), (14.0, 34.0), (14.0, 40.0), (12.0, 42.0), (7.0, 36.0)]
        rings = [
            self._ring(np.array([x, 0.0, -5.0]), np.array([0, a, 0]), np.array([0, 0, b]), {0: 1.0})
            for (x, _), (a, b) in zip(stations, sizes, strict=True)
        ]
        self.rings[0] = rings[1]
        self._tube(rings, None, np.array([-8.0, 0.0, -5.0]), {0: 1.0})
        for finger, (start, lengths, radius) in enumerate(FINGERS):
            self._finger(1 + 3 * finger, np.array(start), lengths, radius)

    def _finger(self, first: int, start: np.ndarray, lengths: tuple[float, ...], radius: float) -> None:
        along = np.array([-1.0, 0.0, 0.0]) if first < 13 else THUMB_ALONG / np.linalg.norm(THUMB_ALONG)
        up = np.array([0.0, 1.0, 0.0]) - along[1] * along
        up /= np.linalg.norm(up)
        side = np.cross(up, along)
        ends = np.cumsum([0.0, *lengths])
        rings = []
        for k in range(3):
            joint, before = first + k, 0 if k == 0 else first + k - 1
            for at, share in ((0.0, 0.5), (0.35, 1.0), (0.7, 1.0)):
                size = radius * (1 - 0.08 * (k + at))
                where = start + along * (ends[k] + at * lengths[k])
                rings.append(self._ring(where, up * size, side * size, {joint: share, before: 1 - share}))
                if at == 0.0:
                    self.rings[joint] = rings[-1]
        self._tube(rings, start - along * radius * 1.5, start + along * ends[3], {first + 2: 1.0}, {0: 1.0})

    def _ring(self, middle: np.ndarray, one: np.ndarray, two: np.ndarray, weights: dict[int, float]) -> list[int]:
        turns = 2 * np.pi * np.arange(AROUND) / AROUND
        return [self._vertex(middle + np.cos(t) * one + np.sin(t) * two, weights) for t in turns]

    def _vertex(self, where: np.ndarray, weights: dict[int, float]) -> int:
        row = np.zeros(16)
        for joint, share in weights.items():
            row[joint] += share
        self.vertices.append(where)
        self.weights.append(row)
        return len(self.vertices) - 1

    def _tube(
        self,
        rings: list[list[int]],
        root: np.ndarray | None,
        tip: np.ndarray,
        weights: dict[int, float],
        at_root: dict[int, float] | None = None,
    ) -> None:
        pairs = [(k, (k + 1) % AROUND) for k in range(AROUND)]
        for near, far in itertools.pairwise(rings):
            for a, b in pairs:
                self.faces += [(near[a], far[b], near[b]), (near[a], far[a], far[b])]
        end = self._vertex(tip, weights)
        self.faces += [(rings[-1][a], end, rings[-1][b]) for a, b in pairs]
        if root is not None:
            begin = self._vertex(root, at_root or weights)
            self.faces += [(rings[0][b], begin, rings[0][a]) for a, b in pairs]


# ------------------------------------------------------------------------------------------------- plain float64 loops


def rodrigues(vector: np.ndarray) -> np.ndarray:
    angle = math.sqrt(float(vector @ vector))
    if angle == 0:
        return np.eye(3)
    x, y, z = vector / angle
    c, s = math.cos(angle), math.sin(angle)
    return np.array(
        [
            [c + x * x * (1 - c), x * y * (1 - c) - z * s, x * z * (1 - c) + y * s],
            [y * x * (1 - c) + z * s, c + y * y * (1 - c), y * z * (1 - c) - x * s],
            [z * x * (1 - c) - y * s, z * y * (1 - c) + x * s, c + z * z * (1 - c)],
        ]
    )


def reference(file: Path, angles: np.ndarray, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and joints (16, 3) m in MANO's frame, without rotation of the wrist.

    Eqs. 2-4 and 6-10 of SMPL, computed number by number.

    Args:
        file: the converted model.
        angles: (15, 3) rad, full rotation vectors.
        shape: (10,).
    """
    model = {name: values.astype(np.float64) for name, values in load_file(file).items()}
    count = len(model["v_template"])
    rotations = [np.eye(3)] + [rodrigues(vector) for vector in angles]
    shaped = model["v_template"].copy()
    for v in range(count):
        for b in range(10):
            shaped[v] += shape[b] * model["shapedirs"][v, :, b]
    straight = np.zeros((16, 3))
    for j in range(16):
        for v in range(count):
            straight[j] += model["regressor"][j, v] * shaped[v]
    blended = shaped.copy()
    for v in range(count):
        entry = 0
        for j in range(1, 16):
            for row in range(3):
                for column in range(3):
                    share = rotations[j][row, column] - (1.0 if row == column else 0.0)
                    blended[v] += share * model["posedirs"][v, :, entry]
                    entry += 1
    world = []
    for j in range(16):
        own = np.eye(4)
        own[:3, :3] = rotations[j]
        parent = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)[j]
        own[:3, 3] = straight[j] - (straight[parent] if parent >= 0 else 0)
        world.append(own if parent < 0 else world[parent] @ own)
    skin = np.zeros((count, 3))
    for v in range(count):
        mixed = np.zeros((4, 4))
        for j in range(16):
            back = np.eye(4)
            back[:3, 3] = -straight[j]
            mixed += model["weights"][v, j] * (world[j] @ back)
        skin[v] = (mixed @ [*blended[v], 1.0])[:3]
    return skin, np.array([transform[:3, 3] for transform in world])
