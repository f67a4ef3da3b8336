"""`hpf eval` as people and scripts use it: output, exit codes, messages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from safetensors.numpy import save_file
from typer.testing import CliRunner

from hpf_cli.evaluate import evaluate
from hpf_cli.main import Commands
from hpf_core.evaluation.labels import read_uvd, write_uvd
from hpf_core.evaluation.metrics import measure
from hpf_core.evaluation.protocols import ICVL, MSRA, NYU, TextProtocol
from hpf_core.evaluation.result import FIELDS, Evaluation

DATA = Path(os.environ.get("HPF_SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
SUMMARY_FIELDS = (
    *("after", "data", "split", "centre", "joints", "frames", "mean_error_mm", "median_error_mm", "success"),
    *("fingertip_error_mm", "per_joint_mm", "auc", "subjects"),
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
    assert tuple(found) == SUMMARY_FIELDS
    assert set(FIELDS) == set(SUMMARY_FIELDS) - {"auc"}
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
    assert row.split() == ["method", "6", "5.000", "5.00", "5.00", "100.0", "100.0", "100.0", "93.8"]


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
        *("success_curve.png", "success_curve_mean.png", "per_joint.png", "frames.csv", "curves.csv"),
        *("table.md", "table.tex", "evaluation.json"),
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
    assert out.count("5.000") == 2
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
    assert code == 2
    assert message in json.loads(out)["error"]["message"]
    assert err == "" or message in err
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
        (["FOLDER"], "has no summary.json"),
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


# ------------------------------------------------------------------------------- runs beside files, and what they write


def _run_folder(
    folder: Path,
    joints: np.ndarray,
    truth: np.ndarray,
    protocol: TextProtocol = NYU,
    subject: np.ndarray | None = None,
    data: str = "nyu",
) -> Path:
    """The folder of a finished run with a stage and its control, whose last prediction is `joints` (F, K, 3) mm."""
    documents = []
    stages = {"pretrain": joints + 9.0, "fit": joints, "control": joints - 7.0}
    for after, predicted in stages.items():
        found = measure(
            predicted,
            truth,
            joint_names=protocol.joints,
            fingertips=protocol.fingertips,
            subject=subject,
            subject_names={0: "first person", 1: "second person"},
        )
        documents.append(Evaluation(after, data, "test", "refined", found).document() | SIMULATED.get(data, {}))
        path = folder / "evaluation" / f"{after}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"joints": predicted, "truth": truth}, path)
    about = [{"name": name, "control_of": "fit" if name == "control" else None} for name in stages]
    (folder / "summary.json").write_text(json.dumps({"stages": about, "evaluation": documents}))
    return folder


SIMULATED = {"simulated": {"simulated": True}}


@pytest.fixture
def simulated(tmp_path: Path) -> tuple[Path, Path, np.ndarray]:
    """Two runs on the same 30 simulated frames, 12 of the second person and 18 of the first; the first run's errors."""
    draw = np.random.default_rng(3)
    truth = draw.uniform(-90, 90, (30, 14, 3)) + np.array([0.0, 0.0, 800.0])
    joints = truth + draw.normal(0, 6, truth.shape)
    subject = (np.arange(30) >= 12) ^ 1
    one = _run_folder(tmp_path / "one", joints, truth, subject=subject, data="simulated")
    two = _run_folder(tmp_path / "two", joints + 2.0, truth, subject=subject, data="simulated")
    return one, two, np.linalg.norm(joints - truth, axis=-1)


def test_a_run_s_stages_are_compared_by_the_annotation_that_it_keeps(
    simulated: tuple[Path, Path, np.ndarray], tmp_path: Path
) -> None:
    run, _, errors = simulated
    code, out, err = _run(run, "--out", tmp_path / "out", "--json")
    assert code == 0
    assert "wrote success_curve.png" in err
    found = json.loads(out)["evaluation"]
    recorded = json.loads((run / "summary.json").read_text())["evaluation"]
    assert found == [each | {"run": str(run)} for each in recorded]
    header, *rows = [line.split(",") for line in (tmp_path / "out" / "frames.csv").read_text().splitlines()]
    assert header == [
        "frame",
        "subject",
        *(f"{s} {w} mm" for s in ("pretrain", "fit", "control") for w in ("mean", "max")),
    ]
    assert [row[1] for row in rows] == ["second person"] * 12 + ["first person"] * 18
    assert [float(row[4]) for row in rows] == pytest.approx(errors.mean(axis=1).tolist(), abs=6e-4)
    assert [float(row[5]) for row in rows] == pytest.approx(errors.max(axis=1).tolist(), abs=6e-4)
    table = (tmp_path / "out" / "table.md").read_text()
    assert table.startswith("simulated/test (simulated): 30 frames. ")
    fit = recorded[1]
    people = [fit["subjects"][name]["mean_error_mm"] for name in ("first person", "second person")]
    assert f"| fit | {fit['mean_error_mm']:.3f} | {people[0]:.3f} | {people[1]:.3f} |" in table


