"""Files of predictions: JSON lines, CSV, NPZ, and the community's text format; all writes are atomic."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpf_core.errors import InputError, nearest
from hpf_core.evaluation.protocols import TextProtocol
from hpf_core.files.cache import write_atomic
from hpf_core.inference.streams import PredictedFrame

WRITERS = (".json", ".jsonl", ".csv", ".npz", ".txt")


def write_predictions(
    path: Path,
    frames: Sequence[PredictedFrame],
    annotation: str | None = None,
    protocol: TextProtocol | None = None,
) -> None:
    """Write frames to a file; the file's extension selects the format.

    - `.json`, `.jsonl`: a JSON document on each line, one line a frame.
    - `.csv`: a row for each joint of each hand.
    - `.npz`: arrays over all N hands: `frame` (N), `time` (N), `side` (N), `joints` (N, K, 3) mm, `pixels`
      (N, K, 2), `confidence`, `fit_mm`, `iou` (N), and `names` (K), `files` (F) of the frames.
    - `.txt`: the community's text format: a line for each frame, u v d (pixels, pixels, mm) of each joint of its most
      confident hand, zeros without a hand.

    Args:
        path: the file.
        frames: the predictions.
        annotation: annotation of the joints, such as "nyu14"; None for all points of the hand model.
        protocol: for `.txt`, the dataset whose joints the file has, in its order, as `hpf eval` reads them.

    Raises:
        InputError: unknown extension; a protocol for another format than text; or the hand model lacks its joints.
        RunError: the file isn't writable.
    """
    kind = path.suffix.lower()
    writers = {".json": _json, ".jsonl": _json, ".csv": _csv, ".npz": _npz, ".txt": _text}
    if kind not in writers:
        raise InputError(f"{path}: predictions are written to {', '.join(WRITERS)}. {nearest(kind, WRITERS)}")
    if protocol is not None:
        if kind != ".txt":
            raise InputError(f"{path}: a protocol orders the joints of a text file, but this file isn't a .txt file.")
        write_atomic(path, lambda temporary: _protocol_text(temporary, frames, protocol))
        return
    write_atomic(path, lambda temporary: writers[kind](temporary, frames, annotation))


def _json(path: Path, frames: Sequence[PredictedFrame], annotation: str | None) -> None:
    with path.open("w", encoding="utf-8") as file:
        for frame in frames:
            file.write(json.dumps(frame.document(annotation), allow_nan=False) + "\n")


_COLUMNS = ("frame", "time", "hand", "side", "confidence", "fit_mm", "iou", "joint", "x", "y", "z", "u", "v")


def _csv(path: Path, frames: Sequence[PredictedFrame], annotation: str | None) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(_COLUMNS)
        for frame in frames:
            for number, hand in enumerate(frame.hands):
                names, joints, pixels = _joints(frame, number, annotation)
                about = (f"{hand.confidence:.4f}", f"{hand.fit_mm:.3f}", f"{hand.iou:.4f}")
                for name, place, pixel in zip(names, joints, pixels, strict=True):
                    values = (f"{value:.3f}" for value in (*place, *pixel))
                    rows.writerow([frame.name, f"{frame.time:.6f}", number, hand.side, *about, name, *values])


def _npz(path: Path, frames: Sequence[PredictedFrame], annotation: str | None) -> None:
    hands = [(k, number, hand) for k, frame in enumerate(frames) for number, hand in enumerate(frame.hands)]
    made = [_joints(frames[k], number, annotation) for k, number, _ in hands]
    names = made[0][0] if made else ()
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            frame=np.array([k for k, _, _ in hands], dtype=np.int64),
            time=np.array([frames[k].time for k, _, _ in hands]),
            side=np.array([hand.side for _, _, hand in hands], dtype=str),
            joints=np.array([joints for _, joints, _ in made]).reshape(len(made), -1, 3),
            pixels=np.array([pixels for _, _, pixels in made]).reshape(len(made), -1, 2),
            confidence=np.array([hand.confidence for _, _, hand in hands]),
            fit_mm=np.array([hand.fit_mm for _, _, hand in hands]),
            iou=np.array([hand.iou for _, _, hand in hands]),
            names=np.array(names, dtype=str),
            files=np.array([frame.name for frame in frames], dtype=str),
        )


def _text(path: Path, frames: Sequence[PredictedFrame], annotation: str | None) -> None:
    count = next((len(_joints(frame, 0, annotation)[0]) for frame in frames if frame.hands), 0)
    rows = []
    for frame in frames:
        rows.append(np.zeros((count, 3)))
        if frame.hands:
            _, joints, pixels = _joints(frame, 0, annotation)
            rows[-1] = np.concatenate([pixels, joints[:, 2:]], axis=1)
    _write_rows(path, rows)


def _protocol_text(path: Path, frames: Sequence[PredictedFrame], protocol: TextProtocol) -> None:
    rows = []
    for frame in frames:
        rows.append(np.zeros((len(protocol.joints), 3)))
        if frame.hands:
            assert frame.camera is not None
            hand = frame.hands[0]
            joints = protocol.map_of(hand.annotations) @ hand.points
            pixels = np.concatenate([hand.pixels_at(joints, frame.camera), joints[:, 2:]], axis=1)
            rows[-1] = joints if protocol.xyz else pixels
    _write_rows(path, rows)


def _write_rows(path: Path, rows: Sequence[np.ndarray]) -> None:
    """A line for each array (K, 3)."""
    with path.open("w", encoding="ascii", newline="\n") as file:
        for values in rows:
            file.write(" ".join(f"{value:.3f}" for value in values.ravel()) + "\n")


def _joints(
    frame: PredictedFrame, number: int, annotation: str | None
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Names (K), joints (K, 3) mm and pixels (K, 2) of a hand of a frame."""
    hand = frame.hands[number]
    if annotation is None:
        return hand.names, hand.points, hand.pixels
    assert frame.camera is not None
    return hand.joint_names(annotation), hand.as_(annotation), hand.pixels_of(annotation, frame.camera)
