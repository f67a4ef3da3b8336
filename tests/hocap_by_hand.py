"""A made-up sequence of HO-Cap, written after its toolkit. It shares no code with the reader."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from dexycb_by_hand import SERIALS, K, poses
from dexycb_by_hand import write_sequence as write_recording


def write_extrinsics(root: Path, to_master: np.ndarray, unit: float = 1000.0) -> None:
    folder = root.parents[1] / "calibration" / "extrinsics"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"rs_master: '{SERIALS[1]}'", "extrinsics:"]
    for name in ("tag_0", "tag_1"):
        lines.append(f"  {name}: [1, 0, 0, 0.4, 0, 0, -1, 0.2, 0, 1, 0, 0.9]")
    for serial, pose in zip(SERIALS, to_master, strict=True):
        numbers = [f"{value / (unit if k % 4 == 3 else 1):.9f}" for k, value in enumerate(pose[:3].ravel())]
        lines.append(f"  '{serial}': [{', '.join(numbers)}]")
    (folder / "extrinsics_20231014.yaml").write_text("\n".join(lines) + "\n")


def write_label(root: Path, serial: str, frame: int, joints: np.ndarray) -> None:
    np.savez_compressed(
        root / serial / f"label_{frame:06d}.npz",
        cam_K=np.eye(3, dtype=np.float32),
        hand_joints_3d=joints,
        hand_joints_2d=np.full((2, 21, 2), -1),
        obj_class_names=np.array(["G01_1"]),
    )


def write_sequence(root: Path, slot: int = 0) -> np.ndarray:
    """Write a sequence with a right hand. Returns the joints (N, 21, 3) mm in the master camera's frame."""
    with TemporaryDirectory() as folder:
        taken = Path(folder) / "subject" / "sequence"
        joints = write_recording(taken)
        for serial in SERIALS:
            (root / serial).mkdir(parents=True)
            for image in (taken / serial).glob("*.png"):
                (root / serial / f"depth_{image.stem[-6:]}.png").write_bytes(image.read_bytes())
    (root / "hololens_kv5h72").mkdir()
    (root / "meta.yaml").write_text(
        "num_frames: 5\nobject_ids: [G01_1]\nmano_sides: [right]\ntask_id: 1\nsubject_id: subject_1\n"
        "hololens: {serial: hololens_kv5h72, pv_width: 1280, pv_height: 720}\nextrinsics: extrinsics_20231014.yaml\n"
        f"realsense: {{serials: {[*SERIALS]}, width: 640, height: 480}}\n"
    )
    write_extrinsics(root, poses())
    intrinsics = root.parents[1] / "calibration" / "intrinsics"
    intrinsics.mkdir(exist_ok=True)
    for view, serial in enumerate(SERIALS):
        fx, fy, cx, cy = K[view]
        colour = f"{{width: 640, height: 480, fx: {fx}, fy: {fy}, ppx: {cx}, ppy: {cy}}}"
        depth = "{width: 640, height: 480, fx: 1.0, fy: 1.0, ppx: 0.0, ppy: 0.0}"
        (intrinsics / f"{serial}.yaml").write_text(f"serial: '{serial}'\ncolor: {colour}\ndepth: {depth}\n")
        pose = poses()[view]
        for frame, one in enumerate(joints):
            both = np.full((2, 21, 3), -1.0, dtype=np.float32)
            both[slot] = (one - pose[:3, 3]) @ pose[:3, :3] / 1000
            write_label(root, serial, frame, both)
    return joints
