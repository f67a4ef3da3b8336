"""Checks a capture that describes its own cameras, as by a `rig.yaml`.

The check measures units, directions and resolutions, and never guesses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from hpf_core.data.cameras import Camera, Rig
from hpf_core.data.checks.capture import CaptureReport, SplitReport
from hpf_core.data.checks.findings import Finding, counted, listed
from hpf_core.data.layouts.base import Layout
from hpf_core.data.layouts.capture import CaptureLayout
from hpf_core.data.sidecar import read_sidecar
from hpf_core.errors import DataError
from hpf_core.progress import Progress, no_progress

_NEAR_MM = (100.0, 1500.0, 2500.0)  # nearest surface: below the first or above the third fails, above the second warns
_BASELINE_MM = 20.0
_MULTIPLES = 0.9  # above this share of depths that are multiples of 256, the bytes count as swapped
_OFF_CENTRE = 0.2  # share of the image's size, largest distance of a principal point from the image's middle
_VIEW_DEG = (20.0, 140.0)
_POINTS = 3000  # number of an image's points in the comparison with another view
_BEHIND_MM = 500.0  # depth range behind the nearest surface in the comparison of views
_CUT_MM = 50.0  # upper limit of a difference: beyond it lies another surface
_FALLS_TO = 0.7  # another reading counts as right if it cuts the residual to this share
_CLOSE_MM = 10.0  # points nearer to the other view's surface than this belong to the same surface
_LEAST_POINTS = 2000  # least number of these points to detect half a pixel, which moves a surface by less than 1 mm
_OFF_PX = 0.3  # a simulated rig of 3 views and 6 frames has -0.1 with a correct file
_RESIDUAL_MM = 25.0  # residual between views, of at most _CUT_MM
_UNITS = {0.125: "RealSense SR300 and SR305", 0.25: "RealSense L515", 0.1: "RealSense D405", 1000.0: "metres"}


def check_rig_capture(layout: Layout, sample: int | None = 100, progress: Progress = no_progress) -> CaptureReport:
    """Check a capture that describes its own cameras: images, unit, and cameras against each other.

    Args:
        layout: reads the capture (`hpf_core.plugins.public.find_layout`).
        sample: number of decoded frames per split, evenly spaced; None for all.
        progress: receives the number of finished frames.
    """
    sidecar = read_sidecar(layout.root)
    reports = [_split(layout, split, sample, progress) for split in layout.splits()]
    findings = [*_sizes(layout.rig), *_baselines(layout.rig)]
    simulated = None if sidecar is None else sidecar.simulated
    return CaptureReport(layout.root, simulated, tuple(reports), tuple(findings), layout.name)


def _sizes(rig: Rig) -> Iterator[Finding]:
    """Check for intrinsics of another resolution."""
    wrong = []
    for name, camera in zip(rig.names, rig.cameras, strict=True):
        off_x, off_y = abs(camera.cx / (camera.width - 1) - 0.5), abs(camera.cy / (camera.height - 1) - 0.5)
        wide = math.degrees(2 * math.atan(camera.width / 2 / camera.fx))
        if max(off_x, off_y) > _OFF_CENTRE or not _VIEW_DEG[0] <= wide <= _VIEW_DEG[1]:
            wrong.append(
                f"{name} (cx, cy = {camera.cx:g}, {camera.cy:g} in {camera.width} x {camera.height}, {wide:.0f} "
                "degrees wide)"
            )
    if wrong:
        yield Finding(
            "intrinsics",
            "failed",
            f"{', '.join(wrong)}: fx, fy, cx and cy are those of another resolution. Scale them with the image's size",
        )
    else:
        yield Finding("intrinsics", "ok", "they fit the sizes of the images")


def _baselines(rig: Rig) -> Iterator[Finding]:
    if len(rig.cameras) < 2:
        yield Finding("to_rig", "ok", "one camera needs none")
        return
    if rig.to_rig is None:
        yield Finding("to_rig", "warning", "isn't known: run hpf rig calibrate, or write it (docs/own-cameras.md)")
        return
    lengths = np.linalg.norm(rig.to_rig[1:, :3, 3], axis=-1)
    said = ", ".join(f"{name} {length:,.4g} mm" for name, length in zip(rig.names[1:], lengths, strict=True))
    if (lengths < _BASELINE_MM).any():
        yield Finding(
            "to_rig",
            "failed",
            f"cameras stand this far from '{rig.names[0]}': {said}. Less than {_BASELINE_MM:g} mm: to_rig is in "
            "metres, and its last column must be multiplied by 1000",
        )
    else:
        yield Finding("to_rig", "ok", f"distances from '{rig.names[0]}': {said}")


def _split(layout: Layout, split: str, sample: int | None, progress: Progress) -> SplitReport:
    total = layout.frames(split)
    few = total if sample is None else min(sample, total)
    report = SplitReport(split, total, tuple(range(len(layout.rig.cameras))))
    report.sampled = np.unique(np.linspace(0, total - 1, few).round().astype(np.int64))
    lacking, damaged, frames = [], [], []
    for done, frame in enumerate(report.sampled.tolist()):
        seen = {}
        for view in report.views:
            if layout.path(split, view, frame) is None:
                lacking.append(f"{layout.frame_name(split, frame)} lacks {layout.rig.names[view]}")
                continue
            try:
                seen[view] = layout.read_depth(split, view, frame)
            except DataError as error:
                damaged.append(str(error).rstrip("."))
        frames.append(seen)
        progress(done + 1, len(report.sampled), f"decoding images of {split}")
    images = sum(len(seen) for seen in frames)
    report.findings.append(
        listed("images", "damaged or of another kind", damaged, f"{counted(images, 'image')} decoded")
    )
    if lacking:
        report.findings.append(Finding("views", "warning", f"{counted(len(lacking), 'view')} missing: {lacking[0]}"))
    if images:
        report.findings += _depths(layout, [depth for seen in frames for depth in seen.values()])
    if layout.rig.to_rig is not None and len(report.views) > 1:
        report.findings += _agreement(layout.rig, frames)
        report.findings += _half_pixel(layout.rig, frames)
    report.findings += _labels(layout, split)
    return report


def _encoding(layout: Layout) -> str:
    return f"`encoding: {layout.file.encoding}`" if isinstance(layout, CaptureLayout) else layout.format


def _depths(layout: Layout, images: list[np.ndarray]) -> Iterator[Finding]:
    """Check unit and byte order by the nearest surfaces."""
    near, multiples, empty = [], [], 0
    for depth in images:
        seen = depth[depth > 0]
        if seen.size < 100:
            empty += 1
            continue
        near.append(float(np.percentile(seen, 1)))
        multiples.append(float(np.mean(np.rint(seen / layout.rig.unit_mm) % 256 == 0)))
    if empty:
        most = empty > len(images) / 2
        yield Finding(
            "surface",
            "failed" if most else "warning",
            f"{counted(empty, 'image')} of {len(images):,} show no surface at all",
        )
    if not near:
        return
    nearest, unit = float(np.median(near)), layout.rig.unit_mm
    if np.median(multiples) > _MULTIPLES:
        yield Finding(
            "byte order",
            "failed",
            f"{np.median(multiples):.0%} of the depths are multiples of 256: the high and the low byte are swapped "
            f"({_encoding(layout)}), or 8-bit images were stored as 16-bit ones",
        )
    said = f"the nearest surface is {nearest:,.4g} mm away (median over the images), with unit_mm {unit:g}"
    fits = [
        f"{other:g} ({of})" for other, of in _UNITS.items() if other != unit and 250 <= nearest * other / unit <= 1200
    ]
    mend = f". A unit_mm of {' or '.join(fits)} would put it within a hand's reach" if fits else ""
    if nearest < _NEAR_MM[0] or nearest > _NEAR_MM[2]:
        yield Finding("unit", "failed", f"{said}: the depth's unit is wrong{mend}")
    elif nearest > _NEAR_MM[1]:
        yield Finding("unit", "warning", f"{said}: farther than hands are recorded{mend}")
    else:
        yield Finding("unit", "ok", said)


def _agreement(rig: Rig, frames: list[dict[int, np.ndarray]]) -> Iterator[Finding]:
    """Compare each view's surfaces with the first view's, with the poses of `rig.yaml` and with other readings."""
    poses = rig.poses
    for view in range(1, len(rig.cameras)):
        pairs = [(seen[view], seen[0]) for seen in frames if view in seen and 0 in seen]
        straight = _residual(pairs, rig.cameras[view], rig.cameras[0], poses[view])
        if straight is None:
            yield Finding("views", "warning", f"'{rig.names[view]}' shares no frame with '{rig.names[0]}'")
            continue
        turned = _residual(pairs, rig.cameras[view], rig.cameras[0], np.linalg.inv(poses[view]))
        said = f"surfaces of '{rig.names[view]}' lie {straight:.1f} mm (mean, up to {_CUT_MM:g}) from those of "
        said += f"'{rig.names[0]}'"
        if turned is not None and turned < _FALLS_TO * straight:
            yield Finding(
                "direction",
                "failed",
                f"{said}, but {turned:.1f} mm with `to_rig` inverted: write the inverse, from camera to rig",
            )
            continue
        if straight > _RESIDUAL_MM:
            yield Finding("views", "warning", f"{said}: `to_rig` may be wrong: calibrate the cameras again")
        else:
            yield Finding("views", "ok", said)


def _half_pixel(rig: Rig, frames: list[dict[int, np.ndarray]]) -> Iterator[Finding]:
    """The common shift of all principal points for the best agreement of surfaces: the vertex of a parabola."""
    cost = np.zeros(3)
    for k, move in enumerate((-1.0, 0.0, 1.0)):
        cameras = [replace(camera, cx=camera.cx + move, cy=camera.cy + move) for camera in rig.cameras]
        for view in range(1, len(cameras)):
            gaps = [
                _gaps(seen[view], seen[0], cameras[view], cameras[0], rig.poses[view])
                for seen in frames
                if view in seen and 0 in seen
            ]
            close = [gap[gap < _CLOSE_MM] for gap in gaps]
            if sum(map(len, close)) < _LEAST_POINTS:
                return
            cost[k] += float(np.concatenate(close).mean())
    curve = cost[0] - 2 * cost[1] + cost[2]
    if curve <= 0:
        return
    best = float(cost[0] - cost[2]) / (2 * float(curve))
    if abs(best) > _OFF_PX:
        yield Finding(
            "half pixel",
            "warning",
            f"the views agree best with cx and cy moved by {best:+.1f} pixels: HPF has pixel centres at whole "
            "numbers. Subtract 0.5 from cx and cy of COLMAP and nerfstudio",
        )
    else:
        yield Finding("half pixel", "ok", f"the views agree best with cx and cy moved by {best:+.1f} pixels")


def _residual(pairs: list[tuple[np.ndarray, np.ndarray]], one: Camera, other: Camera, pose: np.ndarray) -> float | None:
    """Mean distance in mm between two views' surfaces, up to `_CUT_MM`; `_CUT_MM` if one view sees no surface."""
    found = [np.minimum(_gaps(depth, target, one, other, pose), _CUT_MM) for depth, target in pairs]
    return float(np.concatenate(found).mean()) if sum(map(len, found)) else None


