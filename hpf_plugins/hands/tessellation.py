"""A finer surface from few spheres: which spheres to set between which points."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

_PER_FINGER_LINK = 3
_PER_PALM_EDGE = 2
_WEB_THINNING = 0.6  # the fold of skin between thumb and index is thinner than what it joins


def surface_weights(
    finger_links: tuple[tuple[int, int], ...],
    palm: tuple[tuple[int, int, int], ...],
    web: tuple[tuple[int, int, int], ...],
    points: int,
) -> tuple[Tensor, Tensor]:
    """Convex weights (E, points) that place E spheres, and a factor (E,) on their interpolated radii.

    The points themselves come first, then the spheres along the fingers' links, then those on the edges and in the
    middles of the triangles: with gaps of a third of an edge or less, a slab without holes.
    """
    rows = [{k: 1.0} for k in range(points)]
    for a, b in finger_links:
        rows += _between(a, b, _PER_FINGER_LINK)
    palm_edges = _edges(palm)
    rows += [row for a, b in palm_edges for row in _between(a, b, _PER_PALM_EDGE)]
    rows += [dict.fromkeys(corners, 1 / 3) for corners in palm]
    solid = len(rows)
    known = set(palm_edges) | {(min(link), max(link)) for link in finger_links}
    rows += [row for a, b in _edges(web) if (a, b) not in known for row in _between(a, b, _PER_PALM_EDGE)]
    rows += [dict.fromkeys(corners, 1 / 3) for corners in web]

    weights = torch.zeros(len(rows), points)
    for number, row in enumerate(rows):
        for point, weight in row.items():
            weights[number, point] = weight
    thinning = torch.ones(len(rows))
    thinning[solid:] = _WEB_THINNING
    return weights, thinning


def _between(a: int, b: int, count: int) -> list[dict[int, float]]:
    """`count` evenly spaced places strictly between points a and b."""
    shares = [(k + 1) / (count + 1) for k in range(count)]
    return [{a: 1 - share, b: share} for share in shares]


def _edges(triangles: tuple[tuple[int, int, int], ...]) -> list[tuple[int, int]]:
    return sorted({(min(a, b), max(a, b)) for corners in triangles for a, b in combinations(corners, 2)})
