"""Prepares the skin: closes it at the wrist, and fits spheres inside of it."""

from __future__ import annotations

import numpy as np

from hpf.plugin import DataError
from hpf_mano import anatomy
from hpf_mano.asset import Asset, palm_axes

_CUFF_MM = 10.0  # the skin's last part before the arm; its extremes are the wrist's two sides


def fans(faces: np.ndarray, count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Faces that close every hole of a surface, and the loops of vertices around the holes.

    Each hole gets its own vertex, numbered from `count` in the order of the loops, and a fan of triangles around it.
    The triangles run along the border opposite to the existing faces, so that all faces have the same orientation.

    Args:
        faces: (F, 3), each edge at most once in each direction.
        count: number of vertices.

    Raises:
        DataError: two holes share a vertex.
    """
    edges = {(int(a), int(b)) for face in faces for a, b in zip(face, np.roll(face, -1), strict=True)}
    border = [(b, a) for a, b in edges if (b, a) not in edges]
    onwards = dict(border)
    if len(onwards) < len(border):
        raise DataError("MANO's skin has two holes that share a vertex: it can't be closed")
    loops: list[np.ndarray] = []
    added: list[tuple[int, int, int]] = []
    while onwards:
        loop = [min(onwards)]  # independent of the order of a set
        while (following := onwards.pop(loop[-1])) != loop[0]:
            loop.append(following)
        middle = count + len(loops)
        added += [(a, b, middle) for a, b in zip(loop, [*loop[1:], loop[0]], strict=True)]
        loops.append(np.array(loop))
    return np.array(added, dtype=np.int64).reshape(-1, 3), loops


def closed(asset: Asset) -> Asset:
    """The same hand without holes, with faces outwards. A hole's new vertex averages all quantities over the border."""
    added, loops = fans(asset.faces, len(asset.v_template))

    def with_middles(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, *(values[loop].mean(axis=0, keepdims=True) for loop in loops)])

    vertices = with_middles(asset.v_template)
    faces = np.concatenate([asset.faces, added])
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    if (np.cross(a, b) * c).sum() < 0:
        faces = faces[:, ::-1]
    return Asset(
        v_template=vertices,
        shapedirs=with_middles(asset.shapedirs),
        posedirs=with_middles(asset.posedirs),
        regressor=np.pad(asset.regressor, ((0, 0), (0, len(loops)))),
        weights=with_middles(asset.weights),
        faces=np.ascontiguousarray(faces),
        components=asset.components,
        mean=asset.mean,
        deviations=asset.deviations,
    )


def anchors(asset: Asset) -> tuple[np.ndarray, np.ndarray]:
    """Anchors of the 41 points (`anatomy.BONES`): (23, 3) m of the mean hand, and (23, 3, 10) m by its shape.

    A tip's anchor is the centre of the sphere at the end of the finger. It lies on the line from the last joint to the
    farthest vertex. Its distance from that vertex is the median distance of the skin around the line's outer half from
    the line. A side of the wrist is the midpoint of the wrist's joint and the skin's outermost vertex on that side.
    """
    joints = asset.joints()
    by_shape = np.einsum("jv,vcs->jcs", asset.regressor, asset.shapedirs)
    rows = [(0.0, k, 0) for k in range(anatomy.JOINTS)]
    owner = asset.weights.argmax(axis=1)
    for joint in anatomy.LAST_JOINTS:
        mine = np.flatnonzero(owner == joint)
        away = asset.v_template[mine] - joints[joint]
        length = np.linalg.norm(away, axis=1).max()
        tip = int(mine[np.linalg.norm(away, axis=1).argmax()])
        axis = (asset.v_template[tip] - joints[joint]) / length
        outer = away[away @ axis > 0.5 * length]
        radius = float(np.median(np.linalg.norm(outer - (outer @ axis)[:, None] * axis, axis=1)))
        rows.append((1 - min(radius / length, 0.5), joint, tip))
    across, along, _ = palm_axes(joints) @ asset.v_template.T
    cuff = np.flatnonzero(along > along.max() - _CUFF_MM / 1000)
    rows += [(0.5, anatomy.WRIST, int(cuff[end])) for end in (across[cuff].argmin(), across[cuff].argmax())]
    shares, bones, vertices = (np.array(column) for column in zip(*rows, strict=True))
    share = shares[:, None]
    placed = (1 - share) * joints[bones] + share * asset.v_template[vertices]
    moved = (1 - share[..., None]) * by_shape[bones] + share[..., None] * asset.shapedirs[vertices]
    return placed, moved


def radii(points: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """(J,) median distance of each point from the vertices that are nearer to it than to any other point.

    Args:
        points: (J, 3).
        vertices: (V, 3), in the same unit.

    Returns:
        The result for a point without such a vertex is its distance from its nearest vertex.
    """
    apart = np.linalg.norm(points[:, None] - vertices, axis=2)  # (J, V)
    nearest = apart.argmin(axis=0)
    return np.array(
        [np.median(own[nearest == k]) if (nearest == k).any() else own.min() for k, own in enumerate(apart)]
    )
