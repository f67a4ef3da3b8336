"""Clauses for hands, renderers, backbones and refiners: assumptions of the rest of HPF."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from hpf_core.frames import Estimate
from hpf_core.geometry.rotations import rotation_matrix
from hpf_core.inference.estimate import last_estimate
from hpf_core.inference.onnx_file import TOLERANCE_MM, Deployed, has_onnx, onnx_program, run_onnx
from hpf_core.interfaces import HandModel, Mesh
from hpf_core.testing import scene
from hpf_core.testing.clause import clause
from hpf_core.testing.outcome import Broken, NotApplicable, need
from hpf_core.testing.subject import Subject

_NEAR_MM = 0.1
_BONE_SLACK_MM = 0.5
_FAR_OFF_MM = 1000.0
_OFF_SURFACE_MM = 3.0
_STEP_MM = 1e-4


@clause("names and indices", "points, links, annotations, bones and pairs refer to each other correctly", "hand")
def names_and_indices(subject: Subject) -> None:
    hand = subject.built.hand
    count = len(hand.names)
    need(len(set(hand.names)) == count > 0, "its names are not unique, or it has none")
    need(hand.radii.shape == (count,) and (hand.radii > 0).all(), f"radii must be {count} lengths above 0")
    listed = {"links": [i for link in hand.links for i in link], "fingertips": hand.fingertips, "wrist": hand.wrist}
    for name, numbers in {**listed, "palm_centre": [hand.palm_centre]}.items():
        need(all(0 <= i < count for i in numbers), f"{name} has a number that is none of its {count} points'")
    need(len(hand.wrist) > 0, "wrist has no point, so HPF can't separate the forearm from the hand")
    globals_ = len(hand.pose_names) >= 6
    need(globals_, "a pose begins with the global rotation and translation: 6 parameters at least")
    for key, (joints, matrix) in hand.annotations.items():
        need(matrix.shape == (len(joints), count), f"annotation {key!r}: its matrix isn't {len(joints)} x {count}")
        sums = abs(matrix.sum(axis=1) - 1).max() if len(joints) else 0.0
        need(sums < 1e-3, f"annotation {key!r}: rows must sum to 1, or joints don't move with the hand")
    for what, pairs in (("bones", hand.bones()), ("collisions", hand.collisions())):
        both = torch.cat([pairs.first, pairs.second])
        need(both.dtype == torch.int64, f"{what}() has numbers of type {both.dtype}, not int64")
        need(((both >= 0) & (both < count)).all(), f"{what}() has a number that is none of its {count} points'")
        need((pairs.first != pairs.second).all(), f"{what}() pairs a point with itself")


@clause("bone ranges", "the bones of sampled hands are within their ranges, so that the bone-length prior is 0", "hand")
def bone_ranges(subject: Subject) -> None:
    hand = subject.built.hand
    bones = hand.bones()
    need((bones.shortest <= bones.longest).all(), "the shortest length of a bone exceeds its longest")
    with torch.no_grad():
        points = hand.points(*hand.sample(64, scene.generator()))
    length = (points[:, bones.first] - points[:, bones.second]).norm(dim=-1)
    beyond = torch.maximum(length - bones.longest, bones.shortest - length)
    worst = float(beyond.max()) if beyond.numel() else 0.0
    need(worst <= _BONE_SLACK_MM, f"a sampled hand has a bone that is {worst:.2f} mm out of its range")


@clause(
    "rigid motion", "the first six numbers of a pose rotate (rotation vector) and translate (mm) the whole hand", "hand"
)
def rigid_motion(subject: Subject) -> None:
    hand = subject.built.hand
    pose, shape = hand.sample(4, scene.generator())
    need((pose[:, :6] == 0).all(), "sample() must give the identity as global pose: six zeros")
    moved = pose.clone()
    moved[:, :6] = subject.inputs["pose"][:, :6] * torch.tensor([1.0, 1, 1, 30, 30, 30])
    turn = rotation_matrix(moved[:, None, :3])
    # The triangulation of balls may change with rotation, so the clause compares only the centre.
    with torch.no_grad():
        for what, rest, found in (
            ("points", hand.points(pose, shape), hand.points(moved, shape)),
            (
                "the mesh's middle",
                hand.mesh(pose, shape).vertices.mean(dim=1, keepdim=True),
                hand.mesh(moved, shape).vertices.mean(dim=1, keepdim=True),
            ),
        ):
            wanted = (turn * rest[..., None, :]).sum(-1) + moved[:, None, 3:6]
            gap = float((found - wanted).abs().max())
            need(gap < _NEAR_MM, f"{what} of a turned and moved pose: {gap:.3g} mm off the turned and moved hand")


@clause("closed mesh", "its mesh is closed and its faces point outwards", "hand")
def closed_mesh(subject: Subject) -> None:
    hand: HandModel = subject.built.hand
    with torch.no_grad():
        mesh: Mesh = hand.mesh(subject.inputs["pose"], subject.inputs["shape"])
    faces, count = mesh.faces, mesh.vertices.shape[1]
    need(len(faces) > 0, "it has no faces")
    need(((faces >= 0) & (faces < count)).all(), f"a face has a number that is none of the {count} vertices'")
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forth, back = (edges[:, 0] * count + edges[:, 1]).sort().values, (edges[:, 1] * count + edges[:, 0]).sort().values
    need(torch.equal(forth, back), "an edge has no face on its other side, or an inverted one: the mesh is not closed")
    corner = mesh.vertices[:, faces].double()
    each = (torch.linalg.cross(corner[:, :, 0], corner[:, :, 1]) * corner[:, :, 2]).sum(dim=2) / 6
    piece = _pieces(faces, count)[faces[:, 0]]
    volume = each.new_zeros(len(each), count).index_add(1, piece, each)[:, piece.unique()]
    need((volume > 0).all(), f"a piece of it has a volume of {float(volume.min()):.3g} mm^3: faces look inwards")


def _pieces(faces: Tensor, count: int) -> Tensor:
    """(count,) index of the lowest vertex in each vertex's connected component."""
    lowest = torch.arange(count)
    while True:
        # The lowest vertex around each face, then the lowest one of that vertex: paths halve in each round.
        around = lowest[faces].amin(dim=1, keepdim=True).expand(-1, 3)
        lower = lowest.scatter_reduce(0, faces.flatten(), around.flatten(), "amin")
        lower = lower[lower]
        if torch.equal(lower, lowest):
            return lowest
        lowest = lower


