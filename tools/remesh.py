"""From a signed distance field to an even, closed mesh: naive surface nets, then isotropic remeshing.

Surface nets after Gibson 1998 (MICCAI); remeshing by splits, collapses, flips and tangential smoothing after Botsch &
Kobbelt 2004 (SGP), with the field as the surface to come back to. All of it is deterministic.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

Field = Callable[[np.ndarray], np.ndarray]


def surface_nets(field: Field, low: np.ndarray, high: np.ndarray, pitch: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and outward faces (F, 3) of the field's zero within a box, on a grid of this pitch."""
    axes = [np.arange(a, b + pitch, pitch) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = field(grid.reshape(-1, 3)).reshape(grid.shape[:3])
    cells = tuple(n - 1 for n in values.shape)
    total, count = np.zeros((*cells, 3)), np.zeros(cells, int)
    for axis in range(3):
        unit = np.eye(3)[axis]
        for corner in product((0, 1), repeat=3):
            if corner[axis]:
                continue
            start = [slice(c, c + n) for c, n in zip(corner, cells, strict=True)]
            end = list(start)
            end[axis] = slice(1, 1 + cells[axis])
            a, b = values[tuple(start)], values[tuple(end)]
            crossing = (a < 0) != (b < 0)
            share = np.where(crossing, a / np.where(crossing, a - b, 1), 0)
            place = grid[tuple(start)] + share[..., None] * pitch * unit
            total += np.where(crossing[..., None], place, 0)
            count += crossing
    number = np.full(cells, -1)
    number[count > 0] = np.arange((count > 0).sum())
    vertices = total[count > 0] / count[count > 0][:, None]
    faces = []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        inner = [slice(1, -1)] * 3
        inner[axis] = slice(0, -1)
        shifted = list(inner)
        shifted[axis] = slice(1, None)
        a, b = values[tuple(inner)], values[tuple(shifted)]
        place = np.argwhere((a < 0) != (b < 0))
        rising = (a < 0)[tuple(place.T)]  # the field grows along the axis: outwards is +axis
        place[:, u] += 1
        place[:, v] += 1
        ring = []
        for du, dv in ((-1, -1), (0, -1), (0, 0), (-1, 0)):
            cell = place.copy()
            cell[:, u] += du
            cell[:, v] += dv
            ring.append(number[tuple(cell.T)])
        quad = np.stack(ring, axis=1)
        quad = np.where(rising[:, None], quad, quad[:, ::-1])
        faces += [quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]
    return vertices, np.concatenate(faces)


def project(vertices: np.ndarray, field: Field, rounds: int = 6) -> np.ndarray:
    """Vertices moved along the field's gradient to its zero."""
    step = 1e-3
    for _ in range(rounds):
        value = field(vertices)
        slope = np.stack([field(vertices + step * e) - field(vertices - step * e) for e in np.eye(3)], 1) / (2 * step)
        move = value[:, None] * slope / np.maximum((slope**2).sum(1, keepdims=True), 1e-3)
        size = np.linalg.norm(move, axis=1, keepdims=True)
        vertices = vertices - move * np.minimum(1, 2.0 / np.maximum(size, 1e-9))
    return vertices


def normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) area-weighted unit normals."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(out, faces[:, k], flat)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


def edges_of(faces: np.ndarray) -> np.ndarray:
    """(E, 2) each edge once, sorted."""
    pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(pairs, axis=0)


