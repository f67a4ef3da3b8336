"""`hpf eval` as people and scripts use it: output, exit codes, messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from hpf_cli.evaluate import evaluate
from hpf_cli.main import Commands
from hpf_core.evaluation.labels import write_uvd
from hpf_core.evaluation.protocols import ICVL, NYU, TextProtocol
from hpf_core.evaluation.result import FIELDS

DATA = Path(os.environ.get("HPF_SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
SUMMARY_FIELDS = (
    *("after", "data", "split", "centre", "joints", "frames", "mean_error_mm", "median_error_mm", "success"),
    *("fingertip_error_mm", "per_joint_mm", "subjects"),
)

app = typer.Typer(cls=Commands, pretty_exceptions_enable=False, rich_markup_mode=None)
app.callback()(lambda: None)
app.command("eval")(evaluate)


def _run(*words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    found = CliRunner().invoke(app, ["eval", *map(str, words)], catch_exceptions=False)
    return found.exit_code, found.stdout, found.stderr


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Labels and predictions of 6 frames; the predictions lie 5 mm too far."""
    return _pair(tmp_path, NYU, 6)


def _pair(folder: Path, protocol: TextProtocol, frames: int) -> tuple[Path, Path]:
    draw = np.random.default_rng(1)
    shape = (frames, len(protocol.joints), 2)
    xyz = np.concatenate([draw.uniform(-90, 90, shape), draw.uniform(400, 900, (*shape[:2], 1))], axis=-1)
    write_uvd(folder / "labels.txt", protocol.to_uvd(xyz), protocol)
    write_uvd(folder / "method.txt", protocol.to_uvd(xyz + np.array([0.0, 0.0, 5.0])), protocol)
    return folder / "labels.txt", folder / "method.txt"


def test_json_has_the_fields_of_a_summary(files: tuple[Path, Path]) -> None:
    labels, method = files
    code, out, err = _run(method, "--labels", labels, "--protocol", "nyu", "--json")
    assert code == 0
    (found,) = json.loads(out)["evaluation"]
    assert tuple(found) == SUMMARY_FIELDS == FIELDS
    assert found["mean_error_mm"] == pytest.approx(5.0, abs=2e-3)  # the file has three decimals
    assert (found["after"], found["data"], found["joints"], found["frames"]) == ("method", "nyu", 14, 6)
    assert found["success"] == {"20": 1.0, "30": 1.0, "40": 1.0, "50": 1.0}
    assert found["subjects"] == {}
    assert "6 of the 8,252 frames" in err


def test_table_fits_80_columns(files: tuple[Path, Path]) -> None:
    labels, method = files
    code, out, _ = _run(method, "--labels", labels)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    row = next(line for line in out.splitlines() if "method" in line)
    assert row.split() == ["method", "6", "5.000", "5.000", "5.000", "100.0", "100.0", "100.0", "100.0"]


def test_other_protocol_and_its_subjects(tmp_path: Path) -> None:
    labels, method = _pair(tmp_path, ICVL, ICVL.frames)
    code, out, err = _run(method, "-l", labels, "-p", "icvl", "--json")
    assert (code, err) == (0, "")
    (found,) = json.loads(out)["evaluation"]
    assert {name: each["frames"] for name, each in found["subjects"].items()} == {
        "test sequence 1": 702,
        "test sequence 2": 894,
    }
    assert set(found["subjects"]["test sequence 1"]) == set(SUMMARY_FIELDS[5:-1])


def test_out_writes_figures_and_tables(files: tuple[Path, Path], tmp_path: Path) -> None:
    labels, method = files
    code, out, err = _run(method, "--labels", labels, "--out", tmp_path / "new", "--json")
    assert code == 0
    assert "wrote success_curve.png" in err
    assert {p.name for p in (tmp_path / "new").iterdir()} == {
        *("success_curve.png", "per_joint.png", "frames.csv", "evaluation.json"),
    }
    assert json.loads((tmp_path / "new" / "evaluation.json").read_text()) == json.loads(out)


