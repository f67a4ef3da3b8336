"""README and docs say what is so: their code runs, their commands, links, names and figures are right."""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from torch.distributed.run import get_args_parser

from hpf_cli.main import app
from hpf_core.engine.run import Run
from hpf_core.evaluation.labels import write_uvd
from hpf_core.evaluation.protocols import NYU
from hpf_core.frames import State
from hpf_core.hookspecs import HOOKS
from hpf_core.interfaces import KINDS
from hpf_core.plugins import PluginHost
from hpf_core.recipe import Resolved, load
from hpf_core.report import write_report
from hpf_plugins.backbones.soft_argmax import TOLERANCE_MM, SoftArgmax
from hpf_plugins.hands import anatomy
from hpf_plugins.hands.skinning import BONES, BONES_A_VERTEX, Skin
from hpf_plugins.hands.spheres41 import Spheres41Config

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import hand_poses  # noqa: E402

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
IDS = [str(page.relative_to(ROOT)) for page in PAGES]

NETWORK = "{width: 8, stem: 8, depth: 1, growth: 0}"
INITIAL = f"""
extends: {ROOT / "recipes" / "initial.yaml"}
backbone: {NETWORK}
grid: {{size: 32}}
stages: {{pretrain: {{draw: {{synthetic: 3}}, steps: 1, warmup: 0}}}}
evaluate: null
"""
TINY = f"""
extends: {ROOT / "recipes" / "quickstart.yaml"}
init: initial.safetensors
backbone: {NETWORK}
grid: {{size: 32}}
data: {{real: {{train: 6, validation: 1, test: 4, calibration: annotated}}}}  # too few frames for the hands
stages:
  fit: {{draw: {{real: 2, synthetic: 3}}, steps: 2, warmup: 0}}
  control: {{draw: {{synthetic: 3}}}}
terms: {{vae: {{steps: 10, batch: 16, width: 16, latent: 4}}}}
log: {{every: 1, pictures_every: 2, checkpoint_every: 1}}
"""


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str = r"\w*") -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def after_marker(text: str, marker: str) -> str:
    """What follows <!-- marker -->, up to the next blank line."""
    _, found, rest = text.partition(f"<!-- {marker} -->\n")
    assert found, marker
    return rest.partition("\n\n")[0]


def table_of(name: str, heading: str) -> str:
    """The table of a page that begins with this line."""
    _, found, rest = text_of(name).partition(heading + "\n")
    assert found, heading
    return found + rest.partition("\n\n")[0]


def rows(table: str) -> list[list[str]]:
    """A table's rows below its heading, cell by cell."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost.load(only=[])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _environment(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPF_CACHE_DIR", str(cache))
    monkeypatch.setenv("HPF_PLUGINS", "")
    monkeypatch.delenv("HPF_NYU_ROOT", raising=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, host: PluginHost, cache: Path) -> Path:
    """The quickstart with everything in it small, its initial network too."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "initial.yaml").write_text(INITIAL)
    Run(load(folder / "initial.yaml", host=host), folder / "initial", cache=cache).execute()
    (folder / "initial" / "weights.safetensors").rename(folder / "initial.safetensors")
    path = folder / "tiny.yaml"
    path.write_text(TINY)
    return path


# -------------------------------------------------------------------------------------------------------------- README


def test_ci_finds_the_readmes_commands() -> None:
    """The function of .ci/run, on this README."""
    function = re.search(r"^readme_block\(\) \{.*?^\}$", text_of(".ci/run"), re.MULTILINE | re.DOTALL)
    assert function is not None
    found = {}
    for name in ("quickstart", "tests"):
        script = f"{function[0]}\nreadme_block {name}"
        done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
        (found[name],) = done.stdout.splitlines()
    assert found["tests"].split(" && ") == [
        "python3 -m venv .venv",
        ".venv/bin/pip install -e '.[dev]'",
        ".venv/bin/pytest -n auto --dist loadfile",
    ]
    assert found["quickstart"].split(" && ")[-1] == ".venv/bin/hpf run recipes/quickstart.yaml"


def test_the_readmes_python_runs(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = blocks(text_of("README.md"), "python")  # the second one: tests/hpf_core/inference/test_predictor.py
    assert code.count("recipes/quickstart.yaml") == 1
    steps = [line for line in code.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(steps) <= 10
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("recipes/quickstart.yaml", str(tiny)), "README.md", "exec"), {})
    said = re.findall(r"^after (\w+): ([\d.]+) mm$", capsys.readouterr().out, re.MULTILINE)
    assert len(said) >= 1
    assert all(0 < float(error) < 300 for _, error in said)


@pytest.fixture(scope="module")
def run(tiny: Path, host: PluginHost, cache: Path) -> Path:
    """A tiny run's folder."""
    out = tiny.with_name("run")
    Run(load(tiny, host=host), out, cache=cache).execute()
    write_report(out)  # as `hpf run` does
    return out


