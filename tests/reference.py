"""The paper's equations as plain loops over NumPy float64: what the tensor code is held against.

Written from the equations alone (Wan et al., CVPR 2019), one image, one pixel and one sphere at a time; it shares no
code with the packages. Units are mm, maps are indexed [v, u].
"""

from __future__ import annotations

import itertools
import math

import numpy as np

HIT, UNKNOWN = 1, 2


def pixel_centre(u: int, v: int, size: int, cube_mm: float) -> tuple[float, float]:
    """x and y of a pixel's ray."""
    return (u + 0.5 - size / 2) * cube_mm / size, (v + 0.5 - size / 2) * cube_mm / size


def render(points, radii, size, cube_mm=300.0, floor_mm2=1.0, far_mm=None):
    """Eq. 6-8: depth, hit, primitive, each (H, W), of points (J, 3); a surface beyond the far value isn't seen."""
    far = cube_mm / 2 if far_mm is None else far_mm
    depth, hit, primitive = np.full((size, size), far), np.zeros((size, size), bool), np.zeros((size, size), int)
    for v, u in itertools.product(range(size), range(size)):
        x, y = pixel_centre(u, v, size, cube_mm)
        for j, ((cx, cy, cz), r) in enumerate(zip(points, radii, strict=True)):
            d2 = (cx - x) ** 2 + (cy - y) ** 2  # Eq. 7
            if d2 > r * r:
                continue
            front = cz - math.sqrt(max(r * r - d2, floor_mm2))  # Eq. 6
            if front < depth[v, u]:  # Eq. 8
                depth[v, u], hit[v, u], primitive[v, u] = front, True, j
    return depth, hit, primitive


def surface_distance(query, points, radii):
    """Eq. 10-11: distance and the index of the sphere."""
    distances = [abs(math.dist(query, c) - r) for c, r in zip(points, radii, strict=True)]  # Eq. 10
    return min(distances), int(np.argmin(distances))  # Eq. 11


def across(points, to_rig_source, to_rig_target):
    """Points (J, 3) of one crop's frame in another's."""
    transform = np.linalg.inv(to_rig_target) @ to_rig_source
    return np.array([(transform @ np.append(p, 1.0))[:3] for p in points])


def nearest_surface_pixel(hit, u, v):
    """(u, v) of the HIT pixel that is nearest."""
    marked = [(uu, vv) for vv, uu in itertools.product(*map(range, hit.shape)) if hit[vv, uu]]
    return min(marked, key=lambda p: (p[0] - u) ** 2 + (p[1] - v) ** 2)


def m2d(
    points, radii, depth, state, cube_mm=300.0, floor_mm2=1.0, background="far", unknown="background", loss="l1",
    far_mm=None, clamp_mm=None,
):  # fmt: skip
    """Eq. 5 for one pair of views, the mean over pixels, with the options of the data term; None without a surface."""
    size = depth.shape[0]
    far = cube_mm / 2 if far_mm is None else far_mm
    rendered, hit, _ = render(points, radii, size, cube_mm, floor_mm2)
    if not (state == HIT).any():
        return None
    residuals = []
    for v, u in itertools.product(range(size), range(size)):
        if unknown == "ignore" and state[v, u] == UNKNOWN:
            continue
        residual = abs(min(rendered[v, u], far) - min(depth[v, u], far))  # Eq. 5
        if background == "silhouette" and hit[v, u] and state[v, u] != HIT:
            nearest = nearest_surface_pixel(state == HIT, u, v)
            residual = math.dist((u, v), nearest) * cube_mm / size
        if clamp_mm is not None:
            residual = min(residual, clamp_mm)
        residuals.append(residual**2 if loss == "squared" else residual)
    return sum(residuals) / len(residuals)


def surface_points(depth, state, cube_mm=300.0):
    """The points (Q, 3) of a depth map's HIT pixels, row by row."""
    size = depth.shape[0]
    return np.array(
        [
            (*pixel_centre(u, v, size, cube_mm), depth[v, u])
            for v, u in itertools.product(range(size), range(size))
            if state[v, u] == HIT
        ]
    ).reshape(-1, 3)


def d2m(
    points, radii, depth, state, cube_mm=300.0, clamp_mm=None, plane=None, margin_mm=0.0, least_kept=1 / 3, far_mm=None
):
    """Eq. 9-11 for one pair of views, the mean over points; `plane` = (wrist indices, palm's centre) cuts the arm."""
    queries = surface_points(depth, state, cube_mm)
    if far_mm is not None:
        queries = np.array([q for q in queries if q[2] <= far_mm])
    if not len(queries):
        return None
    if plane is not None:
        wrist = np.mean([points[i] for i in plane[0]], axis=0)
        outwards = (wrist - points[plane[1]]) / np.linalg.norm(wrist - points[plane[1]])
        kept = np.array([q for q in queries if (q - wrist) @ outwards <= margin_mm])
        if len(kept) >= least_kept * len(queries):
            queries = kept
    distances = [surface_distance(q, points, radii)[0] for q in queries]
    if clamp_mm is not None:
        distances = [min(d, clamp_mm) for d in distances]
    return sum(distances) / len(distances)  # Eq. 9


def multiview(points, to_rig, variance=None, average="median"):
    """Eq. 12 for one frame: of each of its views (V, J, 3), the mean over points; None with too few views."""
    views, count = points.shape[:2]
    if views < (3 if average == "median" else 2):
        return [None] * views
    rig = np.array([across(points[i], to_rig[i], np.eye(4)) for i in range(views)])
    values = np.zeros(views)
    for j in range(count):
        if average == "median":
            goal = [sorted_middle([rig[i, j, axis] for i in range(views)]) for axis in range(3)]
        elif average == "mean":
            goal = [sum(rig[i, j, axis] for i in range(views)) / views for axis in range(3)]
        else:
            goal = rig[min(range(views), key=lambda i: variance[i, j]), j]
        for i in range(views):
            values[i] += math.dist(rig[i, j], goal) ** 2 / count  # Eq. 12
    return list(values)


def sorted_middle(values):
    """The median; the mean of the middle two of an even number."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def supervised_maps(heatmaps, depth, points, label_heatmaps, label_floor, half_cube_mm, outside="zero"):
    """Eq. 3 for one sample: mean squared error of heatmaps (J, h, w), and of latent depth in half cubes."""
    heat_errors, depth_errors = [], []
    for j, v, u in itertools.product(*map(range, heatmaps.shape)):
        heat_errors.append((heatmaps[j, v, u] - label_heatmaps[j, v, u]) ** 2)
        inside = label_heatmaps[j, v, u] > label_floor
        wanted = points[j][2] if inside else 0.0  # Eq. 3
        error = ((depth[j, v, u] - wanted) / half_cube_mm) ** 2
        depth_errors.append(error if inside or outside == "zero" else 0.0)
    return sum(heat_errors) / len(heat_errors), sum(depth_errors) / len(depth_errors)
