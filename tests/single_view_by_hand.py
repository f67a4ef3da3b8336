"""Tiny made-up sets with one camera, written after the public descriptions. They share no code with the readers."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from mvhand_by_hand import HAND, write_png
from scipy.spatial.transform import Rotation

from hpf_core.data.cameras import Camera, Rig
from hpf_core.simulation.scene import Scene
from hpf_core.simulation.sensor import Sensor

FRAMES = 4
SR300 = (640, 480, 475.065948, 475.065857, 315.944855, 245.287079)
PLACE = {name: k for k, name in enumerate(HAND.names)}
FINGERS = {"T": "TH", "I": "F4", "M": "F3", "R": "F2", "P": "F1"}
POINTS = {"MCP": "KNU1_B", "PIP": "KNU2_B", "DIP": "KNU3_B", "TIP": "KNU3_A"}


@lru_cache
def scene(camera: tuple[float, ...], left: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Depth (FRAMES, H, W) mm, 0 for no return, and points (FRAMES, 41, 3) mm in the camera's frame, y down."""
    width, height, fx, fy, cx, cy = camera
    width, height = int(width), int(height)
    mirrored = width - 1 - cx if left else cx
    one = Camera(width, height, fx=fx, fy=fy, cx=mirrored, cy=cy)
    made = Scene(Rig((one,), np.eye(4)[None]), 450.0, Sensor())
    sample = HAND.sample(FRAMES, torch.Generator().manual_seed(5))
    points = HAND.points(sample.pose, sample.shape)
    shift = torch.tensor([0.0, 0.0, 450.0]) - points[:, HAND.palm_centre]
    points = points + shift[:, None]
    mesh = HAND.mesh(sample.pose, sample.shape)
    images = [
        made.image(mesh.vertices[k] + shift[k], mesh.faces, points[k], 0, torch.Generator().manual_seed(k))
        for k in range(FRAMES)
    ]
    depth = np.stack(images).astype(np.int64)
    depth[depth >= 2001] = 0
    found = points.double().numpy()
    return (depth[:, :, ::-1], found * [-1, 1, 1]) if left else (depth, found)


def joint(points: np.ndarray, name: str) -> np.ndarray:
    """(FRAMES, 3) of "W" (wrist), "C" (palm's centre), or a finger's letter and joint such as "IMCP"."""
    if name == "W":
        return np.asarray((points[:, PLACE["PALM_1"]] + points[:, PLACE["PALM_2"]]) / 2)
    if name == "C":
        return np.asarray(points[:, PLACE["PALM_3"]])
    return np.asarray(points[:, PLACE[f"{FINGERS[name[0]]}_{POINTS[name[1:]]}"]])


def joints(points: np.ndarray, names: str) -> np.ndarray:
    """(FRAMES, K, 3) of names divided by blanks."""
    return np.stack([joint(points, name) for name in names.split()], axis=1)


def finger(letter: str) -> str:
    return " ".join(f"{letter}{part}" for part in ("MCP", "PIP", "DIP", "TIP"))


# The order of FPHA's readme.
FPHA = "W TMCP IMCP MMCP RMCP PMCP TPIP TDIP TTIP IPIP IDIP ITIP MPIP MDIP MTIP RPIP RDIP RTIP PPIP PDIP PTIP"
MSRA = "W " + " ".join(map(finger, "IMRPT"))
STB = "C " + " ".join(map(finger, "PRMIT"))
ICVL = "C TPIP TDIP TTIP " + " ".join(f"{f}MCP {f}PIP {f}TIP" for f in "IMRP")


def grey16(depth: np.ndarray) -> bytes:
    """A 16-bit greyscale PNG image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in depth)
    header = struct.pack(">IIBBBBB", depth.shape[1], depth.shape[0], 16, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def mat5(**arrays: np.ndarray) -> bytes:
    """A MATLAB file of version 5: 128 bytes of header, then a matrix of doubles for each name, in MATLAB's order."""
    found = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    for name, array in arrays.items():
        shape = struct.pack(f"<{array.ndim}i", *array.shape)
        parts = [
            (6, struct.pack("<2I", 6, 0)),  # class: double
            (5, shape),
            (1, name.encode()),
            (9, array.astype("<f8").tobytes(order="F")),
        ]
        body = b"".join(struct.pack("<2I", kind, len(b)) + b + b"\0" * (-len(b) % 8) for kind, b in parts)
        found += struct.pack("<2I", 14, len(body)) + body
    return found