def _gaps(depth: np.ndarray, target: np.ndarray, one: Camera, other: Camera, pose: np.ndarray) -> np.ndarray:
    """(K,) mm along the other camera's z, from one view's points to the other's surface; inf without surface."""
    points = _points(depth, one)
    gaps = np.full(len(points), np.inf)
    moved = points @ pose[:3, :3].T + pose[:3, 3]
    before = np.flatnonzero(moved[:, 2] > 1)
    u, v, _ = np.moveaxis(np.rint(other.project(moved[before])), -1, 0)
    inside = (u >= 0) & (u < other.width) & (v >= 0) & (v < other.height)
    seen = target[v[inside].astype(int), u[inside].astype(int)].astype(np.float64)
    away = np.abs(seen - moved[before[inside], 2])
    gaps[before[inside]] = np.where(seen > 0, away, np.inf)
    return gaps


def _points(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """(K, 3) mm: some surface points between the nearest surface and `_BEHIND_MM` behind it."""
    seen = depth > 0
    if not seen.any():
        return np.zeros((0, 3))
    near = float(np.percentile(depth[seen], 1))
    v, u = np.nonzero(seen & (depth < near + _BEHIND_MM))
    few = np.linspace(0, len(u) - 1, min(_POINTS, len(u))).astype(int)
    u, v = u[few], v[few]
    points = camera.unproject(np.stack([u, v, depth[v, u].astype(np.float64)], axis=-1))
    return points[np.isfinite(points).all(axis=-1)]


def _labels(layout: Layout, split: str) -> Iterator[Finding]:
    """Check the labels, if there are any. Only evaluation uses labels."""
    try:
        labels = layout.annotation(split)
    except DataError as error:
        yield Finding("labels", "failed", str(error), (path.name,) if (path := layout.labels_path(split)) else ())
        return
    if labels is None:
        yield Finding("labels", "ok", "none; only evaluation needs them")
        return
    blank, z = labels.blanks[0], labels.xyz[0, ..., 2]
    said = f"{counted(int((~blank).sum()), 'frame')} annotated, {counted(int(blank.sum()), 'frame')} not"
    if blank.all():
        yield Finding("labels", "failed", f"{said}: no hand lies before the camera with joints apart from each other")
        return
    middle, extent = float(np.nanmedian(z)), float(np.nanmedian(np.ptp(labels.xyz[0], axis=1).max(axis=-1)))
    if not 20 <= extent <= 400 or not 100 <= middle <= 5000:
        yield Finding(
            "labels",
            "failed",
            f"{said}; hands are {extent:.3g} mm long at {middle:.4g} mm: the labels aren't in millimetres",
        )
    else:
        yield Finding("labels", "ok", f"{said}; hands at {middle:,.0f} mm (median)")
