"""`capture.json`: read back as written, and never half believed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpf_core.data.sidecar import SIDECAR, Segment, Sidecar, read_sidecar
from hpf_core.errors import DataError

WHOLE = Sidecar(
    simulated=True,
    rate_hz=10.0,
    subject_names={0: "one", 1: "another"},
    segments={"train": (Segment(0, 5, 0, 0),), "test": (Segment(0, 3, 1, 0), Segment(3, 2, 2, 1))},
    made={"version": 2, "config": {"seed": 3}},
)


def test_reads_back_what_was_written(tmp_path: Path) -> None:
    WHOLE.save(tmp_path)
    assert read_sidecar(tmp_path) == WHOLE
    assert [path.name for path in tmp_path.iterdir()] == [SIDECAR]


def test_a_real_capture_need_not_have_one(tmp_path: Path) -> None:
    assert read_sidecar(tmp_path) is None
    (tmp_path / SIDECAR).write_text('{"rate_hz": 30}')
    assert read_sidecar(tmp_path) == Sidecar(rate_hz=30)


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00\xff", "null", '{"simulatd": true}', '{"rate_hz": -1}'])
def test_a_damaged_one_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / SIDECAR).write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=r"capture\.json is damaged: "):
        read_sidecar(tmp_path)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([[1, 4, 0, 0]], "begin at frame 1, not at 0"),
        ([[0, 4, 0, 0], [5, 4, 1, 1]], "begins at frame 5, but the one before it ends at 4"),
        ([[0, 4, 0, 0], [4, 0, 1, 1]], "needs 1 frame or more"),
        ([[0, 4, 0, 7]], "subject 7 has no name"),
    ],
)
def test_impossible_segments_are_refused(tmp_path: Path, segments: list[list[int]], message: str) -> None:
    document = json.loads(WHOLE.model_dump_json())
    names = ("first", "frames", "sequence", "subject")
    document["segments"]["test"] = [dict(zip(names, values, strict=True)) for values in segments]
    (tmp_path / SIDECAR).write_text(json.dumps(document))
    with pytest.raises(DataError, match=rf"capture\.json is damaged: segments of .test.*{message}"):
        read_sidecar(tmp_path)


def test_one_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / SIDECAR).mkdir()
    with pytest.raises(DataError, match=r"capture\.json can't be read"):
        read_sidecar(tmp_path)