@clause("orthographic", "if the hand moves by a pixel, or in depth, its depth map moves by the same amount", "renderer")
def orthographic(subject: Subject) -> None:
    renderer, points = subject.built.renderer, subject.inputs["points"]
    with torch.no_grad():
        rest = renderer.depth(points, scene.GRID)
        need(rest.hit.flatten(1).any(dim=1).all(), "a hand in the middle of the cube isn't seen at all")
        deeper = renderer.depth(points + torch.tensor([0.0, 0.0, 12.0]), scene.GRID)
        aside = renderer.depth(points + torch.tensor([scene.GRID.pixel_mm, 0.0, 0.0]), scene.GRID)
        lower = renderer.depth(points + torch.tensor([0.0, scene.GRID.pixel_mm, 0.0]), scene.GRID)
    _agree("moved 12 mm away", deeper.depth, deeper.hit, rest.depth + 12.0, rest.hit)
    _agree("moved right by a pixel", aside.depth[..., 1:], aside.hit[..., 1:], rest.depth[..., :-1], rest.hit[..., :-1])
    _agree("moved down by a pixel", lower.depth[:, 1:], lower.hit[:, 1:], rest.depth[:, :-1], rest.hit[:, :-1])
    missed = rest.depth[~rest.hit]
    need((missed == missed[0]).all(), "pixels that hit nothing must all have one value")
    x = scene.GRID.axis()
    gap = (rest.anchor - torch.stack(torch.meshgrid(x, x, indexing="xy"), dim=-1))[rest.hit].abs().max()
    need(gap < _NEAR_MM, f"anchors are {float(gap):.3g} mm off their pixels' rays")


@clause(
    "one surface",
    "`depth` and `distance` describe the same surface: rendered points have distance 0, distant points a large one",
    "renderer",
)
def one_surface(subject: Subject) -> None:
    renderer, points = subject.built.renderer, subject.inputs["points"]
    with torch.no_grad():
        rendered = renderer.depth(points, scene.GRID)
        seen = torch.cat([rendered.anchor, rendered.depth[..., None]], dim=-1).flatten(1, 2)
        found = renderer.distance(points, seen).distance
    need((found >= 0).all(), "a distance is below 0")
    typical = float(found[rendered.hit.flatten(1)].quantile(0.9))
    # Floors under a root, and inner surfaces in overlaps of primitives, cause some difference.
    need(
        typical < _OFF_SURFACE_MM,
        f"a tenth of what `depth` shows is {typical:.1f} mm or more off the surface of `distance`",
    )
    away = points[:, :1] - torch.tensor([0.0, 0.0, _FAR_OFF_MM])
    with torch.no_grad():
        far = renderer.distance(points, away).distance
    nearest = (points - away).norm(dim=-1).amin(dim=1, keepdim=True)
    # 20 mm for cones and triangles beyond the balls.
    thick = 2 * float(subject.built.hand.radii.max()) + 20.0
    need(
        ((far <= nearest + 1.0) & (far >= nearest - thick)).all(),
        f"of places whose nearest point is {float(nearest.min()):.0f} to {float(nearest.max()):.0f} mm away it says "
        f"that they are {float(far.min()):.4g} to {float(far.max()):.4g} mm from the surface",
    )


