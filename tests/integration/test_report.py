"""The page that a run ends with: whole, without the network, and with what comes from files escaped."""

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core import recipe as recipes
from hpf_core.engine.run import Run
from hpf_core.errors import InputError, ReportWarning
from hpf_core.inference import unseen
from hpf_core.inference.build import build_parts
from hpf_core.inference.shown_frames import best_to_worst
from hpf_core.report import run_and_report, write_report
from hpf_core.runs.folder import RunFolder

from .test_unseen import SYNTHETIC

_VOID = {"meta", "input", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """Reads a page, and fails where tags aren't closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.loads, self.words, self.rows = [], set(), [], [], []
        self.elements, self.svgs, self.scripts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.elements.append((tag, found))
        if "id" in found:
            assert found["id"] not in self.ids
            self.ids.add(found["id"])
        self.loads += [(tag, v) for k, v in attributes if k in ("src", "href", "srcset", "data", "action")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.words.append(text)
        if self.open and self.open[-1] == "script":
            self.scripts.append(text)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += text


def page_of(folder):
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def copy(whole, tmp_path):
    """The finished run's folder, to be changed."""
    shutil.copytree(whole[0], tmp_path / "copy")
    return tmp_path / "copy"


def test_a_run_ends_with_its_report(whole):
    out, summary = whole
    text = (out / "report.html").read_text(encoding="utf-8")
    assert len(text) < 1_500_000
    page = Page(text)
    assert {"results", "space-section", "frames", "training", "recipe", "machine", "space-data"} <= page.ids
    for row in summary["evaluation"]:
        cells = next(r for r in page.rows if r and re.match(rf"{row['after']}( |$)", r[0]) and len(r) == 9)
        assert cells[1:3] == [str(row["frames"]), f"{row['mean_error_mm']:.2f}"]
        assert cells[4:6] == [f"{row['median_error_mm']:.2f}", f"{row['fingertip_error_mm']:.2f}"]
        assert cells[6:] == [f"{100 * row['success'][k]:.1f} %" for k in ("20", "30", "40")]
    words = "".join(page.words)
    terms = ("supervised", "m2d", "d2m", "multiview", "vae", "bone_length")
    assert all(f"term {term}" in words for term in terms)
    assert {f"figure-{n}" for n in ("success", "joints", "before_after", "training", "terms", "gradients")} <= page.ids
    assert "Simulated data." in words
    assert words.count("simulated data: ") >= 3  # in the figures themselves
    assert "Wan et al." not in words.split("In 3D")[0]  # no figure of others can be compared with simulated frames
    assert "middle tip" in words
    assert "KNU" not in words.split("Recipe")[0]


def test_a_page_shows_plugins_as_a_table(whole):
    rows = page_of(whole[0]).rows
    assert ["kind", "name", "package", "version", "follows"] in rows
    row = next(r for r in rows if r[:2] == ["renderer", "spheres"])
    assert row[2] == "hpf"
    assert "Eq. 6-8" in row[4]
    assert not any("{'" in cell for r in rows for cell in r)


def test_nothing_is_loaded_from_anywhere(whole):
    out, _ = whole
    text = (out / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert all(value.startswith(("data:image/png;base64,", "#")) for _, value in page.loads), page.loads
    links = [value for _, a in page.elements for key, value in a.items() if key == "xlink:href"]
    assert links
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in links)
    inner = re.findall(r"url\(([^)]*)\)", text)
    assert all(value.startswith("#") and value[1:] in page.ids for value in inner)
    assert all(value[1:] in page.ids for value in links if value.startswith("#"))
    assert "@import" not in text
    assert "http:" not in text
    assert "https:" not in text
    policy = next(a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_each_person_s_error_is_held_against_the_start_too(whole):
    """The column `× start`, of all frames and of each subject by its own start."""
    out, summary = whole
    rows = [row for row in page_of(out).rows if len(row) == 9 and row[0] != "after"]
    assert len(rows) == 3 * 3
    for document, (own, *people) in zip(summary["evaluation"], [rows[k : k + 3] for k in (0, 3, 6)], strict=True):
        start = summary["evaluation"][0]
        assert own[3] == f"{document['mean_error_mm'] / start['mean_error_mm']:.2f}"
        for name, *cells in people:
            figures = document["subjects"][name]
            assert cells[2] == f"{figures['mean_error_mm'] / start['subjects'][name]['mean_error_mm']:.2f}"


def test_every_picture_has_words_for_it(whole):
    page = page_of(whole[0])
    pictures = [a for tag, a in page.elements if tag in ("svg", "canvas") and "aria-hidden" not in a]
    assert len(pictures) > 4 * 3
    assert all(len(a.get("aria-label", "")) > 15 and a.get("role") == "img" for a in pictures)


def test_the_3d_view_has_what_was_measured(whole):
    """Errors of the kept joints are those of the evaluation; the clouds of all views lie on the same hand."""
    out, summary = whole
    kept = load_file(out / "frames" / "fit.safetensors")
    found = load_file(out / "evaluation" / "fit.safetensors")
    errors = (found["joints"] - found["truth"]).norm(dim=-1)
    assert kept["numbers"].tolist() == errors.mean(dim=1).argsort().tolist()
    for view in range(3):  # rigid maps into the other views keep the errors
        seen = (kept["joints.after"][:, view] - kept["truth"][:, view]).norm(dim=-1)
        torch.testing.assert_close(seen.double(), errors[kept["numbers"]], atol=1e-3, rtol=0)
    assert errors.mean().item() == pytest.approx(summary["evaluation"][1]["mean_error_mm"], abs=1e-5)
    space = json.loads(next(s for s in page_of(out).scripts if s.startswith("{")))
    assert len(space["frames"]) == 4
    assert len(space["radii"]) == len(space["frames"][0]["after"]) == 41
    for b, frame in enumerate(space["frames"]):
        np.testing.assert_allclose(frame["truth"], kept["truth"][b, 0], atol=0.051)
        clouds = [np.frombuffer(base64.b64decode(c), dtype="<i2").reshape(-1, 3) / 10 for c in frame["clouds"]]
        assert len(clouds) == 3
        joints = np.array(frame["truth"])
        for cloud in clouds:
            nearest = np.linalg.norm(cloud[None] - joints[:, None], axis=-1).min(axis=1)
            assert np.median(nearest) < 30


def test_frames_go_from_best_to_worst():
    errors = np.random.default_rng(0).permutation(100).astype(float)
    chosen = errors[best_to_worst(errors)]
    assert chosen[0] == 0
    assert chosen[6:].tolist() == [94, 95, 96, 97, 98, 99]
    assert (np.diff(chosen) > 0).all()
    assert errors[best_to_worst(errors[:5])].tolist() == sorted(errors[:5])


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&</script>"


def test_what_files_say_is_escaped(copy):
    def hostile(path, change):
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    recipe = (copy / "recipe.yaml").read_text()
    (copy / "recipe.yaml").write_text(recipe.replace("name: tiny", f"name: {json.dumps(HOSTILE)}"))
    hostile(copy / "run.json", lambda d: d.update(changes=[HOSTILE], command=[HOSTILE], plugins={HOSTILE: HOSTILE}))
    for stage in ("pretrain", "fit", "control"):

        def renamed(document):
            joints = document["per_joint_mm"]
            first = next(iter(joints))
            document["per_joint_mm"] = {(HOSTILE if k == first else k): v for k, v in joints.items()}
            document["subjects"] = {HOSTILE: document["subjects"]["new subject"]}

        hostile(copy / "evaluation" / f"{stage}.json", renamed)
    rows = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row["raw"][HOSTILE] = row["weighted"][HOSTILE] = 1.0
    (copy / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    plain = page_of(copy)
    write_report(copy)
    page = page_of(copy)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == [tag for tag, _ in plain.elements].count("script") == 2
    assert "img" not in tags
    assert not any(k.startswith("on") for _, attributes in page.elements for k in attributes)
    assert "".join(page.words).count("alert(1)") > 8


def test_a_killed_run_has_a_report_of_what_there_is(copy):
    for name in ("summary.json", "report.html", "weights.safetensors", "evaluation/control.json", "run.json"):
        (copy / name).unlink()
    for stage in ("fit", "control"):
        (copy / "stages" / f"{stage}.safetensors").unlink()
    (copy / "evaluation" / "fit.safetensors").write_bytes(b"half")
    (copy / "frames" / "fit.safetensors").write_bytes(b"half")
    with (copy / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "control", "st')
    with pytest.warns(ReportWarning) as said:
        write_report(copy)
    lost = [copy / "evaluation" / "fit.safetensors", copy / "frames" / "fit.safetensors"]
    assert [str(one.message) for one in said] == [f"{p} is damaged: the report is incomplete" for p in lost]
    words = "".join(page_of(copy).words)
    assert "Damaged, and missing from this page: evaluation/fit.safetensors, frames/fit.safetensors." in words
    assert "hasn't ended" in words
    assert "not done" in words
    assert "frames by their mean error after pretrain" in words
    for name in ("evaluation", "frames", "stages"):
        shutil.rmtree(copy / name)
    (copy / "metrics.jsonl").unlink()
    write_report(copy)
    assert {"recipe", "machine"} <= page_of(copy).ids
    assert "results" not in page_of(copy).ids


def test_damaged_files_are_named(copy):
    for name in ("summary.json", "run.json", "evaluation/control.json", "stages/fit.safetensors"):
        (copy / name).write_text('{"a": ')
    rows = (copy / "metrics.jsonl").read_text().splitlines(keepends=True)
    (copy / "metrics.jsonl").write_text("".join([rows[0][:20] + "\n", *rows[1:], rows[-1][:30]]))
    with pytest.warns(ReportWarning) as said:
        write_report(copy)
    found = {str(one.message).removesuffix(" is damaged: the report is incomplete") for one in said}
    wanted = ("run.json", "summary.json", "metrics.jsonl", "evaluation/control.json", "stages/fit.safetensors")
    assert found == {str(copy / name) for name in wanted}


def test_no_run_no_report(tmp_path):
    with pytest.raises(InputError, match=r"no recipe\.yaml"):
        write_report(tmp_path)


@pytest.mark.parametrize("place", ["hpf_core.report.execute.write_report", "hpf_core.engine.measure.shown_frames.keep"])
def test_a_report_that_fails_is_a_warning(place, load, tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("of the test")

    monkeypatch.setattr("hpf_core.engine.run.run_figures", lambda *_: None)
    monkeypatch.setattr(place, broken)
    with pytest.warns(ReportWarning, match="report: ZeroDivisionError: of the test"):
        summary = run_and_report(Run(load(stages=["pretrain"]), tmp_path / "run"))
    assert RunFolder(tmp_path / "run").ended() == summary


def test_of_synthetic_samples_alone(tmp_path, host, cache):
    (tmp_path / "initial.yaml").write_text(SYNTHETIC)
    resolved = recipes.load(tmp_path / "initial.yaml", host=host)
    summary = run_and_report(Run(resolved, tmp_path / "run", cache=cache))
    page = page_of(tmp_path / "run")
    assert {"results", "space-section", "frames", "training"} <= page.ids
    words = "".join(page.words)
    assert f"{summary['evaluation'][0]['mean_error_mm']:.2f} mm" in words
    assert "12 of 70 frames" in words
    assert "error on unseen synthetic samples (mm)" in words
    kept = load_file(tmp_path / "run" / "frames" / "pretrain.safetensors")
    found = load_file(tmp_path / "run" / "evaluation" / "pretrain.safetensors")
    errors = (found["joints"] - found["truth"]).norm(dim=-1).mean(dim=1)
    assert kept["numbers"][-1] == errors.argmax()
    # Each map is that of its own sample.
    drawn = torch.cat([b.depth for b in unseen.samples(build_parts(resolved, cache), torch.device("cpu"), 70)])
    assert torch.equal(kept["depth"][:, 0], drawn[kept["numbers"]])


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium")
def test_it_opens_in_chromium(whole):
    """Its script runs under its own policy: the 3D view sizes its canvas."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"]
    made = subprocess.run([*command, str(whole[0] / "report.html")], capture_output=True, timeout=60, check=True)
    canvas = re.search(r'<canvas id="space"[^>]*>', made.stdout.decode())
    assert canvas is not None
    assert re.search(r'width="\d{3,}"', canvas[0])


def test_the_command_makes_it_again(copy, tmp_path):
    before = (copy / "report.html").read_bytes()
    (copy / "report.html").unlink()
    made = CliRunner().invoke(app, ["report", str(copy), "--json"])
    assert made.exit_code == 0
    assert json.loads(made.stdout)["reports"] == [{"run": str(copy), "report": str(copy / "report.html")}]
    assert (copy / "report.html").read_bytes() == before.replace(b"in run.", b"in copy.")
    wrong = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert wrong.exit_code == 2
    assert "is not the folder of a run" in wrong.stderr
