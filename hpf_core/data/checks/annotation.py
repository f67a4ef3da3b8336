"""Checks of a split's annotation: internal consistency, agreement between views, and comparison with depth maps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from hpf_core.data.calibration import calibrate
from hpf_core.data.checks.findings import Finding, counted, first_of
from hpf_core.data.layouts import nyu
from hpf_core.data.layouts.base import unannotated
from hpf_core.errors import DataError
from hpf_core.geometry.rigid import apply_rigid

_OFF_PX, _OFF_MM = 2.0, 1.0  # distance of joint_uvd from the projection of joint_xyz; NYU's own rounding is smaller
_RESIDUAL_MM = (5.0, 30.0)  # the calibration's residual: the first limit causes a warning, the second a failure
_FRAME_OFF_MM = 10.0
_BEHIND_MM = (-15.0, 60.0)  # range of joints behind the visible surface: inside the hand, or inside two fingers
_WITHIN = (0.6, 0.2)  # share of the joints within this range: the first limit causes a warning, the second a failure
_CLEARLY = 0.25  # share of the joints by which the other sign of y must fit better
_LOST = 0.6  # from this share of pixels without return around the hand, a warning follows
_REACH_MM = (200.0, 1999.0)
_UNITS = {"metres": 1000.0, "centimetres": 10.0, "tenths of a millimetre": 0.1}
_HAND_MM, _AWAY_MM = (60.0, 300.0), (200.0, 3000.0)  # length and distance of a hand in the right unit


def check_annotation(split: Path, annotation: nyu.Annotation, views: tuple[int, ...], frames: int) -> Iterator[Finding]:
    """Check `joint_data.mat` by itself."""
    xyz, file = annotation.xyz, (nyu.LABELS_FILE,)
    if xyz.shape[0] <= max(views) or xyz.shape[1] < frames:
        yield Finding(
            "annotation",
            "failed",
            f"{split / nyu.LABELS_FILE} has {xyz.shape[1]:,} frames of {xyz.shape[0]} views, but there are "
            f"images of {frames:,} frames and of view {max(views) + 1}",
            file,
        )
        return
    xyz = xyz[list(views), :frames]
    if (unit := _unit(xyz)) is not None:
        yield unit
        return
    bad = ~np.isfinite(xyz).all(axis=(0, 2, 3))
    blank = unannotated(xyz).any(axis=0) & ~bad
    if blank.all():
        said = "no frame has a hand before the camera with joints apart from each other"
        yield Finding("annotation", "failed", said, file)
        return
    xyz = np.where(blank[:, None, None], np.nan, xyz)
    if bad.any():
        names = _frames(bad)
        yield Finding(
            "annotation", "failed", f"joints of {counted(len(names), 'frame')} aren't numbers: {first_of(names)}", names
        )
    elif blank.any():
        names = _frames(blank)
        yield Finding(
            "annotation",
            "warning",
            f"{counted(len(names), 'frame')} of {xyz.shape[1]:,} not annotated: joints are 0, -1, or in one place, and "
            f"don't count: {first_of(names)}",
            names,
        )
    else:
        yield Finding(
            "annotation", "ok", f"{counted(xyz.shape[1], 'frame')}, {xyz.shape[2]} joints, all of them numbers"
        )
    yield _names(annotation.names)
    yield _pixels(split, xyz, views)
    yield _image(xyz)
    yield _distance(xyz)


def _unit(xyz: np.ndarray) -> Finding | None:
    """Compare the size and distance of the hands with those of other units than mm."""
    with np.errstate(invalid="ignore"):
        size = np.ptp(xyz, axis=-2).max(axis=-1)
    hand = np.isfinite(size) & (size > 0)
    if not hand.any():
        return None
    extent, away = float(np.median(size[hand])), float(np.median(xyz[hand][..., 2]))
    for unit, factor in _UNITS.items():
        if _HAND_MM[0] <= extent * factor <= _HAND_MM[1] and _AWAY_MM[0] <= away * factor <= _AWAY_MM[1]:
            said = (
                f"hands are {extent:.3g} mm long at {away:.4g} mm: joint_xyz is in {unit}, and must be multiplied by "
                f"{factor:g}"
            )
            return Finding("annotation", "failed", said, (nyu.LABELS_FILE,))
    return None


def _names(names: tuple[str, ...]) -> Finding:
    if names == nyu.JOINTS:
        return Finding("joints", "ok", "named as NYU's, in its order")
    where = next(k for k, (a, b) in enumerate(zip((*names, ""), (*nyu.JOINTS, ""), strict=False)) if a != b)
    shuffled = sorted(names) == sorted(nyu.JOINTS)
    wanted = nyu.JOINTS[min(where, len(nyu.JOINTS) - 1)]
    found = repr(names[where]) if where < len(names) else "nothing"
    return Finding(
        "joints",
        "failed" if shuffled else "warning",
        f"joint {where + 1} is {found}, but {wanted!r} was expected; joints are used by their number",
        (nyu.LABELS_FILE,),
    )


def _pixels(split: Path, xyz: np.ndarray, views: tuple[int, ...]) -> Finding:
    """Compare `joint_uvd` with the projection of `joint_xyz`."""
    try:
        stored = nyu.read_uvd(split)
    except DataError as error:
        return Finding("joint_uvd", "failed", str(error), (nyu.LABELS_FILE,))
    if stored is None or stored.shape[0] <= max(views) or stored.shape[1] < xyz.shape[1]:
        return Finding("joint_uvd", "warning", "is missing or of another size; it isn't needed", (nyu.LABELS_FILE,))
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.abs(stored[list(views), : xyz.shape[1]] - nyu.CAMERA.project(xyz))
    pixels, depth = float(np.nanmax(off[..., :2], initial=0)), float(np.nanmax(off[..., 2], initial=0))
    said = f"joint_uvd is up to {pixels:.2f} px and {depth:.2f} mm from the projection of joint_xyz"
    fits = pixels <= _OFF_PX and depth <= _OFF_MM
    return Finding("joint_uvd", "ok" if fits else "warning", said if fits else f"{said}; other intrinsics?")


def _image(xyz: np.ndarray) -> Finding:
    """Check that joints lie inside the image."""
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v, z = np.moveaxis(nyu.CAMERA.project(xyz), -1, 0)
    out = (u < 0) | (u >= nyu.CAMERA.width) | (v < 0) | (v >= nyu.CAMERA.height) | (z <= 0)
    share = float(out.mean())
    if not out.any():
        return Finding("in the image", "ok", "all joints are")
    names = _frames(out.any(axis=(0, 2)))
    return Finding(
        "in the image",
        "failed" if share > 0.5 else "warning",
        f"{share:.1%} of the joints aren't, in {counted(len(names), 'frame')}: {first_of(names)}",
        names,
    )


def _distance(xyz: np.ndarray) -> Finding:
    """Check the distance of the hands."""
    z = xyz[..., nyu.PALM_CENTRE, 2]
    z = z[np.isfinite(z)]
    if not z.size:
        return Finding("distance", "failed", "no palm has a depth", (nyu.LABELS_FILE,))
    low, middle, high = np.percentile(z, [1, 50, 99])
    said = f"palms are {low:,.0f} to {high:,.0f} mm away (1st to 99th percentile), median {middle:,.0f} mm"
    if z.min() <= 0:
        return Finding("distance", "failed", f"{said}; some lie behind the camera", (nyu.LABELS_FILE,))
    if low < _REACH_MM[0] or high > _REACH_MM[1]:
        return Finding("distance", "warning", f"{said}; the layout's sensor reaches from about 500 to 2,000 mm")
    return Finding("distance", "ok", said)


def check_calibration(annotation: nyu.Annotation, views: tuple[int, ...]) -> Iterator[Finding]:
    """Check that one rigid map takes each view's joints to the first view's, in all frames."""
    if len(views) < 2:
        yield Finding("calibration", "ok", "one view needs none")
        return
    if max(views) >= len(annotation.xyz):
        return  # already reported
    try:
        found = calibrate(annotation.xyz, views)
    except DataError as error:
        yield Finding("calibration", "failed", str(error), (nyu.LABELS_FILE,))
        return
    target = torch.from_numpy(annotation.xyz[views[0]])
    off = np.zeros(annotation.xyz.shape[1], dtype=bool)
    for view, to_rig in zip(views[1:], found.to_rig[1:], strict=True):
        moved = apply_rigid(torch.from_numpy(to_rig), torch.from_numpy(annotation.xyz[view]))
        off |= (moved - target).norm(dim=-1).nanmedian(dim=-1).values.numpy() > _FRAME_OFF_MM
    residual = ", ".join(
        f"view {view + 1}: {mm:.2f} mm" for view, mm in zip(views[1:], found.residual_mm[1:], strict=True)
    )
    said, worst, names = (
        f"in the rig that fits best, joints lie this far (median) from where view {views[0] + 1} has them: {residual}",
        found.residual_mm.max(),
        _frames(off),
    )
    if names:
        said += f"; by more than {_FRAME_OFF_MM:g} mm in {counted(len(names), 'frame')}: {first_of(names)}"
    if worst > _RESIDUAL_MM[1]:
        yield Finding("calibration", "failed", f"{said}; the views do not belong to one rig", names)
    else:
        yield Finding("calibration", "warning" if worst > _RESIDUAL_MM[0] or names else "ok", said, names)


def check_surface(behind_mm: np.ndarray, lost: np.ndarray, turned_mm: np.ndarray) -> Iterator[Finding]:
    """Compare joints with the visible surface at their pixels, and check the sensor's losses around the hand.

    Args:
        behind_mm: (K,) depth of joints behind the surface, for all joints of all decoded images.
        lost: (I,) share of the pixels around the hand without return.
        turned_mm: (L,) like `behind_mm`, for joints whose y points in the other direction.
    """
    share = float(lost.mean()) if lost.size else 1.0
    yield Finding(
        "no return",
        "warning" if share > _LOST else "ok",
        f"{share:.1%} of the pixels around the hands returned nothing",
    )
    within = _share_within(behind_mm)
    if _share_within(turned_mm) >= max(_WITHIN[0], within + _CLEARLY):
        said = (
            f"{within:.1%} of the joints lie at the surface, and {_share_within(turned_mm):.1%} with the other sign of "
            "y: in joint_xyz of NYU's layout, y points up"
        )
        yield Finding("surface", "failed", said, (nyu.LABELS_FILE,))
        return
    if not behind_mm.size:
        yield Finding(
            "surface", "failed", "no joint has a surface before it: annotation and images don't belong together"
        )
        return
    said = (
        f"{within:.1%} of the joints lie {-_BEHIND_MM[0]:g} mm before to {_BEHIND_MM[1]:g} mm behind the surface at "
        f"their pixel, the median joint {np.median(behind_mm):.0f} mm behind it"
    )
    if within < _WITHIN[1]:
        yield Finding("surface", "failed", f"{said}: annotation and images don't belong together")
    else:
        yield Finding("surface", "ok" if within >= _WITHIN[0] else "warning", said)


def _share_within(behind_mm: np.ndarray) -> float:
    """Share of joints at the surface; 0 without joints."""
    return float(((behind_mm > _BEHIND_MM[0]) & (behind_mm < _BEHIND_MM[1])).mean()) if behind_mm.size else 0.0


def _frames(marked: np.ndarray) -> tuple[str, ...]:
    """The frames' numbers on disk."""
    return tuple(f"frame {number + 1}" for number in np.flatnonzero(marked))
