"""Mutated label files, with fixed seeds: each is read or refused with a message, nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from hpf_core.comparison.compare import compare
from hpf_core.data.layouts import nyu
from hpf_core.data.layouts.capture import _read_labels
from hpf_core.errors import HPFError
from hpf_core.evaluation.protocols import ICVL, NYU, TextProtocol

HOSTILE = (
    "nan",
    "-inf",
    "1e308",
    "1e999",
    "0",
    "-1",
    "0x10",
    "1,5",
    "",
    "\x00",
    "\x1b[2J",
    "é",
    "9" * 400,
    "- 1",
    "1 2",
)


def hands(protocol: TextProtocol, frames: int = 12) -> np.ndarray:
    """Plausible hands (frames, K, 3), in u v d: rigid points that move before the camera."""
    draw = np.random.default_rng(3)
    hand = draw.uniform(-80, 80, (1, len(protocol.joints), 3)) * [1, 1, 0.5]
    return protocol.to_uvd(hand + draw.uniform(-40, 40, (frames, 1, 3)) + [0, 0, 800])


def mutated_text(text: str, source: random.Random) -> bytes:
    """The text with one to three random changes."""
    for _ in range(source.randint(1, 3)):
        lines = text.split("\n")
        row, place = source.randrange(len(lines)), source.randrange(len(text) + 1)
        words = lines[row].split(" ")
        match source.randrange(6):
            case 0:
                words[source.randrange(len(words))] = source.choice(HOSTILE)
                lines[row] = " ".join(words)
            case 1:
                lines.insert(row, source.choice(["", "# comment", lines[0], "\ufeff"]))
            case 2:
                del lines[row]
            case 3:
                lines[row] = " ".join(words[: source.randrange(len(words))])
            case 4:
                lines = ["\n".join(lines)[:place]]
            case _:
                lines = [line.replace(" ", source.choice(["\t", ",", ";", "  "])) for line in lines]
        text = "\n".join(lines)
    content = text.encode("utf-8", "replace")
    if source.random() < 0.2:
        content = b"\xff\xfe" + content
    return content


def mutated_bytes(content: bytes, source: random.Random) -> bytes:
    """The content with flipped bytes, or cut."""
    changed = bytearray(content)
    for _ in range(source.choice([1, 3, 30])):
        changed[source.randrange(len(changed))] = source.randrange(256)
    return bytes(changed[: source.randrange(len(changed))] if source.random() < 0.3 else changed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("protocol", [NYU, ICVL], ids=lambda protocol: protocol.name)
def test_mutated_texts(tmp_path: Path, protocol: TextProtocol) -> None:
    labels, predictions = tmp_path / "labels.txt", tmp_path / "predictions.txt"
    rows = hands(protocol).reshape(12, -1)
    text = "\n".join(" ".join(f"{value:.3f}" for value in row) for row in rows) + "\n"
    source, counts = random.Random(7), {"read": 0, "refused": 0}
    messages: list[str] = []
    for number in range(200):
        contents = [text.encode(), text.encode()]
        contents[number % 2] = mutated_text(text, source)
        labels.write_bytes(contents[0])
        predictions.write_bytes(contents[1])
        try:
            found = compare([predictions], labels, protocol)
        except HPFError as error:
            counts["refused"] += 1
            messages.append(str(error))
        else:
            counts["read"] += 1
            assert all(np.isfinite(one.mean) for one in found.measured.values())
    assert max(map(len, messages)) < 2000
    assert not any(ord(letter) < 32 and letter != "\n" for letter in "".join(messages))
    assert min(counts.values()) >= 3, counts


@pytest.mark.parametrize("value", [0, -1])
def test_lines_of_zeros_are_frames_without_labels(tmp_path: Path, value: float) -> None:
    """They are left out and counted, and the other frames' figures are those without them."""
    uvd = hands(NYU)
    predicted = uvd + np.array([1.0, 0, 0])
    kept = np.delete(np.arange(12), [2, 7])
    blank = uvd.copy()
    blank[[2, 7]] = value
    for name, rows in {
        "labels": blank,
        "predictions": predicted,
        "few": uvd[kept],
        "few_predicted": predicted[kept],
    }.items():
        np.savetxt(tmp_path / f"{name}.txt", rows.reshape(len(rows), -1), fmt="%.3f")
    found = compare([tmp_path / "predictions.txt"], tmp_path / "labels.txt", NYU)
    without = compare([tmp_path / "few_predicted.txt"], tmp_path / "few.txt", NYU)
    assert found.unlabelled == (3, 8)
    assert without.unlabelled == ()
    assert found.measured["predictions"].mean == pytest.approx(without.measured["few_predicted"].mean, rel=1e-9)
    np.savetxt(tmp_path / "labels.txt", np.full((12, 42), value), fmt="%.3f")
    with pytest.raises(HPFError, match=r"labels\.txt:1"):
        compare([tmp_path / "predictions.txt"], tmp_path / "labels.txt", NYU)


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_of_arrays(tmp_path: Path) -> None:
    """`joint_data.mat` of NYU's layout, and `joints.npz` of HPF's."""
    draw = np.random.default_rng(0)
    xyz = draw.uniform(-80, 80, (2, 4, len(nyu.JOINTS), 3)) + np.array([0, 0, 800])
    mat, npz = tmp_path / "joint_data.mat", tmp_path / "joints.npz"
    scipy.io.savemat(mat, {"joint_xyz": xyz, "joint_names": np.array([nyu.JOINTS], dtype=object)})
    np.savez(npz, xyz=xyz[0], names=np.array(nyu.JOINTS), frame=np.arange(4))
    assert nyu.read_annotation(tmp_path).xyz.shape == xyz.shape
    assert _read_labels(npz)[0].shape == xyz[0].shape
    source = random.Random(11)
    packed = tmp_path / "packed" / mat.name
    packed.parent.mkdir()
    scipy.io.savemat(packed, scipy.io.loadmat(mat), do_compression=True)
    for path, read in (
        (mat, lambda: nyu.read_annotation(tmp_path)),
        (packed, lambda: nyu.read_annotation(packed.parent)),
        (npz, lambda: _read_labels(npz)),
    ):
        whole, messages = path.read_bytes(), []
        for _ in range(150):
            path.write_bytes(mutated_bytes(whole, source))
            try:
                read()
            except HPFError as error:
                messages.append(str(error))
        assert len(messages) >= 20
        assert all(path.name in message for message in messages)