def test_folder_of_a_run_shows_what_it_recorded(files: tuple[Path, Path], tmp_path: Path) -> None:
    labels, method = files
    found = json.loads(_run(method, "--labels", labels, "--json")[1])["evaluation"][0]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(json.dumps({"evaluation": [found | {"after": "fit"}]}))
    code, out, _ = _run(tmp_path / "one", "--json")
    assert code == 0
    assert json.loads(out)["evaluation"] == [found | {"after": "fit", "run": str(tmp_path / "one")}]
    code, out, _ = _run(tmp_path / "one", tmp_path / "two")
    assert code == 0
    assert out.count("5.000") == 6
    assert _run(tmp_path / "one", method)[0] == 2


@pytest.mark.parametrize(
    ("line", "change", "message"),
    [
        (3, lambda tokens: tokens[:-1], "method.txt:4: 41 columns, expected 42"),
        (5, lambda tokens: [*tokens, "1.0"], "method.txt:6: 43 columns, expected 42"),
        (
            1,
            lambda tokens: ["nan", *tokens[1:]],
            "method.txt:2: column 1 (u of F1_KNU3_A): 'nan' isn't a finite",
        ),
        (0, lambda tokens: [*tokens[:-1], "far"], "method.txt:1: column 42 (d of PALM_3): 'far' isn't a number"),
    ],
)
def test_bad_line_is_named(files: tuple[Path, Path], line: int, change, message: str) -> None:
    labels, method = files
    lines = method.read_text().splitlines()
    lines[line] = " ".join(change(lines[line].split()))
    method.write_text("\n".join(lines))
    code, out, err = _run(method, "--labels", labels, "--json")
    assert (code, out) == (2, "")
    assert message in err
    # The labels are held to the same.
    code, out, err = _run(labels, "--labels", method)
    assert (code, out) == (2, "")
    assert message in err


def test_wrong_number_of_lines_names_line_and_files(files: tuple[Path, Path]) -> None:
    labels, method = files
    method.write_text("\n".join(method.read_text().splitlines()[:4]))
    code, out, err = _run(method, "--labels", labels)
    assert (code, out) == (2, "")
    assert "line 5 is missing" in err
    assert "method.txt has 4 lines" in err
    assert "labels.txt has 6" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["METHOD"], "add --labels FILE"),
        (["METHOD", "--labels", "LABELS", "--protocol", "nuy"], "Did you mean 'nyu'?"),
        (["METHOD", "--labels", "LABELS", "--protocol", "icvl"], "labels.txt:1: 42 columns, expected 48"),
        (["METHOD", "METHOD", "--labels", "LABELS"], "method.txt is given twice"),
        (["none.txt", "--labels", "LABELS"], "none.txt doesn't exist"),
        (["runs/none"], "runs/none doesn't exist"),
        (["METHOD", "--labels", "none.txt"], "none.txt doesn't exist"),
        (["FOLDER"], "holds no summary.json"),
        ([], "Missing argument"),
    ],
)
def test_wrong_use_is_exit_2_with_a_message(files: tuple[Path, Path], words: list[str], message: str) -> None:
    labels, method = files
    known = {"LABELS": labels, "METHOD": method, "FOLDER": labels.parent}
    code, out, err = _run(*(known.get(word, word) for word in words))
    assert (code, out) == (2, "")
    assert message in err


def test_help_has_an_example() -> None:
    code, out, _ = _run("--help")
    assert code == 0
    assert "hpf eval v2v_posenet.txt" in out


def test_published_predictions() -> None:
    folder = DATA / "nyu_eval"
    if not folder.is_dir():
        pytest.skip("no published predictions")
    methods = {"deepprior_pp": 12.238, "v2v_posenet": 8.419, "feedback": 15.973}
    paths = [folder / f"{name}.txt" for name in methods]
    code, out, err = _run(*paths, "--labels", folder / "labels_test.txt", "--protocol", "nyu", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)["evaluation"]
    assert {each["after"]: round(each["mean_error_mm"], 3) for each in found} == methods
    for each in found:
        assert [subject["frames"] for subject in each["subjects"].values()] == [2440, 5812]


def test_needs_no_torch(files: tuple[Path, Path]) -> None:
    labels, method = files
    program = (
        "import sys; from hpf_cli.evaluate import evaluate; from pathlib import Path\n"
        "light = 'numpy' in sys.modules\n"
        f"evaluate([Path({str(method)!r})], Path({str(labels)!r}))\n"
        "sys.exit(light or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, capture_output=True).returncode == 0