def put(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def line(numbers: np.ndarray, by: str = " ") -> str:
    return by.join(f"{value:.4f}" for value in numbers.ravel())


def write_icvl(root: Path) -> None:
    """Two training frames and a turned copy; one frame in each test sequence. The training lines have three numbers
    more."""
    depth, points = scene((320, 240, 240.99, 240.96, 160, 120), left=True)
    xyz = joints(points, ICVL)
    u, v = xyz[..., 0] / xyz[..., 2] * 240.99 + 160, xyz[..., 1] / xyz[..., 2] * 240.96 + 120
    lines = [line(row) for row in np.stack([u, v, xyz[..., 2]], axis=-1)]
    images = [grey16(np.where(one == 0, 32001, one)) for one in depth]
    for k in (0, 1):
        put(root / f"Training/Depth/201403121135/image_{k:04d}.png", images[k])
    put(root / "Training/Depth/22-5/201403121135/image_0000.png", images[0])
    training = [f"201403121135/image_{k:04d}.png {lines[k]} 1 2 3 \n" for k in (0, 1)]
    put(root / "Training/labels.txt", "".join([*training, f"22-5/201403121135/image_0000.png {lines[0]} 1 2 3 \n"]))
    for k in (1, 2):
        put(root / f"Testing/Depth/test_seq_{k}/image_0000.png", images[k + 1])
        put(root / f"Testing/test_seq_{k}.txt", f"test_seq_{k}/image_0000.png {lines[k + 1]} \n")


def write_msra15(root: Path) -> None:
    """Two gestures of P0 and one of P1, with +y up and z negative."""
    depth, points = scene((320, 240, 241.42, 241.42, 160, 120))
    rows = [line(row) for row in joints(points, MSRA) * [1, -1, -1]]
    for folder, frames in {"P0/1": [0], "P0/TIP": [1], "P1/1": [2, 3]}.items():
        put(root / folder / "joint.txt", f"{len(frames)}\n" + "".join(f"{rows[k]}\n" for k in frames))
        for number, k in enumerate(frames):
            v, u = np.nonzero(depth[k])
            left, top, right, bottom = u.min(), v.min(), u.max() + 1, v.max() + 1
            patch = depth[k][top:bottom, left:right].astype("<f4").tobytes()
            put(
                root / folder / f"{number:06d}_depth.bin",
                struct.pack("<6i", 320, 240, left, top, right, bottom) + patch,
            )


def write_hands17(
    root: Path, labels: str = "training/Training_Annotation.txt", images: str = "training/images"
) -> None:
    depth, points = scene(SR300)
    rows = joints(points, FPHA)
    text = "".join(f"image_D{k + 1:08d}.png\t{line(rows[k], chr(9))}\t\n" for k in range(FRAMES))
    put(root / labels, text)
    for k in range(FRAMES):
        put(root / images / f"image_D{k + 1:08d}.png", grey16(depth[k]))


def write_hands19(root: Path) -> None:
    write_hands17(root, "Task1/training_joint_annotation.txt", "Task1/training_images")


def write_bighand(root: Path) -> None:
    depth, points = scene(SR300)
    rows = joints(points, FPHA)
    for subject, viewpoint, frames in (
        ("Subject_1", "1 75", [0]),
        ("Subject_1", "ego", [1]),
        ("Subject_2", "1 75", [2, 3]),
    ):
        text = "".join(f"image_D{k:08d}.png\t{line(rows[k], chr(9))}\n" for k in frames)
        put(root / f"full_annotation/{subject}/{viewpoint}_loc_shift_made_by_qi_20180112_v2.txt", text)
        for k in frames:
            put(root / subject / viewpoint / f"image_D{k:08d}.png", grey16(depth[k]))
    put(root / "full_annotation/Subject_1/README.txt", "Some words.\n")


def write_stb(root: Path) -> None:
    """Two frames of B1 and B2. Joints are in the colour camera's frame; handPara is (3, 21, frames)."""
    depth, points = scene((640, 480, 475.62768, 474.77709, 336.41179, 238.77962), left=True)
    turn = Rotation.from_rotvec([0.00531, -0.01196, 0.00301])
    in_depth = joints(points, STB) - [-24.0381, -0.4563, -1.2326]
    in_colour = turn.inv().apply(in_depth.reshape(-1, 3)).reshape(FRAMES, 21, 3)
    for folder, frames in {"B1Counting": [0, 1], "B2Random": [2, 3]}.items():
        put(root / "labels" / f"{folder}_SK.mat", mat5(handPara=in_colour[frames].transpose(2, 1, 0)))
        (root / "images" / folder).mkdir(parents=True)
        for number, k in enumerate(frames):
            rgb = np.stack([depth[k] % 256, depth[k] // 256, depth[k] * 0], axis=-1).astype(np.uint8)
            write_png(root / "images" / folder / f"SK_depth_{number}.png", rgb)


def write_fpha(root: Path) -> None:
    depth, points = scene(SR300)
    rows = joints(points, FPHA)
    for subject, frames in {"Subject_1": [0, 1], "Subject_2": [2, 3]}.items():
        text = "".join(f"{number} {line(rows[k])}\n" for number, k in enumerate(frames))
        put(root / "Hand_pose_annotation_v1_1" / subject / "put_salt/1/skeleton.txt", text)
        for number, k in enumerate(frames):
            put(root / "Video_files" / subject / f"put_salt/1/depth/depth_{number:04d}.png", grey16(depth[k]))


def write_handnet(root: Path) -> None:
    depth, points = scene((320, 240, 240.5, 241.5, 158.5, 121.5))
    put(root / "Parameters.mat", mat5(KK=np.array([[240.5, 0, 158.5], [0, 241.5, 121.5], [0, 0, 1]])))
    rows = joints(points, "TTIP ITIP MTIP RTIP PTIP C")
    for folder, frames in {"TrainData": [0, 1], "TestData": [2, 3]}.items():
        for number, k in enumerate(frames):
            put(root / folder / f"Data_{number:07d}.mat", mat5(depth=depth[k], pos=rows[k].T))


WRITERS: dict[str, Callable[[Path], None]] = {
    "icvl": write_icvl,
    "msra15": write_msra15,
    "hands17": write_hands17,
    "bighand": write_bighand,
    "hands19": write_hands19,
    "stb": write_stb,
    "fpha": write_fpha,
    "handnet": write_handnet,
}
