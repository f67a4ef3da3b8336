"""Measure the effect of ray-aligned crops on m2d. Run: python tools/turned_floor.py

A camera sees a hand along rays from its centre, and m2d renders spheres along parallel rays. Away from the middle of
the image, the directions differ, unless the crop is ray-aligned. Random hands are put at several angles off the
camera's axis and imaged without noise; the image is cropped around the true palm, and the true spheres are rendered
over the crop: what differs is left to the best of fits. Once the image is of the spheres themselves, so that nothing
differs but the way of looking, and once of the skin.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import torch
from agreement import agreement
from torch import Tensor

from hpf_core.data.cameras import PRIMESENSE, Camera
from hpf_core.data.crop import crop
from hpf_core.frames import State
from hpf_core.geometry.rigid import apply_rigid, invert_rigid
from hpf_core.geometry.rotations import rotation_vector, sample_view
from hpf_core.grid import Grid
from hpf_core.interfaces import HandModel, Renderer
from hpf_core.simulation import rasteriser
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config
from hpf_plugins.renderers.spheres import Spheres, SpheresConfig

DISTANCE_MM = 850.0
ANGLES_DEG = (0.0, 8.0, 16.0, 22.0)
"""Off the axis, to the side of the image; at 22 degrees a hand still fits into it."""


def hands(hand: HandModel, count: int, angle_deg: float, seed: int) -> tuple[Tensor, Tensor]:
    """Poses and shapes of random hands, seen as the simulated rig sees them, their palms at an angle off the axis."""
    generator = torch.Generator().manual_seed(seed)
    pose, shape = hand.sample(count, generator)
    # The same hands, and the same sides of them, at every angle: they are turned with the ray to their palms.
    angle = math.radians(angle_deg)
    cosine, sine = math.cos(angle), math.sin(angle)
    along = torch.tensor([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    turn = rotation_vector(along @ sample_view(count, generator, 70, 45))
    pose = torch.cat([turn, torch.zeros_like(turn), pose[:, 6:]], dim=1)
    palm = hand.points(pose, shape)[:, hand.palm_centre]
    where = torch.tensor([sine, 0.0, cosine]) * DISTANCE_MM
    return torch.cat([pose[:, :3], where - palm, pose[:, 6:]], dim=1), shape


def image_of_spheres(centres: np.ndarray, radii: np.ndarray, camera: Camera) -> np.ndarray:
    """Depth z (H, W) mm of spheres at (E, 3) mm in a camera's frame; +inf where a ray meets none.

    Of a ray d = ((u - cx) / fx, (v - cy) / fy, 1) it is the nearer root of |z d - c| = r, in float64.
    """
    image = np.full((camera.height, camera.width), np.inf)
    pixels = np.mgrid[: camera.height, : camera.width]
    for centre, radius in zip(centres.astype(np.float64), radii.astype(np.float64), strict=True):
        columns = _shown(centre[0], centre[2], radius, camera.fx, camera.cx)
        rows = _shown(centre[1], centre[2], radius, camera.fy, camera.cy)
        v, u = pixels[:, rows, columns]
        ray = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], axis=-1)
        squared, along = (ray**2).sum(-1), ray @ centre
        left = along**2 - squared * (centre @ centre - radius**2)
        depth = np.where(left >= 0, (along - np.sqrt(np.maximum(left, 0))) / squared, np.inf)
        image[rows, columns] = np.minimum(image[rows, columns], depth)
    return image


def _shown(offset: float, z: float, radius: float, focal: float, principal: float) -> slice:
    """Pixels along one axis of the image where a sphere may show: between the tangents through the camera's centre."""
    middle, half = math.atan2(offset, z), math.asin(radius / math.hypot(offset, z))
    first, last = (math.tan(angle) * focal + principal for angle in (middle - half, middle + half))
    return slice(max(math.ceil(first), 0), max(math.floor(last) + 1, 0))


def floor(
    hand: HandModel, renderer: Renderer, count: int, angle_deg: float, turned: bool, skin: bool, seed: int = 0
) -> tuple[float, float]:
    """Mean difference of depth, mm, where both cover, and intersection over union of the silhouettes."""
    grid = Grid()
    pose, shape = hands(hand, count, angle_deg, seed)
    points, mesh = hand.points(pose, shape), hand.mesh(pose, shape)
    found = []
    for number in range(count):
        if skin:
            image = rasteriser.perspective(mesh.vertices[number], mesh.faces, PRIMESENSE).numpy()
        else:
            image = image_of_spheres(points[number].numpy(), hand.radii.numpy(), PRIMESENSE)
        seen = np.isfinite(image)
        centre = points[number, hand.palm_centre].numpy()
        made = crop(np.where(seen, image, 0), seen, PRIMESENSE, centre, grid, turned)
        into = invert_rigid(torch.from_numpy(made.to_camera))
        spheres = renderer.depth(apply_rigid(into, points[number].double())[None].float(), grid)
        rendered = torch.where(spheres.hit[0], spheres.depth[0], torch.inf)
        measured = torch.from_numpy(np.where(made.state == State.HIT, made.depth, np.inf))
        score = agreement(rendered[None], measured[None])
        found.append((float(score.depth_mm), float(score.iou)))
    depth, iou = np.mean(found, axis=0)
    return float(depth), float(iou)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the floor of m2d with and without turned crops.")
    parser.add_argument("--count", type=int, default=100, help="number of random hands at each angle")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    hand = Spheres41(Spheres41Config())
    renderer = Spheres(hand.radii, SpheresConfig())
    for skin in (False, True):
        for angle in ANGLES_DEG:
            for turned in (True, False):
                with torch.no_grad():
                    depth, iou = floor(hand, renderer, options.count, angle, turned, skin, options.seed)
                of, how = "skin" if skin else "spheres", "turned" if turned else "not turned"
                print(
                    f"image of the {of}, {angle:4.0f} degrees off the axis, {how:>10}: {depth:5.2f} mm, IoU {iou:.3f}"
                )


if __name__ == "__main__":
    main()
