"""What a run shows: a bar that fits the terminal, quiet elsewhere, and sentences a newcomer understands."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from hpf_cli.progress import Live, effects, print_summary

TERMS = ("supervised", "m2d", "d2m", "multiview", "vae", "bone_length", "collision")
ROW = {
    "loss": 11982.25,
    "images_per_second": 1234.5,
    "weighted": {name: 0.0123456 * 10**k for k, name in enumerate(TERMS)},
}


def shown(terminal, width):
    """What the console was sent for a stage of two reports."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=width, height=40, _environ={}, color_system=None)
    with Live(console) as live:
        live.run_started(Path("/a/very/long/place") / ("x" * 90), {"runtime": {"threads": 2}})
        live.progress(1, 2, "cropping")
        live.progress(2, 2, "cropping")
        live.stage_started("pretraining", 218_000, 1000)
        live.step_done("pretraining", 2000, ROW)
        live.step_done("pretraining", 2020, ROW)
        live._bar.refresh()
        frame = file.getvalue()
    return frame, file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_sees_everything_and_nothing_is_cut(width):
    frame, everything = shown(True, width)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame).replace("\r", "\n")
    bar = [line for line in plain.splitlines() if "loss" in line][-1]
    for part in ("pretraining", "2020/218000", "loss 1.198e+04", "1234 img/s"):
        assert part in bar
    assert re.search(r"\d+:\d\d|--:--", bar), "the time left"
    for name, value in ROW["weighted"].items():
        assert f"{name} {value:.3g}" in plain
    assert "…" not in plain
    assert max(len(line.rstrip()) for line in plain.splitlines() if "very/long" not in line) <= width
    assert len(everything) < 20_000


def test_elsewhere_it_is_quiet():
    _, everything = shown(False, 80)
    assert everything.splitlines() == [
        f"run folder: /a/very/long/place/{'x' * 90}",
        "cropping",
        "stage pretraining: 218000 steps, from step 1000",
    ]


def test_the_time_left_is_there_before_the_second_row_of_metrics(monkeypatch):
    """With 250 steps between two rows, or a network that takes a minute for a few steps."""
    clock = [0.0]
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120, height=40, _environ={}, color_system=None)
    live = Live(console)
    live._bar._get_time = live._bar.get_time = lambda: clock[0]
    live.stage_started("fit", 1000, 0)
    for step in range(1, 13):
        clock[0] += 5.0
        live.progress(step, 1000, "fit")
    (task,) = live._bar.tasks
    assert task.completed == 12
    assert task.time_remaining == pytest.approx(988 * 5, rel=0.1)
    live.stage_ended("fit", 1000, Path("fit.safetensors"))


def test_a_run_names_the_threads_that_it_chose():
    file = io.StringIO()
    Live(Console(file=file, width=80)).run_started(Path("run"), {"runtime": {"threads": None}})
    assert re.fullmatch(r"run folder: run\nCPU threads: \d+\n", file.getvalue())


def evaluated(after, mean):
    return {
        "after": after, "data": "nyu", "split": "test", "frames": 4, "joints": 14, "simulated": False,
        "mean_error_mm": mean, "median_error_mm": mean, "fingertip_error_mm": None,
        "success": {"20": 0.5, "30": 0.6, "40": 0.7, "50": 0.8},
    }  # fmt: skip


def trained(name, control_of=None):
    return {"name": name, "steps": 5, "control_of": control_of}


def test_what_fitting_did_in_words():
    summary = {
        "stages": [trained("pretrain"), trained("fit"), trained("control", "fit")],
        "evaluation": [evaluated("pretrain", 20.0), evaluated("fit", 15.0), evaluated("control", 18.0)],
    }
    assert effects(summary) == [
        "mean error after fit: 0.75 x that after pretrain",
        "mean error after control: 0.90 x that after pretrain",
        "fit compared with its control (control): 0.83 x; below 1, what fit adds helps",
    ]


def test_a_second_fit_starts_from_the_first_and_not_from_its_control():
    summary = {
        "stages": [trained("fit"), trained("control", "fit"), trained("more"), trained("less", "more")],
        "evaluation": [
            evaluated("fit", 20.0),
            evaluated("control", 40.0),
            evaluated("more", 10.0),
            evaluated("less", 20.0),
        ],
    }
    assert effects(summary)[1:] == [
        "mean error after more: 0.50 x that after fit",
        "mean error after less: 1.00 x that after fit",
        "more compared with its control (less): 0.50 x; below 1, what more adds helps",
    ]


def test_a_stage_may_have_any_name(capsys):
    """Brackets are no markup."""
    summary = {"stages": [trained("[red]a")], "evaluation": [evaluated("[red]a", 20.0)], "changes": ["t: [1, 2]"]}
    print_summary(Path("runs/[x]"), summary)
    out = capsys.readouterr().out
    for text in ("[red]a", "changed: t: [1, 2]", "runs/[x]/summary.json"):
        assert text in out
    print_summary(Path("r"), {**summary, "evaluation": []})
    assert "[red]a: 5 steps; not evaluated" in capsys.readouterr().out


def test_the_table_at_the_end_tells_people_apart(capsys):
    people = {"training [a]": evaluated("fit", 15.0), "new subject": evaluated("fit", 25.0)}
    summary = {
        "stages": [trained("fit")],
        "evaluation": [evaluated("fit", 20.0) | {"subjects": people}],
        "changes": [],
    }
    print_summary(Path("r"), summary)
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    assert [row[:2] for row in rows] == [["fit", "20.00"], ["training [a]", "15.00"], ["new subject", "25.00"]]
    assert max(map(len, out.splitlines())) <= 80
