"""The first interpolated sphere of a sphere mesh on a ray, or the one nearest to a place, in closed form.

A sphere mesh (Tkach, Pauly and Tagliasacchi, SIGGRAPH Asia 2016, section 3) is the union of all spheres with centre and
radius interpolated between two linked points, or over three. A primitive is a point, a link or a triangle. The solution
on a primitive is a set of weights of its corners. A solution inside has derivative zero. A solution on the border
belongs to one of the primitive's own links or points, which are primitives as well. So each formula only needs to hold
inside, and the best of all solutions is correct.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hpf_core.grid import Grid

_FLAT = 1e-4
"""The search leaves narrow triangles (height below about 1/100 of a side) and planes seen almost edge-on to their
links."""
_PARTS = 24
"""Number of parts of the maps. With 48 maps a render's peak memory is then a tenth of the dense formula's over plain
spheres."""


class Found(NamedTuple):
    """For each of P rays or places: the `primitive` (N, P) int64 and the weights (N, P, 3) of its corners. Without a
    primitive, the index is the number of all primitives."""

    primitive: Tensor
    weights: Tensor


class _Group(NamedTuple):
    """Primitives of one kind: `value` (N, E, P) mm, inf without a solution; weights of the second and the third corner
    (N, E, P)."""

    value: Tensor
    second: Tensor
    third: Tensor


class Links(NamedTuple):
    """`start`, `along` (N, L, 3), `radius` and its `growth` (N, L); `rest` (N, L) mm^2, the squared length of the
    tangent cone's side. `rest` is at most 0 if the sphere of one end contains the other's."""

    start: Tensor
    along: Tensor
    radius: Tensor
    growth: Tensor
    rest: Tensor


class Sides(NamedTuple):
    """Both tangent planes of T triangles, S = 2 T: a corner `start` (N, S, 3) with `radius` (N, S), the outward
    `normal` (N, S, 3), functionals (N, S, 3) of a place relative to it: the weights of the `second` and the `third`
    corner at its foot and its `height` over it along the normal; and which `exist` (N, S)."""

    start: Tensor
    radius: Tensor
    normal: Tensor
    second: Tensor
    third: Tensor
    height: Tensor
    exist: Tensor


def seen(points: Tensor, radii: Tensor, links: Tensor, triangles: Tensor, grid: Grid, far: float) -> Found:
    """The front primitive along each orthographic ray.

    On the sphere of a link at u the ray's depth is z(u) - sqrt(g(u)) with g(u) = r(u)^2 - |p - c(u)|^2, a quadratic
    with discriminant D. The depth is stationary where g' = 2 z' sqrt(g). Since g'^2 = 4 g'' g / 2 + D, g is D / 4 /
    (L^2 - dr^2) there: it depends only on D, the link's length and the difference of radii. A ray meets a triangle on
    the plane that touches its three spheres; the weights are affine in the pixel.

    Args:
        points: (N, J, 3) mm.
        radii: (N, J) mm.
        links: (L, 2) int64.
        triangles: (T, 3) int64.
        grid: the crop's rays, P = size^2.
        far: mm; surfaces beyond it are invisible.
    """
    axis = grid.axis(points.device, points.dtype)
    rays = axis.repeat(grid.size), axis.repeat_interleave(grid.size)  # x, y (P,)

    def ask(points: Tensor, radii: Tensor) -> Found:
        kinds = (
            lambda: _spheres_on_rays(points, radii, rays),
            lambda: _links_on_rays(links_of(points, radii, links), rays),
            lambda: _sides_on_rays(sides_of(points, radii, triangles), rays),
        )
        return _best(kinds, triangles.shape[0], far)

    return _in_parts(ask, points, radii)


def nearest(points: Tensor, radii: Tensor, links: Tensor, triangles: Tensor, queries: Tensor) -> Found:
    """The primitive whose sphere a place (N, P, 3) is nearest to, or deepest in: the least |q - c| - r.

    That function is convex in a primitive's weights. On a link it is stationary where the line from the foot to the
    place leans by the cone's angle. On a triangle it is stationary where this line is normal to a tangent plane.
    """

    def ask(points: Tensor, radii: Tensor, queries: Tensor) -> Found:
        places = queries[..., 0][:, None], queries[..., 1][:, None], queries[..., 2][:, None]  # (N, 1, P) each
        kinds = (
            lambda: _spheres_near(points, radii, queries),
            lambda: _links_near(links_of(points, radii, links), places),
            lambda: _sides_near(sides_of(points, radii, triangles), places),
        )
        return _best(kinds, triangles.shape[0], None)

    return _in_parts(ask, points, radii, queries)


# ---------------------------------------------------------------------------------------------------- links and planes


def links_of(points: Tensor, radii: Tensor, links: Tensor) -> Links:
    """Inputs of the formulas for links (L, 2)."""
    start, along = points[:, links[:, 0]], points[:, links[:, 1]] - points[:, links[:, 0]]
    radius, growth = radii[:, links[:, 0]], radii[:, links[:, 1]] - radii[:, links[:, 0]]
    return Links(start, along, radius, growth, along.square().sum(-1) - growth.square())


def sides_of(points: Tensor, radii: Tensor, triangles: Tensor) -> Sides:
    """Inputs of the formulas for triangles (T, 3).

    A plane with unit normal n touches the three spheres where n . e1 = -(r1 - r0) and n . e2 = -(r2 - r0). These
    equations give the normal's part within the triangle's plane. The rest of its unit length is perpendicular, on one
    side or the other.
    """
    start, radius = points[:, triangles[:, 0]], radii[:, triangles[:, 0]]
    one, other = points[:, triangles[:, 1]] - start, points[:, triangles[:, 2]] - start
    grow_one, grow_other = radii[:, triangles[:, 1]] - radius, radii[:, triangles[:, 2]] - radius
    a, b, c = one.square().sum(-1), (one * other).sum(-1), other.square().sum(-1)
    area2 = a * c - b * b
    exist = area2 > _FLAT * a * c
    safe = torch.where(exist, area2, 1)
    # (e1 e2)^T n = -(r1 - r0, r2 - r0), solved within the plane.
    in_one, in_other = (b * grow_other - c * grow_one) / safe, (b * grow_one - a * grow_other) / safe
    within = in_one[..., None] * one + in_other[..., None] * other
    left = 1 - within.square().sum(-1)
    exist = exist & (left > _FLAT)
    upright = torch.linalg.cross(one, other) / safe.sqrt()[..., None] * left.clamp_min(_FLAT).sqrt()[..., None]
    normal = torch.cat([within + upright, within - upright], dim=1)

    start, radius, exist = start.repeat(1, 2, 1), radius.repeat(1, 2), exist.repeat(1, 2)
    one, other = one.repeat(1, 2, 1), other.repeat(1, 2, 1)
    # The basis that is dual to (e1, e2, n): place - start = second e1 + third e2 + height n.
    across = torch.linalg.cross(other, normal)
    volume = (one * across).sum(-1)
    volume = torch.where(exist, volume, 1)[..., None]
    dual = (across / volume, torch.linalg.cross(normal, one) / volume, torch.linalg.cross(one, other) / volume)
    return Sides(start, radius, normal, *dual, exist)


# ---------------------------------------------------------------------------------------------------------------- rays


def _spheres_on_rays(points: Tensor, radii: Tensor, rays: tuple[Tensor, Tensor]) -> _Group:
    gap = radii.square()[..., None] - (rays[0] - points[..., :1]).square() - (rays[1] - points[..., 1:2]).square()
    seen = (gap >= 0) & points.isfinite().all(dim=-1)[..., None]
    value = torch.where(seen, points[..., 2:] - gap.clamp_min_(0).sqrt_(), torch.inf)
    none = value.new_zeros(()).expand_as(value)
    return _Group(value, none, none)


def _links_on_rays(links: Links, rays: tuple[Tensor, Tensor]) -> _Group:
    """Each step reuses the memory of an earlier result that is no longer needed."""
    ex, ey, ez = (part[..., None] for part in links.along.unbind(-1))
    radius, growth, rest = links.radius[..., None], links.growth[..., None], links.rest[..., None]
    x, y = rays[0] - links.start[..., :1], rays[1] - links.start[..., 1:2]
    flat = ex * ex + ey * ey
    squared, axial = (x * x).add_(y * y), (x * ex).add_(y * ey)
    beside = x.mul_(ey).sub_(y.mul_(ex))
    del x, y
    # D / 4 = r^2 flat + dr (2 r axial + dr squared) - beside^2 avoids the difference of two large numbers.
    inside = (2 * radius * axial).add_(growth * squared).mul_(growth).add_(radius * radius * flat)
    inside.sub_(beside.square_())
    del beside
    half = axial.add_(radius * growth)  # g'(0) / 2
    exists = (rest > 0) & (inside >= 0)
    root = inside.masked_fill_(~exists, 0).div_(torch.where(rest > 0, rest, 1)).sqrt_()  # sqrt(g)
    # Two forms of the same quotient; the code uses the one that adds numbers of one sign:
    # (half^2 - (r^2 - squared) ez^2) / (rest (lean + half)), or (lean - half) / (dr^2 - flat).
    lean = ez * root
    same = lean * half > 0
    top = half.square().sub_(squared.neg_().add_(radius * radius).mul_(ez).mul_(ez))
    del squared
    bottom = (lean + half).mul_(rest)
    other = lean.sub_(half)
    del half, lean
    top = torch.where(same, top, other)
    del other
    bottom = torch.where(same, bottom, growth * growth - flat)
    del same
    exists &= bottom != 0
    u = top.div_(bottom.masked_fill_(bottom == 0, 1))
    within = exists & (u > 0) & (u < 1)
    u.masked_fill_(~within, 0)
    value = (ez * u).add_(links.start[..., 2:]).sub_(root).masked_fill_(~within, torch.inf)
    return _Group(value, u, u.new_zeros(()).expand_as(u))


def _sides_on_rays(sides: Sides, rays: tuple[Tensor, Tensor]) -> _Group:
    nx, ny, nz = (part[..., None] for part in sides.normal.unbind(-1))
    faces = sides.exist[..., None] & (nz < -_FLAT)
    x, y = rays[0] - sides.start[..., :1], rays[1] - sides.start[..., 1:2]
    z = (sides.radius[..., None] - nx * x - ny * y) / torch.where(faces, nz, -1)
    second, third = _along(sides.second, x, y, z), _along(sides.third, x, y, z)
    within = faces & (second > 0) & (third > 0) & (second + third < 1)
    return _answer(within, sides.start[..., 2:] + z, second, third)


# -------------------------------------------------------------------------------------------------------------- places


def _spheres_near(points: Tensor, radii: Tensor, queries: Tensor) -> _Group:
    # Exact differences: |p|^2 + |c|^2 - 2 p.c would cancel, and its product may run in TF32 or bfloat16.
    value = torch.cdist(points, queries, compute_mode="donot_use_mm_for_euclid_dist").sub_(radii[..., None])
    none = value.new_zeros(()).expand_as(value)
    return _Group(value, none, none)


def _links_near(links: Links, places: tuple[Tensor, Tensor, Tensor]) -> _Group:
    """As `_links_on_rays`, with little memory."""
    squared = links.along.square().sum(-1)
    exists = (links.rest > 0)[..., None]
    safe = torch.where(links.rest > 0, squared, 1)[..., None]
    slope = (links.growth / torch.where(links.rest > 0, links.rest, 1).sqrt())[..., None]
    x, y, z = (place - start[..., None] for place, start in zip(places, links.start.unbind(-1), strict=True))
    ex, ey, ez = (part[..., None] for part in links.along.unbind(-1))
    # Height of the place over the axis, from the foot of its perpendicular. A cross product would need more memory.
    at = (x * ex).add_(y * ey).add_(z * ez).div_(safe)
    u = _distance(x, y, z, at, (ex, ey, ez)).mul_(slope).div_(safe.sqrt()).add_(at)
    del at
    within = exists & (u > 0) & (u < 1)
    u.masked_fill_(~within, 0)
    value = _distance(x, y, z, u, (ex, ey, ez)).sub_(links.radius[..., None]).sub_(links.growth[..., None] * u)
    return _Group(value.masked_fill_(~within, torch.inf), u, u.new_zeros(()).expand_as(u))


def _distance(x: Tensor, y: Tensor, z: Tensor, at: Tensor, along: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """(N, L, P) mm, from offsets to the places at shares `at` of the links."""
    squares = ((part - at * edge).square_() for part, edge in zip((x, y, z), along, strict=True))
    return next(squares).add_(next(squares)).add_(next(squares)).sqrt_()


def _sides_near(sides: Sides, places: tuple[Tensor, Tensor, Tensor]) -> _Group:
    x, y, z = (place - start[..., None] for place, start in zip(places, sides.start.unbind(-1), strict=True))
    second, third = _along(sides.second, x, y, z), _along(sides.third, x, y, z)
    within = sides.exist[..., None] & (second > 0) & (third > 0) & (second + third < 1)
    within = within & (_along(sides.height, x, y, z) >= 0)  # else the foot is on the other side
    return _answer(within, _along(sides.normal, x, y, z) - sides.radius[..., None], second, third)


def _along(vectors: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """(N, S, P), vectors (N, S, 3) times places."""
    return vectors[..., :1] * x + vectors[..., 1:2] * y + vectors[..., 2:] * z


def _answer(within: Tensor, value: Tensor, second: Tensor, third: Tensor) -> _Group:
    return _Group(torch.where(within, value, torch.inf), torch.where(within, second, 0), torch.where(within, third, 0))


def _best(kinds: tuple[Callable[[], _Group], ...], triangles: int, limit: float | None) -> Found:
    """The least value of all primitives, below the limit if given; the first of equal values.

    The last kind has both sides of each triangle. The function makes the primitives of one kind at a time and frees
    them.
    """
    answers: list[tuple[Tensor, ...]] = []
    first = 0
    for make in kinds:
        sides = make is kinds[-1]
        count, answer = _least(make(), first, triangles if sides else None)
        if answer is not None:
            answers.append(answer)
        first += triangles if sides else count
    values, *others = (torch.stack(parts) for parts in zip(*answers, strict=True))
    best = values.min(dim=0)
    primitive, second, third = (parts.gather(0, best.indices[None])[0] for parts in others)
    if limit is not None:
        primitive = torch.where(best.values < limit, primitive, first)
    return Found(primitive, torch.stack([1 - second - third, second, third], dim=-1))


def _least(group: _Group, first: int, triangles: int | None) -> tuple[int, tuple[Tensor, ...] | None]:
    """The number of primitives of a group, and their least value (N, P) with its primitive and its two weights.

    Args:
        group: the primitives.
        first: index of the first primitive.
        triangles: number of triangles if the primitives are both sides of each; else None.
    """
    count = group.value.shape[1]
    if not count:
        return 0, None
    value, index = group.value.min(dim=1)
    weights = (part.gather(1, index[:, None])[:, 0] for part in (group.second, group.third))
    return count, (value, first + (index if triangles is None else index % triangles), *weights)


def _in_parts(ask: Callable[..., Found], *given: Tensor) -> Found:
    """Run a search over all maps in parts of a few maps.

    With dozens of primitives per ray, the intermediate tensors would be far larger than inputs and results. A compiled
    graph searches all maps at once: it keeps no intermediate tensors, and parts would only make it longer.
    """
    maps = given[0].shape[0]
    if maps <= 1 or torch.compiler.is_compiling():
        return ask(*given)
    found = [ask(*some) for some in zip(*(tensor.split(-(-maps // _PARTS)) for tensor in given), strict=True)]
    return Found(*(torch.cat(parts) for parts in zip(*found, strict=True)))
