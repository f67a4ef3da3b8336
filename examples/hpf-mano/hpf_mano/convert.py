"""`hpf-mano-convert`: converts MANO's pickle to the safetensors file of the hand model.

The command checks the hand and mirrors left hands, because HPF's hands are right ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpf.plugin import DataError, HPFError, InputError, bytes_key
from hpf_mano import anatomy
from hpf_mano.asset import POSES, SHAPES, Asset, palm_axes, problem_of, write
from hpf_mano.unpickle import arrays_of

KEYS = (
    *("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f"),
    *("hands_components", "hands_mean", "hands_coeffs"),
)
_UNDECIDED = 0.05  # rad: a mean pose with less bending in all joints together doesn't show the side


def convert(source: Path, target: Path, side: str = "auto") -> str:
    """Convert a pickle; returns a summary in words.

    Args:
        source: MANO_RIGHT.pkl or MANO_LEFT.pkl.
        target: the safetensors file to write; an existing file is replaced.
        side: "right", "left", or "auto": from the direction in which the mean pose bends the fingers.

    Raises:
        InputError: a file is unreadable, or isn't MANO's; nothing was written.
        RunError: the result isn't writable.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise InputError(f"{target} is the file to convert: name another one for the result.")
    asset = _asset(arrays_of(source, KEYS), source)
    if problem := problem_of(asset):
        raise DataError(f"{source}: {problem}.")
    found = _side(asset) if side == "auto" else side
    if not found:
        raise DataError(f"{source}: its mean pose doesn't tell a left hand from a right one; add `--side right`.")
    if found == "left":
        asset = mirrored(asset)
    write(target, asset, {"side": found, "sha256": bytes_key(source.read_bytes())})
    count = f"{len(asset.v_template)} vertices, {len(asset.faces)} faces"
    return f"{target}: a right hand of {count}" + (", mirrored from a left one." if found == "left" else ".")


def mirrored(asset: Asset) -> Asset:
    """The hand of the other side: its mirror image across x.

    With S = diag(-1, 1, 1), a rotation R becomes S R S, so a rotation vector (a, b, c) becomes (a, -b, -c).
    """
    sign = np.array([-1.0, 1.0, 1.0])
    entries = np.tile(np.outer(sign, sign).ravel(), POSES // 3)
    turns = np.tile([1.0, -1.0, -1.0], POSES // 3)
    return Asset(
        v_template=asset.v_template * sign,
        shapedirs=asset.shapedirs * sign[:, None],
        posedirs=asset.posedirs * sign[:, None] * entries,
        regressor=asset.regressor,
        weights=asset.weights,
        faces=asset.faces[:, ::-1],
        components=asset.components * turns,
        mean=asset.mean * turns,
        deviations=asset.deviations,
    )


def _asset(found: dict[str, np.ndarray], source: Path) -> Asset:
    """The hand model's inputs from the arrays; checks the skeleton but not yet the values."""
    tree = found["kintree_table"]
    for name in ("kintree_table", "f"):
        if found[name].dtype.kind not in "iu":
            raise DataError(f"{source}: {name} has entries of type {found[name].dtype}, not whole numbers.")
    if tree.shape != (2, anatomy.JOINTS):
        raise DataError(f"{source}: kintree_table is {tree.shape}, not (2, 16): is it MANO itself, not SMPL or SMPL+H?")
    # MANO stores 2^32 - 1 as the root's parent.
    column = {int(joint): k for k, joint in enumerate(tree[1])}
    parents = (-1, *(column.get(int(parent), -1) for parent in tree[0, 1:]))
    if parents != anatomy.PARENTS:
        raise DataError(f"{source}: the skeleton isn't MANO's, five chains of three joints from the wrist: {parents}.")
    coefficients = found["hands_coeffs"]
    if coefficients.ndim != 2 or len(coefficients) < 2 or coefficients.shape[1] != POSES:
        raise DataError(f"{source}: hands_coeffs is {coefficients.shape}, not (poses, {POSES}).")
    shapes = found["shapedirs"]
    if shapes.ndim != 3 or shapes.shape[2] < SHAPES:
        raise DataError(f"{source}: shapedirs is {shapes.shape}, not (vertices, 3, {SHAPES}).")
    return Asset(
        v_template=found["v_template"].astype(np.float64),
        shapedirs=shapes[..., :SHAPES].astype(np.float64),
        posedirs=found["posedirs"].astype(np.float64),
        regressor=found["J_regressor"].astype(np.float64),
        weights=found["weights"].astype(np.float64),
        faces=found["f"].astype(np.int64),
        components=found["hands_components"].astype(np.float64),
        mean=found["hands_mean"].astype(np.float64).ravel(),
        deviations=coefficients.astype(np.float64).std(axis=0),
    )


def _side(asset: Asset) -> str:
    """ "right", "left", or nothing where the mean pose doesn't say.

    Fingers bend towards the palm's surface. About the axis from the little finger's knuckle to the index finger's, this
    is a positive rotation in a right hand and a negative one in a left hand.
    """
    fingers = asset.mean.reshape(-1, 3)[: anatomy.THUMB - 1]
    bent = float((fingers @ palm_axes(asset.joints())[0]).sum())
    return "" if abs(bent) < _UNDECIDED else "right" if bent > 0 else "left"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 2 for wrong input, 1 if the result isn't writable."""
    parser = argparse.ArgumentParser(
        prog="hpf-mano-convert",
        description="Convert MANO's pickle to the safetensors file that HPF's hand model `mano` reads. Nothing in the "
        "pickle is run.",
        epilog="Example: hpf-mano-convert MANO_RIGHT.pkl mano_right.safetensors",
    )
    parser.add_argument("source", type=Path, help="MANO_RIGHT.pkl, from https://mano.is.tue.mpg.de")
    parser.add_argument("target", type=Path, help="the file to write, NAME.safetensors; an older one is replaced")
    parser.add_argument("--side", choices=("auto", "right", "left"), default="auto", help="which hand the file holds")
    given = parser.parse_args(arguments)
    try:
        print(convert(given.source, given.target, given.side))
    except HPFError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
