"""A made-up session of MVHand, written after the public description. It shares no code with the reader."""

from __future__ import annotations

import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from hpf_core.data.cameras import Camera, Rig
from hpf_core.simulation.scene import Scene
from hpf_core.simulation.sensor import Sensor
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config

HAND = Spheres41(Spheres41Config())
SERIALS = ("840412062035", "840412062037", "840412062038", "840412062076")
K = (
    (619.598, 619.116, 325.345, 245.441),
    (615.85, 615.477, 316.062, 247.156),
    (619.475, 619.189, 313.715, 223.921),
    (615.665, 615.09, 306.514, 240.344),
)
ROOT_CAMERA = 2
FRAMES = 5


def poses() -> np.ndarray:
    """(4, 4, 4) mm, from each camera to camera 2: cameras on an arc about a point 600 mm ahead."""
    found = []
    for degrees in (-30, -15, 0, 15):
        turn = np.radians(degrees)
        pose = np.eye(4)
        pose[:3, :3] = [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
        pose[:3, 3] = [-600 * np.sin(turn), 0, 600 - 600 * np.cos(turn)]
        found.append(pose)
    return np.stack(found)


def write_png(path: Path, rgb: np.ndarray) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.tobytes() for row in rgb)
    header = struct.pack(">IIBBBBB", rgb.shape[1], rgb.shape[0], 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def mvhand_joints(points: np.ndarray) -> np.ndarray:
    """(N, 21, 4): wrist, then index, middle, ring, little and thumb from base to tip."""
    place = {name: k for k, name in enumerate(HAND.names)}
    wrist = (points[:, place["PALM_1"]] + points[:, place["PALM_2"]]) / 2
    fingers = [f"{f}_{p}" for f in ("F4", "F3", "F2", "F1", "TH") for p in ("KNU1_B", "KNU2_B", "KNU3_B", "KNU3_A")]
    joints = np.concatenate([wrist[:, None], points[:, [place[name] for name in fingers]]], axis=1)
    return np.concatenate([joints, np.ones((len(joints), 21, 1))], axis=2)


def write_session(root: Path) -> None:
    """Write a session of `FRAMES` frames: random poses, 600 mm in front of the root camera."""
    (root / "depth").mkdir(parents=True)
    (root / "mlresults").mkdir()
    (root / "calib.pkl").write_bytes(pickle.dumps(dict(zip(SERIALS, poses(), strict=True)), protocol=2))
    cameras = tuple(Camera(640, 480, fx=fx, fy=fy, cx=cx, cy=cy) for fx, fy, cx, cy in K)
    scene = Scene(Rig(cameras, poses(), names=SERIALS), 600.0, Sensor())
    sample = HAND.sample(FRAMES, torch.Generator().manual_seed(3))
    ahead = torch.tensor([0.0, 0.0, 600.0])
    points = HAND.points(sample.pose, sample.shape)
    shift = ahead - points[:, HAND.palm_centre]
    points = points + shift[:, None]
    mesh = HAND.mesh(sample.pose, sample.shape)
    for frame in range(FRAMES):
        for view in range(4):
            depth = scene.image(
                mesh.vertices[frame] + shift[frame], mesh.faces, points[frame], view, torch.Generator().manual_seed(0)
            )
            depth = np.where(np.asarray(depth) >= 2001, 0, np.asarray(depth)).astype(np.int64)
            rgb = np.stack([depth * 0, depth // 256, depth % 256], axis=-1).astype(np.uint8)
            write_png(root / "depth" / f"{frame:05d}_{view}.png", rgb)
    np.save(root / "mlresults" / "7-14-1-2-joints.npy", mvhand_joints(points.numpy()))