@clause(
    "slopes",
    "its gradients equal finite differences of its values, and those of `anchor` belong to the visible primitive",
    "renderer",
)
def slopes(subject: Subject) -> None:
    renderer = subject.built.renderer
    points, queries = subject.inputs["points"].double(), subject.inputs["queries"].double()
    followed = points.clone().requires_grad_()
    rendered = renderer.depth(followed, scene.GRID)
    hits = rendered.hit.flatten(1).sum(1).double()
    for what, axis, value in (
        ("depth().depth", 2, rendered.depth),
        ("depth().anchor", 0, rendered.anchor[..., 0]),
        ("depth().anchor", 1, rendered.anchor[..., 1]),
    ):
        # If all points move together, each pixel's surface moves with them.
        slope = _gradient(what, torch.where(rendered.hit, value, 0).sum(), followed)[..., axis].sum(1) / hits
        need(
            ((slope - 1).abs() < 1e-3).all(),
            f"moved along {'xyz'[axis]} by a mm, {what} follows by {float(slope[(slope - 1).abs().argmax()]):.4g} mm, "
            "as its gradient has it",
        )
    slope = _gradient("distance().distance", renderer.distance(followed, queries).distance.sum(), followed)
    aside = torch.randn(points.shape, generator=scene.generator(2), dtype=points.dtype)
    for axis in range(3):
        # One direction along the gradient checks its length; another direction checks for missing parts.
        step = _STEP_MM * (slope / slope.abs().max() + 0.5 * aside) * (torch.arange(3) == axis)
        with torch.no_grad():
            ahead, behind = (renderer.distance(points + sign * step, queries).distance.sum() for sign in (1, -1))
        found, wanted = float((slope * step).sum()), float(ahead - behind) / 2
        need(
            abs(found - wanted) <= 0.02 * max(abs(found), abs(wanted)),
            f"where points move a little along {'xyz'[axis]}, distance().distance changes by {wanted:.4g} mm in all, "
            f"and by {found:.4g} mm as its gradient has it",
        )


def _gradient(what: str, value: Tensor, points: Tensor) -> Tensor:
    need(value.requires_grad, f"{what} has no gradient on the points")
    (found,) = torch.autograd.grad(value, points, retain_graph=True, allow_unused=True)
    need(found is not None, f"{what} has no gradient on the points")
    assert found is not None
    return found


@clause(
    "radius scale",
    "`radius_scale` 1 changes nothing and a larger one makes the hand thicker; a measured factor is correct",
    "renderer",
)
def radius_scale(subject: Subject) -> None:
    renderer, points = subject.built.renderer, subject.inputs["points"]
    one, larger = torch.ones(len(points)), torch.full((len(points),), 1.2)
    with torch.no_grad():
        plain, same = renderer.depth(points, scene.GRID), renderer.depth(points, scene.GRID, radius_scale=one)
        rendered = renderer.depth(points, scene.GRID, radius_scale=larger)
        surface = torch.cat([rendered.anchor, rendered.depth[..., None]], dim=-1).flatten(1, 2)
        off = renderer.distance(points, surface, radius_scale=larger).distance[rendered.hit.flatten(1)].quantile(0.9)
    gap = float((plain.depth - same.depth).abs().max())
    need(gap <= _NEAR_MM, f"with a radius_scale of 1 its depth differs by up to {gap:.3g} mm from the depth without")
    need(
        int(rendered.hit.sum()) > int(plain.hit.sum()) and float((rendered.depth - plain.depth).mean()) < 0,
        "depth() with a radius_scale of 1.2 shows no thicker hand than without: multiply the radii by it",
    )
    need(
        float(off) < _OFF_SURFACE_MM,
        f"with a radius_scale of 1.2, distance() measures {float(off):.1f} mm from the surface that depth() "
        "renders: both must multiply the radii by it",
    )
    if not renderer.measures_radius_scale:
        return
    with torch.no_grad():
        valid = rendered.hit.flatten(1)
        measured = renderer.measure_radius_scale(points, surface, valid)
        none = renderer.measure_radius_scale(points, surface, torch.zeros_like(valid))
    gap = float((measured - 1.2).abs().max())
    need(gap < 0.1, f"on hands with a radius scale of 1.2 it measures {measured.tolist()}")
    need(none.isnan().all(), "where no point is valid, measure_radius_scale() must give NaN")


