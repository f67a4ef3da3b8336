"""Published predictions give their published figures. Needs the public files, which aren't part of the project.

They are looked for in the folder `$HPF_SHARED_DATA`, else in `shared/data` beside the repository.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpf_core.evaluation.labels import read_pair, read_uvd
from hpf_core.evaluation.metrics import Measured, measure
from hpf_core.evaluation.protocols import text_protocol

DATA = Path(os.environ.get("HPF_SHARED_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data")


def _published(name: str, method: str) -> Measured:
    protocol, folder = text_protocol(name), DATA / f"{name}_eval"
    if not folder.is_dir():
        pytest.skip(f"no published predictions for {name}")
    labels = read_uvd(folder / "labels_test.txt", protocol)
    predicted = read_pair(folder / f"{method}.txt", labels, folder / "labels_test.txt", protocol)
    return measure(
        protocol.to_xyz(predicted),
        protocol.to_xyz(labels),
        joint_names=protocol.joints,
        fingertips=protocol.fingertips,
        subject=protocol.subject_of(len(labels)),
        subject_names=protocol.subject_names,
    )


@pytest.mark.parametrize(
    ("protocol", "method", "mean"),
    [
        ("nyu", "deepprior_pp", 12.238),
        ("nyu", "v2v_posenet", 8.419),
        ("nyu", "feedback", 15.973),
        ("icvl", "pose_ren", 6.791),
    ],
)
def test_mean_error_to_three_decimals(protocol: str, method: str, mean: float) -> None:
    assert round(_published(protocol, method).mean, 3) == mean


def test_v2v_on_each_subject_and_its_success() -> None:
    found = _published("nyu", "v2v_posenet")
    assert {name: (each.frames, round(each.mean, 2)) for name, each in found.subjects.items()} == {
        "training subject": (2440, 4.22),
        "new subject": (5812, 10.18),
    }
    assert [round(100 * found.success[t], 1) for t in (20, 30, 40)] == [71.2, 83.1, 88.1]