def test_runs_of_the_same_data_are_compared_by_what_their_last_stages_predicted(
    simulated: tuple[Path, Path, np.ndarray], tmp_path: Path
) -> None:
    one, two, _ = simulated
    for words, after in (([], "fit"), (["--after", "control"], "control")):
        code, out, _ = _run(one, two, "--out", tmp_path / after, *words, "--json")
        assert code == 0
        found = json.loads(out)["evaluation"]
        assert [(each["after"], each["run"]) for each in found] == [(after, str(one)), (after, str(two))]
        header = (tmp_path / after / "curves.csv").read_text().splitlines()[0]
        assert header == "within mm,one max,one mean,two max,two mean"


def test_runs_that_saw_other_frames_are_not_compared(simulated: tuple[Path, Path, np.ndarray], tmp_path: Path) -> None:
    one, _, _ = simulated
    draw = np.random.default_rng(5)
    truth = draw.uniform(-90, 90, (30, 14, 3)) + np.array([0.0, 0.0, 800.0])
    shown = np.zeros(30, dtype=int)
    others = {
        "were evaluated on different frames of simulated/test": _run_folder(
            tmp_path / "a", truth, truth, subject=shown, data="simulated"
        ),
        "was evaluated on 30 frames of simulated/test, .* on 20": _run_folder(
            tmp_path / "b", truth[:20], truth[:20], subject=shown[:20], data="simulated"
        ),
        "was evaluated on simulated/test, .* on nyu/test": _run_folder(tmp_path / "c", truth, truth, subject=shown),
        "were evaluated on different joints": _run_folder(
            tmp_path / "d", np.repeat(truth, 2, 1)[:, :21], np.repeat(truth, 2, 1)[:, :21], MSRA, shown, "simulated"
        ),
    }
    for message, other in others.items():
        code, out, err = _run(one, other, "--out", tmp_path / "out")
        assert (code, out) == (2, "")
        assert re.search(message, " ".join(err.split()))
        assert not (tmp_path / "out").exists()


def test_people_that_cannot_be_told_apart_are_left_out_of_the_files(
    simulated: tuple[Path, Path, np.ndarray], tmp_path: Path
) -> None:
    """No order of the two gives them the errors that the run measured, as where frames alternate between them."""
    run, _, _ = simulated
    summary = json.loads((run / "summary.json").read_text())
    summary["evaluation"][0]["subjects"]["first person"]["mean_error_mm"] += 0.5
    (run / "summary.json").write_text(json.dumps(summary))
    assert _run(run, "--out", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / "frames.csv").read_text().splitlines()[1].startswith("1,,")
    assert "| method | mean | median |" in (tmp_path / "out" / "table.md").read_text()


