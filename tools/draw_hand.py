"""Draw skin and spheres side by side, in several poses from several sides: `docs/images/hand_mesh.png`.

Run: python tools/draw_hand.py; under a minute on one core.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from shading import draw, draw_spheres, shade

from hpf_core.geometry.rotations import rotation_matrix
from hpf_plugins.hands import anatomy
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config

SIDE, FINE, CUBE_MM = 190, 2, 235.0
SKIN, BALLS = (0.93, 0.76, 0.65), (0.68, 0.76, 0.90)
VIEWS = {"palm": (0.0, 0.0), "back": (180.0, 0.0), "side": (82.0, 0.0), "oblique": (-38.0, -28.0)}  # about y, then x

# Degrees: knuckle flexion, abduction, PIP and DIP of the little to the index finger, then the thumb's four.
_STRAIGHT, _CURLED = (0, 0, 4, 3), (74, 0, 98, 62)
POSES = {
    "open": [(0, 0, 0, 0)] * 4 + [(0, 0, 0, 0)],
    "relaxed": [(32, 4, 38, 24), (27, 2, 36, 23), (23, 0, 33, 21), (17, -2, 28, 18), (-12, 4, 14, 14)],
    "fist": [_CURLED] * 4 + [(2, 20, 44, 45)],
    "pinch": [(14, 0, 18, 12), (20, 0, 24, 16), (30, 0, 32, 20), (51, -3, 54, 36), (-7, 17, 29, 30)],
    "pointing": [_CURLED] * 3 + [_STRAIGHT] + [(2, 20, 42, 42)],
    "most bent": [tuple(limit[1] if k != 1 else 0 for k, limit in enumerate(anatomy.FINGER_LIMITS_DEG))] * 4
    + [tuple(limit[1] for limit in anatomy.THUMB_LIMITS_DEG)],
    "least bent": [tuple(limit[0] if k != 1 else 0 for k, limit in enumerate(anatomy.FINGER_LIMITS_DEG))] * 4
    + [tuple(limit[0] for limit in anatomy.THUMB_LIMITS_DEG)],
}


def sheet() -> Image.Image:
    """A row for each pose; for each view the skin and, beside it, the spheres."""
    hand = Spheres41(Spheres41Config())
    faces, radii, shape = hand.skin.faces.numpy(), hand.radii.double().numpy(), torch.ones(1, len(hand.shape_names))
    rows = []
    for angles in POSES.values():
        pose = torch.zeros(1, len(hand.pose_names))
        pose[0, 6:] = torch.tensor(angles).flatten() * (math.pi / 180)
        skin, points = hand.mesh(pose, shape).vertices[0].numpy(), hand.points(pose, shape)[0].numpy()
        middle = (skin.max(0) + skin.min(0)) / 2
        tiles = []
        for about_y, about_x in VIEWS.values():
            turns = torch.tensor([[math.radians(about_x), 0, 0], [0, math.radians(about_y), 0]])
            first, second = rotation_matrix(turns).numpy()
            turn = (first @ second).T
            size = SIDE * FINE
            tiles.append(shade(*draw((skin - middle) @ turn, faces, size, CUBE_MM), SKIN, FINE))
            tiles.append(shade(*draw_spheres((points - middle) @ turn, radii, size, CUBE_MM), BALLS, FINE))
        rows.append(np.concatenate(tiles, axis=1))
    image = Image.fromarray((np.concatenate(rows) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for k, name in enumerate(POSES):
        pen.text((6, k * SIDE + 6), name, fill="black")
    for k, name in enumerate(VIEWS):
        pen.text((2 * k * SIDE + SIDE - 20, 6), name, fill="black")
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the hand's skin beside its spheres.")
    default = Path(__file__).parents[1] / "docs" / "images" / "hand_mesh.png"
    parser.add_argument("--out", type=Path, default=default, help="the picture to write")
    out = parser.parse_args().out
    sheet().quantize(128).save(out, optimize=True)
    print(out)


if __name__ == "__main__":
    main()
