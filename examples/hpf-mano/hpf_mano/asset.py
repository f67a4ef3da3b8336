"""The converted model: its arrays, their validity, and its file.

Units and names are MANO's own: metres, radians. It is always a right hand: the converter mirrors left hands.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hpf.plugin import DataError, PluginError, write_atomic
from hpf_mano import anatomy

SHAPES, POSES = 10, 45
FORMAT = "hpf-mano 1"
CONVERT = "hpf-mano-convert MANO_RIGHT.pkl mano_right.safetensors"
_LONGEST_M = (0.08, 0.40)  # range of the extent of valid templates


@dataclass(frozen=True)
class Asset:
    """MANO's numbers, float64 in memory and float32 on disk; V vertices, F faces.

    Attributes:
        v_template: (V, 3) m, the mean hand, all joints straight.
        shapedirs: (V, 3, 10) m, displacement by one unit of each shape parameter (a standard deviation).
        posedirs: (V, 3, 135) m, displacement by each entry of the 15 joints' rotation matrices minus the identity, in
            the order of joints, rows, columns.
        regressor: (16, V), the joints as means of vertices; rows sum to 1.
        weights: (V, 16), weight of each joint on each vertex; rows sum to 1.
        faces: (F, 3) int64.
        components: (45, 45), rows are the principal axes of 15 rotation vectors.
        mean: (45,) rad, the mean pose.
        deviations: (45,), the standard deviation along each axis.
    """

    v_template: np.ndarray
    shapedirs: np.ndarray
    posedirs: np.ndarray
    regressor: np.ndarray
    weights: np.ndarray
    faces: np.ndarray
    components: np.ndarray
    mean: np.ndarray
    deviations: np.ndarray

    def joints(self) -> np.ndarray:
        """(16, 3) m of the mean hand."""
        return self.regressor @ self.v_template


def palm_axes(joints: np.ndarray) -> np.ndarray:
    """(3, 3), rows are the axes of the hand's own frame (`docs/geometry.md` of HPF), of joints (16, 3).

    x is the direction across the palm from the little finger's side to the index finger's. y goes from the middle
    finger's knuckle to the wrist. z = x cross y: for a right hand it goes from the palm's surface to its back, for a
    left hand the other way.
    """
    y = joints[anatomy.WRIST] - joints[anatomy.MIDDLE]
    y = y / np.linalg.norm(y)
    x = joints[anatomy.INDEX] - joints[anatomy.LITTLE]
    x = x - (x @ y) * y
    x = x / np.linalg.norm(x)
    return np.stack([x, y, np.cross(x, y)])


def problem_of(asset: Asset) -> str:
    """The error of invalid numbers, in words; empty for valid ones."""
    count, faces = (shape[0] if shape else 0 for shape in (asset.v_template.shape, asset.faces.shape))
    wanted = {
        "v_template": (count, 3),
        "shapedirs": (count, 3, SHAPES),
        "posedirs": (count, 3, 3 * POSES),
        "regressor": (anatomy.JOINTS, count),
        "weights": (count, anatomy.JOINTS),
        "faces": (faces, 3),
        "components": (POSES, POSES),
        "mean": (POSES,),
        "deviations": (POSES,),
    }
    for name, shape in wanted.items():
        found = getattr(asset, name)
        if found.shape != shape:
            return f"{name} is {found.shape}, not {shape}"
        if not np.isfinite(found).all():
            return f"{name} has entries that aren't finite"
    if count == 0 or faces == 0:
        return "there is no skin"
    if asset.faces.min() < 0 or asset.faces.max() >= count:
        return f"a face has a number that is none of the {count} vertices'"
    for name, rows in (("weights", asset.weights), ("regressor", asset.regressor)):
        if np.abs(rows.sum(axis=1) - 1).max() > 1e-3:
            return f"rows of {name} don't sum to 1"
    if (asset.deviations < 0).any():
        return "a standard deviation is below 0"
    return _misplaced(asset)


def _misplaced(asset: Asset) -> str:
    """The error of an implausible hand, in words."""
    longest = float(np.ptp(asset.v_template, axis=0).max())
    if not _LONGEST_M[0] < longest < _LONGEST_M[1]:
        return f"the hand is {longest:g} m long: MANO's is in metres"
    edges = np.concatenate([asset.faces[:, [0, 1]], asset.faces[:, [1, 2]], asset.faces[:, [2, 0]]])
    if len(np.unique(edges, axis=0)) < len(edges):
        return "two faces go along an edge in the same direction: the skin isn't a surface"
    moved = np.bincount(asset.weights.argmax(axis=1), minlength=anatomy.JOINTS)
    if (moved[list(anatomy.LAST_JOINTS)] < 3).any():
        return "a finger's last joint moves no skin"
    joints = asset.joints()
    across = (joints @ palm_axes(joints)[0])[[anatomy.LITTLE, anatomy.RING, anatomy.MIDDLE, anatomy.INDEX]]
    if not (np.diff(across) > 0).all():
        return "the knuckles of index, middle, ring and little finger aren't in this order: joints are not MANO's"
    return ""


def write(path: Path, asset: Asset, about: dict[str, str]) -> None:
    """Write the file atomically.

    Raises:
        RunError: the file isn't writable.
    """
    tensors = {
        field.name: np.ascontiguousarray(value, dtype=np.int64 if field.name == "faces" else np.float32)
        for field in fields(Asset)
        for value in [getattr(asset, field.name)]
    }
    data = save(tensors, metadata={"format": FORMAT, **about})

    def fill(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_atomic(path, fill)


def read(path: str) -> Asset:
    """The converted model.

    Raises:
        PluginError: no file is named, the file is missing, or the converter didn't write it.
    """
    if not path.strip():
        raise PluginError(_help("no file is given: its option `path` is empty"))
    file = Path(path).expanduser()
    if not file.is_file():
        raise PluginError(_help(f"there is no file {file}"))
    try:
        with safe_open(file, framework="np") as stored:
            about = stored.metadata() or {}
            found = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  it is no mapping
    except (SafetensorError, OSError) as error:
        raise PluginError(_help(f"{file} is no safetensors file, or is damaged ({error})")) from None
    names = {field.name for field in fields(Asset)}
    if about.get("format") != FORMAT or set(found) != names:
        raise PluginError(_help(f"{file} isn't a file that `hpf-mano-convert` of this version wrote"))
    asset = Asset(**{name: value.astype(np.int64 if name == "faces" else np.float64) for name, value in found.items()})
    if problem := problem_of(asset):
        raise DataError(f"{file}: {problem}. Convert MANO's own file again: {CONVERT}")
    return asset


def _help(problem: str) -> str:
    return (
        f"The hand model 'mano' needs MANO's own file, which its licence forbids to ship: {problem}. Get "
        f"MANO_RIGHT.pkl at https://mano.is.tue.mpg.de, convert it by `{CONVERT}`, and name the result: "
        "hand: {use: mano, path: mano_right.safetensors}"
    )