@clause(
    "provides",
    "estimates and labels fill the fields that `provides` declares, and no others beyond `points`",
    "backbone",
)
def provides(subject: Subject) -> None:
    with torch.no_grad():
        stacks = list(subject.built.plugin(subject.inputs["depth"]))
        labels = subject.built.plugin.labels(subject.inputs["points"])
    declared = subject.spec.provides
    for stack, estimate in enumerate(stacks):
        filled = _filled(estimate)
        missing, extra = sorted(declared - filled), sorted(filled - declared)
        need(not missing, f"it declares {', '.join(missing)}, which stack {stack} doesn't fill")
        need(
            not extra,
            f"stack {stack} fills {', '.join(extra)}, which it doesn't declare: terms that need it are refused",
        )
    lacking = sorted((declared & {"heatmaps", "latent_depth"}) - _filled(labels))
    need(not lacking, f"labels() lacks {', '.join(lacking)}: the supervised term compares maps with them")


@clause(
    "labels",
    "`labels` returns the given points unchanged, so that an estimate equal to its labels has no error",
    "backbone",
)
def labels_are_right(subject: Subject) -> None:
    points = subject.inputs["points"]
    with torch.no_grad():
        labels = subject.built.plugin.labels(points)
    gap = float((labels.points - points).abs().max())
    need(gap < 1.0, f"labels() of points has points that are {gap:.3g} mm off")


@clause(
    "hands stay hands",
    "it turns valid hands into valid hands in mm, and each point stays closest to its own place",
    "refiner",
)
def hands_stay_hands(subject: Subject) -> None:
    hand = subject.built.hand
    given = scene.hands(hand, 32)
    with torch.no_grad():
        found = subject.built.plugin(given)
    apart = (found[:, :, None] - given[:, None]).norm(dim=-1).mean(0).double().numpy()  # (points found, points given)
    as_named = float(apart.diagonal().mean())
    rows, nearest = linear_sum_assignment(apart)
    moved = [f"{hand.names[i]} is where {hand.names[j]} was" for i, j in zip(rows, nearest, strict=True) if i != j]
    need(
        as_named <= 1.05 * float(apart[rows, nearest].mean()) + _NEAR_MM,
        f"it mixes up points: {', '.join(moved[:3])}{', ...' if len(moved) > 3 else ''}",
    )
    middle = float((given - given.mean(dim=1, keepdim=True)).norm(dim=-1).mean())
    need(
        as_named < middle,
        f"points of right hands end up {as_named:.0f} mm off, more than all in one place would be ({middle:.0f} mm)",
    )


@clause(
    "export",
    "it exports for any batch size and gives the same points there, also as ONNX if the extra `onnx` is installed; or "
    "`cannot_export` says why not",
    "backbone",
)
def exports(subject: Subject) -> None:
    backbone = subject.fresh().plugin.eval()
    if backbone.cannot_export:
        raise NotApplicable(f"it says that it can't be exported: {backbone.cannot_export}")
    maps = subject.inputs["depth"]
    with torch.no_grad():
        wanted = last_estimate(backbone, maps)
        module = Deployed(backbone, wanted.variance is not None)
        try:
            size = {"depth": {0: torch.export.Dim("batch", min=1)}}
            program = torch.export.export(module, (maps[:2],), dynamic_shapes=size, strict=False).module()
            found = [program(maps[:1])[0], program(maps)[0]]
        except Exception as error:
            raise Broken(
                f"torch.export fails: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            ) from error
    _same_points("exported", found, wanted.points)
    if not has_onnx():
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        onnx_program(backbone, scene.GRID).save(str(path), external_data=False)
        run = run_onnx(path)
        _same_points("in ONNX Runtime", [run(maps[:1]).points, run(maps).points], wanted.points)


def _same_points(how: str, found: list[Tensor], wanted: Tensor) -> None:
    """Compare the points of the first map alone, and of all maps."""
    off = max(float((points - wanted[: len(points)]).abs().max()) for points in found)
    need(off <= TOLERANCE_MM, f"{how}, its points are {off:.3g} mm off")


def _filled(estimate: Estimate) -> frozenset[str]:
    names = (field.name for field in dataclasses.fields(estimate) if field.name != "points")
    return frozenset(name for name in names if getattr(estimate, name) is not None)


def _agree(how: str, depth: Tensor, hit: Tensor, wanted: Tensor, wanted_hit: Tensor) -> None:
    """Compare both, except for 1% of the pixels, which rounding may change at a rim."""
    hits = float((hit != wanted_hit).float().sum() / wanted_hit.float().sum())
    need(hits < 0.02, f"{how}, {hits:.0%} of the pixels of a hand appear or disappear")
    both = hit & wanted_hit
    off = float(((depth - wanted)[both].abs() > 0.5).float().mean())
    need(off < 0.02, f"{how}, {off:.0%} of its pixels don't have the depth that they should")


CLAUSES = (
    names_and_indices,
    bone_ranges,
    rigid_motion,
    closed_mesh,
    orthographic,
    one_surface,
    slopes,
    radius_scale,
    provides,
    labels_are_right,
    exports,
    hands_stay_hands,
)