class _Editor:
    """A mesh whose edges can be split, collapsed and flipped."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        self.place = [tuple(v) for v in vertices.tolist()]
        self.faces: dict[int, tuple[int, int, int]] = {k: tuple(f) for k, f in enumerate(faces.tolist())}
        self.around: dict[int, set[int]] = {k: set() for k in range(len(vertices))}
        for k, face in self.faces.items():
            for v in face:
                self.around[v].add(k)
        self.next_face = len(faces)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        kept = sorted(self.around)
        number = {v: k for k, v in enumerate(kept)}
        faces = np.array([[number[v] for v in self.faces[k]] for k in sorted(self.faces)])
        return np.array([self.place[v] for v in kept]), faces

    def edges(self) -> list[tuple[int, int]]:
        return sorted({(min(a, b), max(a, b)) for f in self.faces.values() for a, b in (f[:2], f[1:], (f[2], f[0]))})

    def neighbours(self, v: int) -> set[int]:
        return {w for k in self.around[v] for w in self.faces[k]} - {v}

    def length(self, a: int, b: int) -> float:
        p, q = self.place[a], self.place[b]
        return ((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 + (p[2] - q[2]) ** 2) ** 0.5

    def _replace(self, old: list[int], new: list[tuple[int, int, int]]) -> None:
        for k in old:
            for v in self.faces.pop(k):
                self.around[v].discard(k)
        for face in new:
            self.faces[self.next_face] = face
            for v in face:
                self.around[v].add(self.next_face)
            self.next_face += 1

    def split(self, a: int, b: int) -> None:
        middle = len(self.place)
        self.place.append(tuple((p + q) / 2 for p, q in zip(self.place[a], self.place[b], strict=True)))
        self.around[middle] = set()
        old = sorted(self.around[a] & self.around[b])
        new = []
        for k in old:
            face = self.faces[k]
            new.append(tuple(middle if v == b else v for v in face))
            new.append(tuple(middle if v == a else v for v in face))
        self._replace(old, new)

    def collapse(self, a: int, b: int, longest: Callable[[int], float]) -> bool:
        if b not in self.around or a not in self.around:
            return False
        na, nb = self.neighbours(a), self.neighbours(b)
        if b not in na or len(na & nb) != 2 or min(len(self.neighbours(v)) for v in na & nb) <= 3:
            return False
        middle = tuple((p + q) / 2 for p, q in zip(self.place[a], self.place[b], strict=True))
        for v in (na | nb) - {a, b}:
            if sum((p - q) ** 2 for p, q in zip(self.place[v], middle, strict=True)) ** 0.5 > longest(a):
                return False
        gone = self.around[a] & self.around[b]
        for k in (self.around[a] | self.around[b]) - gone:
            before = self._normal([self.place[v] for v in self.faces[k]])
            after = self._normal([middle if v in (a, b) else self.place[v] for v in self.faces[k]])
            dot = sum(x * y for x, y in zip(before, after, strict=True))
            size = (sum(x * x for x in before) * sum(x * x for x in after)) ** 0.5
            if dot < 0.5 * size or size < 1e-12:
                return False
        old = sorted(self.around[a] | self.around[b])
        new = [tuple(a if v == b else v for v in self.faces[k]) for k in old if k not in gone]
        self._replace(old, new)
        del self.around[b]
        self.place[a] = middle
        return True

    @staticmethod
    def _normal(corners) -> tuple[float, float, float]:
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners
        ux, uy, uz, vx, vy, vz = bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az
        return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx

    def flip(self, a: int, b: int) -> None:
        """Turn the edge if that brings the corners' numbers of neighbours nearer to six and keeps the surface."""
        pair = sorted(self.around[a] & self.around[b])
        if len(pair) != 2:
            return
        f, g = (self.faces[k] for k in pair)
        i = f.index(a)
        if f[(i + 1) % 3] != b:
            a, b = b, a
        c = next(v for v in f if v not in (a, b))
        d = next(v for v in g if v not in (a, b))
        if c in self.neighbours(d):
            return
        size = {v: len(self.around[v]) for v in (a, b, c, d)}
        before = sum((size[v] - 6) ** 2 for v in size)
        after = (size[a] - 7) ** 2 + (size[b] - 7) ** 2 + (size[c] - 5) ** 2 + (size[d] - 5) ** 2
        if after >= before:
            return
        old = [np.array(self._normal([self.place[v] for v in face])) for face in (f, g)]
        made = [(a, d, c), (d, b, c)]
        new = [np.array(self._normal([self.place[v] for v in face])) for face in made]
        mean = old[0] + old[1]
        for n in new:
            if n @ mean < 0.8 * np.linalg.norm(n) * np.linalg.norm(mean):
                return
        self._replace(pair, made)


def remesh(
    vertices: np.ndarray,
    faces: np.ndarray,
    field: Field,
    size: Callable[[np.ndarray], np.ndarray],
    rounds: int,
    longest: float,
) -> tuple[np.ndarray, np.ndarray]:
    """An even mesh of the same surface: edges about as long (mm) as `size` says at each place, at most `longest`."""
    for number in range(rounds):
        editor = _Editor(vertices, faces)
        wanted = size(vertices).tolist()

        def at(v: int, wanted: list[float] = wanted) -> float:
            return wanted[v]

        if number >= 2:
            count = len(vertices)
            for a, b in editor.edges():
                if editor.length(a, b) > 1.25 * min(at(a), at(b)):
                    editor.split(a, b)
            wanted += size(np.array(editor.place[count:]).reshape(-1, 3)).tolist()
        for _ in range(3 if number < 2 else 1):
            short = sorted((editor.length(a, b), a, b) for a, b in editor.edges())
            for _, a, b in short:
                if a in editor.around and b in editor.around and editor.length(a, b) < 0.75 * min(at(a), at(b)):
                    editor.collapse(a, b, lambda v: 1.25 * at(v))
        for a, b in editor.edges():
            editor.flip(a, b)
        vertices, faces = editor.arrays()
        for _ in range(3):
            vertices = project(_relaxed(vertices, faces), field, 2)
    for _ in range(8):
        editor = _Editor(vertices, faces)
        long = [pair for pair in editor.edges() if editor.length(*pair) > longest]
        if not long:
            break
        for a, b in long:
            if a in editor.neighbours(b):
                editor.split(a, b)
        for a, b in editor.edges():
            editor.flip(a, b)
        vertices, faces = editor.arrays()
        vertices = project(_relaxed(vertices, faces), field, 4)
    return project(vertices, field, 8), faces


def _relaxed(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Each vertex half way to the middle of its neighbours, within its tangent plane."""
    pairs = edges_of(faces)
    total, count = np.zeros_like(vertices), np.zeros(len(vertices))
    for a, b in ((0, 1), (1, 0)):
        np.add.at(total, pairs[:, a], vertices[pairs[:, b]])
        np.add.at(count, pairs[:, a], 1)
    move = total / count[:, None] - vertices
    normal = normals(vertices, faces)
    move -= (move * normal).sum(1, keepdims=True) * normal
    return vertices + 0.6 * move