def test_a_run_leaves_what_the_readme_lists(run: Path) -> None:
    listing = next(block for block in blocks(text_of("README.md"), "") if block.startswith("runs/"))
    listed = {line.split()[0].rstrip("/"): line for line in listing.splitlines()[1:]}
    assert set(listed) == {path.name for path in run.iterdir()}
    figures = set(re.findall(r"[a-z_]+", listed["figures"].split(maxsplit=1)[1].partition(";")[0]))
    assert figures == {path.stem for path in (run / "figures").glob("*.png")}
    assert any((run / "figures" / "steps").iterdir())


def test_the_summary_has_the_fields_that_are_documented(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    table = text_of("docs/architecture.md").partition("`summary.json`:")[2].partition("\n\n")[2].partition("\n\n")[0]
    fields = {name: names for first, names in rows(table) for name in re.findall(r"`(\w+)`", first)}
    assert list(fields) == list(summary)
    assert set(re.findall(r"`(\w+)`", fields["stages"])) == set(summary["stages"][0])
    table = text_of("docs/evaluation.md").partition("come:")[2].strip().partition("\n\n")[0]
    measured = {name for first, _ in rows(table) for name in re.findall(r"`(\w+)`", first)}
    own = set(re.findall(r"`(\w+)`", fields["evaluation"])) - {"init"}
    assert measured | own == set(summary["evaluation"][0])


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_pictures_are_there_and_described(page: Path) -> None:
    for said, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", prose(page)):
        assert len(said) > 20, target  # what is read out instead of the picture
        assert (page.parent / target).read_bytes().startswith(b"\x89PNG"), target


# ------------------------------------------------------------------------------------------------------ the other pages


def test_the_recipe_of_the_manual(host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that may stand in it does, and the Python beside it runs."""
    page = text_of("docs/recipes.md")
    written = next(block for block in blocks(page, "yaml") if block.startswith("extends:"))
    path = tmp_path / "mine.yaml"
    path.write_text(written.replace("paper.yaml", str(ROOT / "recipes" / "paper.yaml")))
    resolved = load(path, host=host)
    assert [stage.name for stage in resolved.stages] == ["pretrain", "fit", "control"]
    assert "vae" not in [term.name for term in resolved.stages[1].terms]
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    exec(compile(blocks(page, "python")[-1], "docs/recipes.md", "exec"), names)
    assert names["resolved"].changes == ("vae: off in stage fit (--without)",)


def test_the_python_of_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    xyz = rng.normal([0, 0, 800], 60, (NYU.frames, len(NYU.joints), 3))
    write_uvd(tmp_path / "labels_test.txt", NYU.to_uvd(xyz), NYU)
    write_uvd(tmp_path / "method.txt", NYU.to_uvd(xyz + np.array([3.0, 4.0, 0.0])), NYU)
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(text_of("docs/evaluation.md"), "python")
    names: dict[str, Any] = {}
    exec(compile(code, "docs/evaluation.md", "exec"), names)
    assert names["result"]["mean_error_mm"] == pytest.approx(5.0, abs=0.01)


def test_the_tree_of_the_architecture() -> None:
    """Each path in it exists, and none of the core's is left out."""
    tree = blocks(text_of("docs/architecture.md"), "")[0]
    named, folder = set(), ""
    for line in tree.splitlines():
        words = line.split()
        if not line.startswith(" "):
            folder = words[0]
            named.add(folder)
        else:
            named |= {folder + word for word in words if word == words[0] or word.endswith("/")}
    assert not [name for name in named if not (ROOT / name).exists()]
    core = {
        f"hpf_core/{path.name}{'/' if path.is_dir() else ''}"
        for path in (ROOT / "hpf_core").iterdir()
        if not path.name.startswith("__") and (path.suffix == ".py" or any(path.glob("[!_]*.py")))
    }
    assert {name for name in named if name.startswith("hpf_core/")} - {"hpf_core/"} == core


def test_the_hand_is_as_described() -> None:
    """Counts, ranges of shape and joints' heads; the floor is tested beside the skin."""
    page = re.sub(r"\s+", " ", text_of("docs/hand.md"))
    config = Spheres41Config()
    skin = Skin()
    assert f"{len(skin.vertices):,} vertices and {len(skin.faces):,} faces" in page
    assert f"follows up to {('one', 'two', 'three', 'four')[BONES_A_VERTEX - 1]} of {BONES} bones" in page
    for what in ("size", "finger", "thickness", "palm_width"):
        low, high = getattr(config, f"{what}_range")
        assert f"({low:.2f}-{high:.2f}" in page, what
    heads = [mm for row in anatomy.HEADS for mm in row if mm]
    assert f"{min(heads):g}-{max(heads):g} mm before their ends" in page
    assert hand_poses.written(text_of("docs/hand.md")) == text_of("docs/hand.md")


def test_the_recipes_that_come_with_hpf_are_listed() -> None:
    listed = [name.strip("`") for name, _ in rows(table_of("docs/recipes.md", "| recipe | is |"))]
    assert sorted(listed) == sorted(path.name for path in (ROOT / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("marker", ["keep", "subtract"])
def test_the_soft_argmaxs_drift(marker: str) -> None:
    """Along x, 50 to 70 mm off the centre."""
    column = {"keep": 3, "subtract": 4}[marker]
    for row in rows(after_marker(text_of("docs/recipes.md"), "soft-argmax: drift")):
        size, margin = map(int, re.findall(r"\d+", row[0])[1:])
        operator = SoftArgmax(size, margin, float(row[1].split()[0]), 10.0, marker == "subtract", 300.0)
        points = torch.zeros(21, 1, 3, dtype=torch.float64)
        points[:, 0, 0] = torch.linspace(50, 70, 21)
        label = operator.labels(points)
        assert label.heatmaps is not None
        read = operator(float(row[2]) * label.heatmaps, torch.zeros_like(label.heatmaps))
        worst = float((read.points - points)[..., 0].abs().max())
        assert row[column] == f"{worst:.1f} mm"


def test_the_soft_argmaxs_worst_errors() -> None:
    """Bold is what is admitted. Maps of 64 pixels take long: by the law in the text they err half as much as 32."""
    found: dict[tuple[str, ...], list[float]] = {}
    for row in rows(after_marker(text_of("docs/recipes.md"), "soft-argmax: worst")):
        said = [float(cell.strip("*")) for cell in row[4:]]
        found[tuple(row[:4])] = said
        assert [cell.startswith("**") for cell in row[4:]] == [error <= TOLERANCE_MM for error in said]
        size = int(row[0].split()[0])
        if size <= 32:
            sigmas = (1.0, 1.5, 2.0, 3.0, 4.0)
            operators = [SoftArgmax(size, int(row[1]), s, float(row[2]), row[3] == "`subtract`", 300.0) for s in sigmas]
            assert said == [pytest.approx(operator.error_mm(), abs=0.0051) for operator in operators]
    half = [error / 2 for error in found["32 x 32", "2", "10", "`subtract`"]]
    assert found["64 x 64", "2", "10", "`subtract`"] == pytest.approx(half, abs=0.02)


def test_the_departures_from_the_paper_can_be_changed_as_said(host: PluginHost) -> None:
    """Each option in the table's last column exists and takes the value that stands beside it."""
    quickstart = ROOT / "recipes" / "quickstart.yaml"
    _, _, table = text_of("docs/architecture.md").partition("| what | paper |")
    checked = set()
    for what, _, _, change in rows(table.partition("\n\n")[0]):
        # An option without a path, or from its dot on, goes on from the one before or from the term of the row.
        names = re.findall(r"`(\w+)`", what)
        before = f"terms.{names[0]}" if names else ""
        for written, value in re.findall(r"`([\w.]+)(?:: (\w+))?`", change):
            path = written if re.match(r"\w+\.", written) else f"{before}.{written.lstrip('.')}"
            before = path.rpartition(".")[0]
            place = load(quickstart, sets=[f"{path}={value}"] if value else [], host=host).document()
            for key in path.split("."):
                assert key in place, path
                place = place[key]
            checked.add(path)
    assert len(checked) >= 18, checked


# ------------------------------------------------------------------------------------------- commands, links and names


def command_lines() -> list[tuple[str, str]]:
    """Every `hpf ...` of every page: lines of fenced blocks and code in the text."""
    found = []
    for page, name in zip(PAGES, IDS, strict=True):
        text = page.read_text(encoding="utf-8")
        lines = [line for block in blocks(text) for line in block.splitlines()] + re.findall(
            r"`([^`\n]+)`", prose(page)
        )
        for line in lines:
            words = line.removeprefix("$ ").rpartition("&& ")[2]
            if re.match(r"([A-Z_]+=\S* )*(\.venv/bin/)?hpf [a-z-]", words):
                found.append((name, words))
    return found


def test_every_command_parses() -> None:
    """Each names a command that exists, and only options that this command has."""
    lines = command_lines()
    assert len(lines) > 25
    for page, line in lines:
        words = shlex.split(line.partition("#")[0])
        words = words[next(k for k, word in enumerate(words) if word.endswith("hpf")) + 1 :]
        command: Any = typer.main.get_command(app)
        while getattr(command, "commands", None) and words and not words[0].startswith("-"):
            assert words[0] in command.commands, f"{page}: {line}"
            command, words = command.commands[words[0]], words[1:]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert options <= known, f"{page}: {line}"


def torchrun_lines() -> list[tuple[str, str]]:
    """Every `torchrun ...` of the pages and of `hpf run --help`, its lines joined and its variables filled in."""
    variables = {
        "$out": "runs/paper",
        "$resume": "--resume",
        "$SLURM_NNODES": "2",
        "$SLURM_JOB_ID": "7",
        "$first": "n1",
    }
    texts = [(name, text_of(name)) for name in IDS] + [("hpf run --help", text_of("hpf_cli/run.py"))]
    found = []
    for name, text in texts:
        lines = re.findall(r"^ *(?:srun )?(torchrun .*)$", text.replace("\\\n", " "), re.MULTILINE)
        for line in [*lines, *re.findall(r"`(torchrun [^`]+)`", text)]:
            if "..." not in line:
                found.append((name, re.sub(r"\$\w+", lambda variable: variables[variable[0]], line)))
    return found


def test_every_torchrun_command_parses(host: PluginHost) -> None:
    """By torchrun's own parser, then by that of `hpf run`; the recipe resolves with what is set."""
    pages = []
    for page, line in torchrun_lines():
        launch = get_args_parser().parse_args(shlex.split(line)[1:])
        assert launch.module, f"{page}: {line}"
        assert launch.training_script == "hpf", f"{page}: {line}"
        command: Any = typer.main.get_command(app)
        name, *arguments = launch.training_script_args
        given = command.commands[name].make_context(name, arguments).params
        load(ROOT / given["recipe"], sets=given["set_"] or [], host=host)
        pages.append(page)
    assert pages.count("docs/distributed.md") == 4, pages
    assert "hpf run --help" in pages


def test_the_script_for_slurm_is_one() -> None:
    (script,) = [block for block in blocks(text_of("docs/distributed.md"), "sh") if block.startswith("#!/bin/bash")]
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert "--resume" in script


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        if other.suffix == ".png":
            continue  # see test_pictures_are_there_and_described
        assert other.is_file(), target
        headings = re.findall(r"^#+ (.+)$", other.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, target


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_plugins_that_are_named_exist(page: Path, host: PluginHost) -> None:
    text = page.read_text(encoding="utf-8")
    known = {name for row in host.rows() for name in (row.name, *row.aliases)} | {"my_prior", "NAME", "d2m_far"}
    named = re.findall(r"\buse: ([\w-]+)", text) + re.findall(r"hpf plugins show ([\w-]+)", text)
    named += [name for names in re.findall(r"--with(?:out)? ([\w,-]+)", text) for name in names.split(",")]
    named += re.findall(r"\bterms\.(\w+)\.", text) + re.findall(r"get\(\"\w+\", \"(\w+)\"\)", text)
    named = [name for name in named if name != "T"]
    assert not sorted(set(named) - known)


def test_the_changelog() -> None:
    """It has a place for what is new, and names every bundled plugin."""
    text = text_of("CHANGELOG.md")
    assert re.search(r"^## \[Unreleased\]$", text, re.MULTILINE)
    named = set(re.findall(r"`([\w-]+)`", text))
    assert {row.name for row in PluginHost.load(only=[]).rows()} <= named


def test_the_hooks_and_kinds_of_the_tutorial() -> None:
    page = text_of("docs/plugins.md")
    assert re.findall(r"^### `(hpf_\w+)\(\)", page, re.MULTILINE) == list(HOOKS)
    assert all(f"`{kind}`" in page for kind in KINDS)


def stated_weights(path: Path) -> set[str]:
    """The terms whose weight a recipe states, or one that it extends."""
    text = path.read_text(encoding="utf-8")
    own = set(re.findall(r"^  (\w+): \{.*?weight: ", text.partition("\nterms:")[2], re.MULTILINE))
    extended = re.search(r"^extends: (\S+)", text, re.MULTILINE)
    return own | stated_weights(path.parent / extended[1]) if extended else own


def test_recipes_resolve_and_state_their_weights(host: PluginHost) -> None:
    """Every recipe that comes with HPF is right, leaves no term's weight to a default, and pretrains first."""
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        resolved: Resolved = load(path, host=host)
        used = {term.name for stage in resolved.stages for term in stage.terms}
        assert used <= stated_weights(path), path.name
        assert "pretrain" not in [stage.name for stage in resolved.stages][1:], path.name
        assert all(math.isfinite(term.weight) for stage in resolved.stages for term in stage.terms)


def test_the_python_of_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The crop of the page shows its object at the right depth, in the frame of the rig."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(blocks(text_of("docs/datasets.md"), "python")[0], "docs/datasets.md", "exec"), names)
    depth = names["cut"].depth[names["cut"].state == State.HIT]
    assert float(np.median(depth)) + names["frame_to_rig"][2, 3] == pytest.approx(600, abs=1)
