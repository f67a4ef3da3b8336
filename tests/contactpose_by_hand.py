"""A made-up grasp of ContactPose, written after its toolkit. It shares no code with the reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dexycb_by_hand import write_grey16

from hpf_core.data.cameras import Camera, Rig
from hpf_core.simulation.scene import Scene
from hpf_core.simulation.sensor import Sensor
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config

HAND = Spheres41(Spheres41Config())
NAMES = ("kinect2_left", "kinect2_right", "kinect2_middle")
DEGREES = (-30.0, 30.0, 0.0)
K = ((520.6, 521.3, 477.2, 275.5), (533.9, 533.9, 473.4, 270.1), (527.1, 527.7, 491.4, 272.6))
FRAMES = 5
SIN, COS = 0.5, 0.8660254037844386
TURN = np.array([[1, 0, 0], [0, COS, -SIN], [0, SIN, COS]])  # the object in the world, 30 degrees about x
QUATERNION = [0.9659258262890683, 0.25881904510252074, 0.0, 0.0]  # the same, w first


def place(degrees: float) -> np.ndarray:
    """A camera (4, 4) in the world, mm: 700 mm from the origin, turned about y."""
    a = np.radians(degrees)
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
    pose[:3, 3] = [-700 * np.sin(a), 0, -700 * np.cos(a)]
    return pose


def stored(name: str, raw: np.ndarray) -> np.ndarray:
    """The image as it lies on disk, pixel by pixel: column i and row j of the camera move to another place."""
    height, width = raw.shape
    j, i = np.mgrid[:height, :width]
    if name == "kinect2_middle":
        image = np.empty((height, width), raw.dtype)
        image[height - 1 - j, width - 1 - i] = raw
        return image
    image = np.empty((width, height), raw.dtype)
    if name == "kinect2_left":
        image[i, height - 1 - j] = raw
    else:
        image[width - 1 - i, j] = raw
    return image


def shift(frame: int) -> np.ndarray:
    """The object's place (3) in the world, mm."""
    return np.array([4.0 * frame, -3.0 * frame, 2.0 * frame])


def write_grasp(root: Path, moving: bool = False, images: bool = True) -> np.ndarray:
    """Write a grasp. Returns the joints (N, 21, 3) mm in the world."""
    sample = HAND.sample(1, torch.Generator().manual_seed(4))
    points = HAND.points(sample.pose, sample.shape)[0].double().numpy()
    mesh = HAND.mesh(sample.pose, sample.shape)
    middle = points[HAND.palm_centre]
    spot = {name: k for k, name in enumerate(HAND.names)}
    fingers = [
        spot[f"{f}_{p}"] for f in ("TH", "F4", "F3", "F2", "F1") for p in ("KNU1_B", "KNU2_B", "KNU3_B", "KNU3_A")
    ]
    wrist = (points[spot["PALM_1"]] + points[spot["PALM_2"]]) / 2
    at_hand = np.concatenate([wrist[None], points[fingers]]) - middle
    world = np.stack([at_hand + shift(frame) for frame in range(FRAMES)])
    # X_world = TURN X_object + shift, so the hand's joints in the object's frame are the same in all frames.
    in_object = at_hand @ TURN
    frames: list[dict[str, Any]] = []
    for frame in range(FRAMES):
        back = [QUATERNION[0], -QUATERNION[1], 0.0, 0.0]
        told: dict[str, Any] = {"oTw": {"translation": list(-(shift(frame) @ TURN) / 1000), "rotation": back}}
        told["object_pose_optimized"] = True
        if moving:  # X_hand = X_object + (0, 0, frame) mm
            move = {"translation": [0.0, 0.0, frame / 1000], "rotation": [1.0, 0.0, 0.0, 0.0]}
            told["hTo"] = [{"translation": [9, 9, 9], "rotation": [1, 0, 0, 0]}, move]
        frames.append(told)
    cameras = {}
    for name, degrees, (fx, fy, cx, cy) in zip(NAMES, DEGREES, K, strict=True):
        half = np.radians(degrees) / 2
        # A quaternion of length 2 is the same rotation.
        turn = {
            "translation": list(place(degrees)[:3, 3] / 1000),
            "rotation": [2 * np.cos(half), 0, 2 * np.sin(half), 0],
        }
        inside = {"fx": fx, "fy": fy, "cx": cx, "cy": cy, "width": 960, "height": 540}
        cameras[name] = {"valid": True, "wTc": turn, "K": inside}
    cameras["kinect2_fourth"] = {"valid": False}
    right = {"valid": True, "moving": moving, "joints": (in_object / 1000).tolist()}
    root.mkdir(parents=True, exist_ok=True)
    told = {"frames": frames, "cameras": cameras, "hands": [{"valid": False}, right]}
    (root / "annotations.json").write_text(json.dumps(told))
    if not images:
        return world
    # The simulator wants the first camera's frame as the rig's.
    poses = np.stack([np.linalg.inv(place(DEGREES[0])) @ place(degrees) for degrees in DEGREES])
    into = np.linalg.inv(place(DEGREES[0]))
    turned, moved = torch.tensor(into[:3, :3]).float(), torch.tensor(into[:3, 3]).float()
    lenses = tuple(Camera(960, 540, fx=fx, fy=fy, cx=cx, cy=cy) for fx, fy, cx, cy in K)
    scene = Scene(Rig(lenses, poses, names=NAMES), 700.0, Sensor())
    for view, name in enumerate(NAMES):
        folder = root / "images_full" / name / "depth"
        folder.mkdir(parents=True)
        for frame in range(FRAMES):
            by = torch.tensor(shift(frame) - middle).float()
            vertices = (mesh.vertices[0] + by) @ turned.T + moved
            spheres = (torch.tensor(points).float() + by) @ turned.T + moved
            depth = np.asarray(scene.image(vertices, mesh.faces, spheres, view, torch.Generator().manual_seed(0)))
            raw = np.where(depth >= 2001, 0, depth).astype(np.uint16)
            write_grey16(folder / f"frame{frame:03d}.png", stored(name, raw))
    return world
