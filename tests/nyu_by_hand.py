"""Frames in NYU's layout by code that shares nothing with the package: PNG from its specification, labels by scipy."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import scipy.io


def png(depth: np.ndarray) -> bytes:
    """An 8-bit RGB PNG (W3C, PNG specification) in two IDAT chunks: green the high byte, blue the low one; every other
    row by the filter `Sub`."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rgb = np.stack([np.full(depth.shape, 99), depth // 256, depth % 256], axis=-1).astype(np.int16)
    rgb[1::2, 1:] -= rgb[1::2, :-1].copy()
    rows = (rgb % 256).astype(np.uint8).reshape(len(depth), -1)
    filters = (np.arange(len(depth)) % 2).astype(np.uint8)[:, None]
    packed = zlib.compress(np.hstack([filters, rows]).tobytes(), 1)
    head = struct.pack(">IIBBBBB", depth.shape[1], depth.shape[0], 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", packed[:100]), (b"IDAT", packed[100:]), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def write_split(folder: Path, images: list[list[np.ndarray]], xyz: np.ndarray) -> None:
    """A split of NYU: `images[view][frame]` (480, 640) mm, and joints (V, N, 36, 3) mm with +y UP.

    An image that is used again, the same object, is a link to its first file.
    """
    folder.mkdir(parents=True)
    written: dict[int, Path] = {}
    for view, frames in enumerate(images):
        for frame, depth in enumerate(frames):
            path = folder / f"depth_{view + 1}_{frame + 1:07d}.png"
            if id(depth) in written:
                os.link(written[id(depth)], path)
            else:
                path.write_bytes(png(depth))
                written[id(depth)] = path
    finger = ("KNU3_A", "KNU3_B", "KNU2_A", "KNU2_B", "KNU1_A", "KNU1_B")
    names = [f"{digit}_{name}" for digit in ("F1", "F2", "F3", "F4", "TH") for name in finger]
    names += [f"PALM_{k}" for k in range(1, 7)]
    scipy.io.savemat(
        folder / "joint_data.mat", {"joint_xyz": xyz, "joint_uvd": xyz, "joint_names": np.array([names], dtype=object)}
    )


def joints(frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Joints (3, frames, 36, 3) mm with +y UP as three cameras see them, and the maps (3, 4, 4) from each camera's
    frame, with +y DOWN, to the first one's."""
    rng, place = np.random.default_rng(0), np.array([20.0, -10.0, 850.0])
    points = rng.normal(size=(frames, 36, 3)) * [30, 30, 15] + rng.normal(size=(frames, 1, 3)) * 8 + place
    to_rig, seen = [], []
    for degrees, aside in ((0, (0, 0, 0)), (25, (-15, 12, 9)), (-30, (20, -8, 11))):
        angle = np.radians(degrees)
        pose = np.eye(4)
        pose[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
        pose[:3, 3] = place - pose[:3, :3] @ place + aside  # the hand's place is about the same in all of them
        to_rig.append(pose)
        seen.append((points - pose[:3, 3]) @ pose[:3, :3])
    return np.stack(seen) * [1, -1, 1], np.stack(to_rig)
