"""A made-up sequence of DexYCB, written after its toolkit's loaders. It shares no code with the reader."""

from __future__ import annotations

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
SERIALS = ("836212060125", "839512060362", "840412060917")
MASTER = 1
K = ((614.6, 614.5, 318.1, 246.4), (613.1, 613.0, 322.5, 241.7), (615.0, 614.9, 312.6, 238.2))
FRAMES = 5


def poses() -> np.ndarray:
    """(3, 4, 4), mm, from each camera to camera 1: cameras on an arc about a point 700 mm ahead."""
    found = []
    for degrees in (-25, 0, 25):
        turn = np.radians(degrees)
        pose = np.eye(4)
        pose[:3, :3] = [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
        pose[:3, 3] = [-700 * np.sin(turn), 0, 700 - 700 * np.cos(turn)]
        found.append(pose)
    return np.stack(found)


def write_grey16(path: Path, depth: np.ndarray) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in depth)
    header = struct.pack(">IIBBBBB", depth.shape[1], depth.shape[0], 16, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def write_calibration(folder: Path, to_master: np.ndarray, unit: float = 1000.0) -> None:
    (folder / "intrinsics").mkdir(parents=True, exist_ok=True)
    (folder / "extrinsics_20200702_151821").mkdir(exist_ok=True)
    for serial, (fx, fy, cx, cy) in zip(SERIALS, K, strict=True):
        (folder / "intrinsics" / f"{serial}_640x480.yml").write_text(
            f"color:\n  fx: {fx}\n  fy: {fy}\n  ppx: {cx}\n  ppy: {cy}\n"
            "depth:\n  fx: 1.0\n  fy: 1.0\n  ppx: 0.0\n  ppy: 0.0\n"
        )
    lines = ["extrinsics:", "  apriltag:", *(f"  - {number}" for number in np.eye(4)[:3].ravel())]
    for serial, pose in zip(SERIALS, to_master, strict=True):
        rows = pose[:3].copy()
        rows[:, 3] /= unit
        lines += [f"  '{serial}':", *(f"  - {number!r}" for number in rows.ravel().tolist())]
    (folder / "extrinsics_20200702_151821" / "extrinsics.yml").write_text(
        "\n".join([*lines, f"master: '{SERIALS[MASTER]}'"]) + "\n"
    )


def write_sequence(root: Path) -> np.ndarray:
    """Write a sequence of `FRAMES` frames. Returns the joints (N, 21, 3) mm in the master camera's frame."""
    write_calibration(root.parents[1] / "calibration", poses())
    root.mkdir(parents=True)
    (root / "meta.yml").write_text(
        "extrinsics: '20200702_151821'\nmano_calib:\n- 20200514_140424_subject-01_right\nmano_sides:\n- right\n"
        f"num_frames: {FRAMES}\nserials:\n" + "".join(f"- '{serial}'\n" for serial in SERIALS) + "ycb_ids:\n- 5\n"
    )
    cameras = tuple(Camera(640, 480, fx=fx, fy=fy, cx=cx, cy=cy) for fx, fy, cx, cy in K)
    scene = Scene(Rig(cameras, poses(), names=SERIALS), 700.0, Sensor())
    sample = HAND.sample(FRAMES, torch.Generator().manual_seed(4))
    points = HAND.points(sample.pose, sample.shape)
    shift = torch.tensor([0.0, 0.0, 700.0]) - points[:, HAND.palm_centre]
    points = points + shift[:, None]
    mesh = HAND.mesh(sample.pose, sample.shape)
    place = {name: k for k, name in enumerate(HAND.names)}
    wrist = (points[:, place["PALM_1"]] + points[:, place["PALM_2"]]) / 2
    order = [
        place[f"{f}_{p}"] for f in ("TH", "F4", "F3", "F2", "F1") for p in ("KNU1_B", "KNU2_B", "KNU3_B", "KNU3_A")
    ]
    joints = np.concatenate([wrist[:, None].numpy(), points[:, order].numpy()], axis=1)
    for view, serial in enumerate(SERIALS):
        (root / serial).mkdir()
        back = np.linalg.inv(poses()[view])
        for frame in range(FRAMES):
            seen = scene.image(
                mesh.vertices[frame] + shift[frame], mesh.faces, points[frame], view, torch.Generator().manual_seed(0)
            )
            depth = np.asarray(seen)
            write_grey16(root / serial / f"aligned_depth_to_color_{frame:06d}.png", np.where(depth >= 2001, 0, depth))
            metres = (joints[frame] @ back[:3, :3].T + back[:3, 3]) / 1000
            write_labels(root, view, frame, metres[None])
    return joints


def write_labels(root: Path, view: int, frame: int, joints: np.ndarray) -> None:
    np.savez(root / SERIALS[view] / f"labels_{frame:06d}.npz", joint_3d=joints.astype(np.float32))