@pytest.fixture
def mixed(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A run, a file of predictions and the labels of the same 40 frames."""
    labels, method = _pair(tmp_path, NYU, 40)
    truth = NYU.to_xyz(read_uvd(labels, NYU))
    joints = truth + np.random.default_rng(2).normal(0, 6, truth.shape)
    return _run_folder(tmp_path / "run", joints, truth), method, labels


def test_what_is_written_scores_as_the_summary_says(mixed: tuple[Path, Path, Path], tmp_path: Path) -> None:
    run, _, labels = mixed
    summary = json.loads((run / "summary.json").read_text())["evaluation"]
    for after, wanted in {None: summary[1], "pretrain": summary[0], "control": summary[2]}.items():
        path = tmp_path / f"{after}.txt"
        code, out, err = _run(run, "--write", path, *(["--after", after] if after else []), "--json")
        assert code == 0
        assert "wrote 40 frames x 14 joints" in err
        shown = json.loads(out)["evaluation"]
        assert [each["after"] for each in shown] == ([after] if after else ["pretrain", "fit", "control"])
        (found,) = json.loads(_run(path, "--labels", labels, "--json")[1])["evaluation"]
        assert found["mean_error_mm"] == pytest.approx(wanted["mean_error_mm"], abs=1e-3)
        assert found["per_joint_mm"] == pytest.approx(wanted["per_joint_mm"], abs=1e-3)


def test_runs_and_files_stand_in_one_table_and_figure(mixed: tuple[Path, Path, Path], tmp_path: Path) -> None:
    run, method, labels = mixed
    out = tmp_path / "out"
    code, text, _ = _run(run, method, "--labels", labels, "--out", out)
    assert code == 0
    assert max(map(len, text.splitlines())) <= 80
    found = json.loads((out / "evaluation.json").read_text())["evaluation"]
    summary = json.loads((run / "summary.json").read_text())["evaluation"][1]
    assert found[0]["mean_error_mm"] == pytest.approx(summary["mean_error_mm"], abs=1e-3)
    assert (found[0]["run"], found[0]["centre"], "run" in found[1]) == (str(run), "refined", False)
    table = (out / "table.md").read_text()
    assert table.index("| method |") < table.index("| run |")  # 5 mm before 9.6 mm
    assert "published" not in table  # 40 frames can't be compared with published figures
    assert (out / "curves.csv").read_text().startswith("within mm,run max,run mean,method max,method mean\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["RUN", "METHOD"], "add --labels FILE"),
        (["RUN", "METHOD", "--out", "DIR"], "add --labels FILE"),
        (["RUN", "--out", "DIR", "--after", "fitt"], "has no evaluation after 'fitt'. Did you mean 'fit'"),
        (["METHOD", "--labels", "LABELS", "--write", "new.txt"], "give the folder of that run alone"),
        (["METHOD", "--labels", "LABELS", "--after", "fit"], "--after names a stage of a run"),
        (["RUN", "--after", "fitt"], "has no evaluation after 'fitt'. Did you mean 'fit'"),
        (["RUN", "--write", "new.txt", "--protocol", "icvl"], "predicts 14 joints"),
        (["RUN", "--labels", "SHORT"], "was evaluated on 40 frames, but"),
        (["RUN", "--labels", "OTHER"], "was evaluated on other frames"),
    ],
)
def test_runs_and_labels_that_do_not_belong_together(
    mixed: tuple[Path, Path, Path], tmp_path: Path, words: list[str], message: str
) -> None:
    run, method, labels = mixed
    lines = labels.read_text().splitlines()
    known = {"RUN": run, "METHOD": method, "LABELS": labels, "DIR": tmp_path / "out"}
    known |= {"SHORT": tmp_path / "short.txt", "OTHER": tmp_path / "other.txt"}
    known["SHORT"].write_text("\n".join(lines[:39]))
    known["OTHER"].write_text("\n".join(lines[::-1]))
    code, out, err = _run(*(known.get(word, word) for word in words))
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert not (tmp_path / "out").exists()


def test_refiners_of_a_run_are_rows_of_their_own(mixed: tuple[Path, Path, Path]) -> None:
    run, _, _ = mixed
    summary = json.loads((run / "summary.json").read_text())
    step = {k: v for k, v in summary["evaluation"][1].items() if k not in ("joints", "frames", "subjects")}
    summary["evaluation"][1]["refiners"] = [
        {**step, "name": "network", "moved_mm": 0.0, "mean_error_mm": 12.5},
        {**step, "name": "inverse_kinematics", "moved_mm": 3.0},
    ]
    (run / "summary.json").write_text(json.dumps(summary))
    code, out, _ = _run(run)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert any(row.startswith("network alone 40 12.500") for row in rows)
    assert any(row.startswith("+ inverse_kinematics") for row in rows)


# ---------------------------------------------------------------------------------------------------------------- MSRA


def test_msra_folders_report_each_subject(tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    order = [("P0", "1"), ("P0", "9"), ("P0", "TIP"), ("P2", "1"), ("P2", "IP")]
    blocks = []
    for number, (subject, gesture) in enumerate(order):
        xyz = np.concatenate([draw.uniform(-80, 80, (3, 21, 2)), draw.uniform(250, 500, (3, 21, 1))], axis=-1)
        path = tmp_path / "msra" / subject / gesture / "joint.txt"
        path.parent.mkdir(parents=True)
        rows = (xyz * [1, -1, -1]).reshape(3, -1)  # their files have +y up and z below 0
        path.write_text("3\n" + "\n".join(" ".join(f"{v:.4f}" for v in row) for row in rows) + "\n")
        blocks.append(xyz + np.array([0, 0, 1.0 + number]))
    write_uvd(tmp_path / "method.txt", MSRA.to_uvd(np.concatenate(blocks)), MSRA)
    code, out, err = _run(
        tmp_path / "method.txt", "-l", tmp_path / "msra", "-p", "msra", "--out", tmp_path / "out", "--json"
    )
    assert code == 0
    (found,) = json.loads(out)["evaluation"]
    assert {name: (each["frames"], round(each["mean_error_mm"], 2)) for name, each in found["subjects"].items()} == {
        "P0": (9, 2.0),
        "P2": (6, 4.5),
    }
    assert "15 of the 76,375 frames" in err
    assert "the subjects are unknown" not in err
    assert (tmp_path / "out" / "frames.csv").read_text().splitlines()[10].startswith("10,P2,")


def test_published_icvl_prediction() -> None:
    folder = DATA / "icvl_eval"
    if not folder.is_dir():
        pytest.skip("no published predictions")
    code, out, err = _run(folder / "pose_ren.txt", "-l", folder / "labels_test.txt", "-p", "icvl", "--json")
    assert (code, err) == (0, "")
    (found,) = json.loads(out)["evaluation"]
    assert round(found["mean_error_mm"], 3) == 6.791


def test_published_methods_stand_beside_on_the_whole_test_set(tmp_path: Path) -> None:
    labels, method = _pair(tmp_path, ICVL, ICVL.frames)
    assert _run(method, "-l", labels, "-p", "icvl", "--out", tmp_path / "out")[0] == 0
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| Pose-REN (2018) | 6.791 |" in table
    assert "Neurocomputing 2018" in table
    tex = (tmp_path / "out" / "table.tex").read_text()
    assert r"Pose-REN (2018) & 6.791 &" in tex
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 1
    rows = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert len({line.count("&") for line in rows}) == 1
    assert rows[0].count("&") + 1 == len(tex.split(r"\begin{tabular}{")[1].split("}")[0])
