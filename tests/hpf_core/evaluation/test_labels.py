"""The text format: what is read, what is refused and with which line, and how fast."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hpf_core.errors import DataError, InputError
from hpf_core.evaluation.labels import read_pair, read_uvd, write_uvd
from hpf_core.evaluation.protocols import ICVL, MSRA, NYU, PROTOCOLS, TextProtocol, text_protocol


def _some(frames: int, protocol: TextProtocol = NYU) -> np.ndarray:
    draw = np.random.default_rng(5)
    uvd = draw.uniform(1, 600, (frames, len(protocol.joints), 3))
    return np.round(uvd, 3)


def _lines(frames: int) -> list[list[str]]:
    return [[f"{value:.3f}" for value in row] for row in _some(frames).reshape(frames, -1)]


def _write(path: Path, lines: list[list[str]]) -> Path:
    path.write_text("\n".join(" ".join(line) for line in lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_what_is_written_is_read(tmp_path: Path, protocol: TextProtocol) -> None:
    uvd = _some(9, protocol)
    write_uvd(tmp_path / "new" / "a.txt", uvd, protocol)
    np.testing.assert_array_equal(read_uvd(tmp_path / "new" / "a.txt", protocol), uvd)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace(" ", "\t"),
        lambda text: text.replace("\n", " \n"),
        lambda text: "\ufeff" + text,
        lambda text: text + "\n \n\n",
        lambda text: text.rstrip("\n"),
        lambda text: text.replace(" ", "   "),
    ],
    ids=["windows", "tabs", "blank at the end", "byte-order mark", "empty lines after", "no last newline", "wide"],
)
def test_harmless_variants_are_read(tmp_path: Path, change: Callable[[str], str]) -> None:
    path = _write(tmp_path / "a.txt", _lines(4))
    path.write_text(change(path.read_text()), encoding="utf-8", newline="")
    np.testing.assert_array_equal(read_uvd(path, NYU), _some(4))


@pytest.mark.parametrize(
    ("column", "token", "message"),
    [
        (3, "nan", "a.txt:3: column 4 (u of F1_KNU2_B): 'nan' isn't a finite number"),
        (4, "-inf", "a.txt:3: column 5 (v of F1_KNU2_B): '-inf' isn't a finite number"),
        (4, "1e999", "isn't a finite number"),
        (41, "twelve", "a.txt:3: column 42 (d of PALM_3): 'twelve' isn't a number"),
        (0, "1_0", "a.txt:3: column 1 (u of F1_KNU3_A): '1_0' isn't a number"),
        (0, "3,5", "'3,5' isn't a number"),
        (2, "0", "a.txt:3: column 3 (d of F1_KNU3_A): '0' isn't a depth; expected mm above 0"),
        (2, "-700", "isn't a depth"),
        (1, "1e9", "'1e9' is beyond any camera; expected at most 1,000,000"),
        (1, "x" * 5000, "'" + "x" * 60 + "...' isn't a number"),
    ],
)
def test_wrong_number_names_line_and_column(tmp_path: Path, column: int, token: str, message: str) -> None:
    lines = _lines(5)
    lines[2][column] = token
    path = _write(tmp_path / "a.txt", lines)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_uvd(path, NYU)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_wrong_number_of_columns_names_the_line(tmp_path: Path) -> None:
    lines = _lines(5)
    # One too few and one too many: the sum is right.
    lines[1].append(lines[3].pop())
    with pytest.raises(DataError, match=r"a\.txt:2: 43 columns, expected 42 \(u v d of 14 joints, protocol nyu\)\."):
        read_uvd(_write(tmp_path / "a.txt", lines), NYU)


def test_file_of_another_protocol_is_recognised(tmp_path: Path) -> None:
    write_uvd(tmp_path / "a.txt", _some(3, ICVL), ICVL)
    with pytest.raises(DataError, match=r"a\.txt:1: 48 columns, expected 42 .*48 are those of protocol icvl"):
        read_uvd(tmp_path / "a.txt", NYU)


def test_empty_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    lines = _lines(4)
    lines.insert(2, [])
    with pytest.raises(DataError, match=r"a\.txt:3: 0 columns"):
        read_uvd(_write(tmp_path / "a.txt", lines), NYU)


def test_enormous_line_is_not_repeated_in_the_message(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("1.5 " * 500_000)
    with pytest.raises(DataError, match=r"a\.txt:1: 500000 columns") as caught:
        read_uvd(path, NYU)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_enormous_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(3 * 2**30)  # sparse: it takes no room on the disk
    with pytest.raises(DataError, match=r"has 3,072 MiB; .* at most 256 MiB"):
        read_uvd(path, NYU)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.txt is empty"),
        (b"\n \n\n", r"a\.txt is empty"),
        (b"1 2 3\n\x89PNG\xff\n", r"a\.txt:2: not a text file \(byte 0x89\)"),
        (b"1 2 3\n\n\0\0\0", r"a\.txt:3: not a text file \(it contains zero bytes\)"),
    ],
)
def test_what_is_no_text_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_uvd(tmp_path / "a.txt", NYU)


def test_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("1")
    with pytest.raises(DataError, match=r"lable\.txt doesn't exist\. Its folder holds labels\.txt\."):
        read_uvd(tmp_path / "lable.txt", NYU)
    with pytest.raises(DataError, match="Nor does its folder"):
        read_uvd(tmp_path / "none" / "a.txt", NYU)
    with pytest.raises(DataError, match="is a folder"):
        read_uvd(tmp_path, NYU)
    with pytest.raises(DataError, match="isn't an ordinary file"):
        read_uvd(Path("/dev/null"), NYU)


def test_unequal_numbers_of_lines_name_both_files_and_the_line(tmp_path: Path) -> None:
    labels = _some(4)
    short, long = _write(tmp_path / "short.txt", _lines(3)), _write(tmp_path / "long.txt", _lines(6))
    with pytest.raises(
        DataError, match=r"short\.txt:4: line 4 is missing: .*short\.txt has 3 lines, labels\.txt has 4"
    ):
        read_pair(short, labels, Path("labels.txt"), NYU)
    with pytest.raises(
        DataError, match=r"long\.txt:5: line 5 has no label: .*long\.txt has 6 lines, labels\.txt has 4"
    ):
        read_pair(long, labels, Path("labels.txt"), NYU)


def test_writing_refuses_what_could_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for bad in (np.nan, np.inf, 0.0, -3.0, 0.0004):
        uvd = _some(3)
        uvd[1, 2, 2] = bad
        with pytest.raises(DataError, match="Joint F2_KNU3_A of frame 1"):
            write_uvd(path, uvd, NYU)
    with pytest.raises(DataError, match=r"writes \(frames, 14, 3\), not \(3, 16, 3\)"):
        write_uvd(path, _some(3, ICVL), NYU)
    assert not path.exists()


def test_a_whole_test_set_is_read_within_a_second_and_its_last_fault_found(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_uvd(path, _some(8252), NYU)
    start = time.process_time()
    assert read_uvd(path, NYU).shape == (8252, 14, 3)
    assert time.process_time() - start < 1.0
    text = path.read_text().rstrip("\n")
    path.write_text(text[: text.rindex(" ")] + " nan\n")
    with pytest.raises(DataError, match=r"a\.txt:8252: column 42"):
        read_uvd(path, NYU)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_records_are_whole(protocol: TextProtocol) -> None:
    assert (
        len(set(protocol.joints))
        == len(protocol.joints)
        == {"nyu": 14, "icvl": 16, "handnet": 6}.get(protocol.name, 21)
    )
    assert len(protocol.fingertips) == 5
    for tip in protocol.fingertips:
        assert protocol.joints[tip].endswith(("KNU3_A", "tip"))
    subject = protocol.subject_of(protocol.frames)
    if protocol is MSRA or protocol.xyz:
        assert subject is None  # who is shown is known from the dataset's folders
        return
    assert subject is not None
    assert np.bincount(subject).tolist() == {"nyu": [2440, 5812], "icvl": [702, 894]}[protocol.name]
    assert (np.diff(subject) >= 0).all()
    assert protocol.subject_of(protocol.frames - 1) is None


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@given(
    pixels=arrays(np.float64, (4, 2), elements=st.floats(-100, 800)),
    depth=arrays(np.float64, (4, 1), elements=st.floats(100, 2000)),
)
@settings(max_examples=30, deadline=None)
def test_to_mm_and_back(protocol: TextProtocol, pixels: np.ndarray, depth: np.ndarray) -> None:
    uvd = np.concatenate([pixels, depth], axis=1)
    np.testing.assert_allclose(protocol.to_uvd(protocol.to_xyz(uvd)), uvd, atol=1e-9)


def test_axes_are_x_right_y_down() -> None:
    xyz = NYU.to_xyz(np.array([320 + 588.03, 240 + 587.07, 700.0]))
    np.testing.assert_allclose(xyz, [700.0, 700.0, 700.0])


def test_unknown_protocol_names_the_nearest() -> None:
    assert text_protocol(" NYU ") is NYU
    with pytest.raises(InputError, match=r"no evaluation protocol 'nyuu'\. Did you mean 'nyu'\?"):
        text_protocol("nyuu")
    with pytest.raises(InputError, match="Known: bighand, fpha, handnet"):
        text_protocol("dexycb")
    assert text_protocol("msra15") is MSRA
