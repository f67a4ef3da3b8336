"""`hpf plugins new` and `check`: packages of every kind, installed, listed, checked and run in a fresh environment."""

from __future__ import annotations

import ast
import json
import os
import re
import site
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.interfaces import KINDS, Kind
from hpf_core.plugins import PluginHost
from hpf_core.plugins.scaffold import new_package
from hpf_core.recipe import load
from hpf_core.testing import clauses_of

ROOT = Path(__file__).resolve().parents[2]

RECIPE = """
name: guests
hand: my_hand
backbone: my_backbone
renderer: my_renderer
grid: {size: 32}
data: {real: {use: my_dataset, train: 6, test: 2}}
transforms: [my_transform]
observers: [my_observer]
stages:
  fit: {draw: {real: 2}, steps: 2, terms: [m2d, my_data_term], lr: 1e-4}
evaluate: {data: real, split: test, refiners: [my_refiner]}
log: {every: 1, pictures_every: 100, checkpoint_every: 100}
"""


def hpf(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment in which packages of every kind are installed beside HPF."""
    folder = tmp_path_factory.mktemp("guests")
    for kind in KINDS:
        code, out, err = hpf("plugins", "new", kind, f"my_{kind}", "--out", str(folder / "packages"))
        assert code == 0, err
        assert [Path(line).name for line in out.split()][-2:] == ["pyproject.toml", "README.md"]
    venv.create(folder / "venv", with_pip=False)
    found = folder / "venv" / "bin" / "python"
    # What HPF needs is taken from the environment that runs the tests, so that nothing is downloaded.
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    outer = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (packages / "outer.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in outer))
    written = [str(path) for path in sorted((folder / "packages").iterdir())]
    pip = [sys.executable, "-m", "pip", "--python", str(found), "install", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *options, *written], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return found


def script(python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`hpf` in that environment."""
    kept = {name: value for name, value in os.environ.items() if name != "HPF_PLUGINS"}
    folder = python.parents[2]
    environment = kept | {"HPF_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    code = "from hpf_cli.main import main; main()"
    return subprocess.run([python, "-c", code, *words], capture_output=True, text=True, env=environment, cwd=folder)


def test_a_package_of_every_kind_is_listed_and_keeps_its_contract(python: Path) -> None:
    done = script(python, "plugins", "list", "--json")
    rows = {row["name"]: row for row in json.loads(done.stdout)["plugins"]}
    for kind in KINDS:
        row = rows[f"my_{kind}"]
        package = f"hpf-my-{kind.replace('_', '-')}"
        assert (row["kind"], row["package"], row["version"], row["status"]) == (kind, package, "0.1.0", "ok")
    packages = [f"hpf-my-{kind.replace('_', '-')}" for kind in KINDS]
    done = script(python, "plugins", "check", *packages, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    checked = json.loads(done.stdout)["plugins"]
    assert [(plugin["kind"], plugin["ok"]) for plugin in checked] == [(kind, True) for kind in KINDS]
    for plugin in checked:
        assert [clause["name"] for clause in plugin["clauses"]] == [c.name for c in clauses_of(plugin["kind"])]


def test_packages_are_used_in_a_recipe(python: Path) -> None:
    folder = python.parents[2]
    (folder / "guests.yaml").write_text(RECIPE)
    done = script(python, "run", "guests.yaml", "--with", "my_prior", "--out", "run")
    assert done.returncode == 0, done.stderr
    about = json.loads((folder / "run" / "run.json").read_text())["plugins"]
    named = {key.partition(":")[2] for key in about}
    assert {f"my_{kind}" for kind in KINDS} <= named
    (measured,) = json.loads((folder / "run" / "summary.json").read_text())["evaluation"]
    assert measured["after"] == "fit"
    assert measured["mean_error_mm"] > 0
    row = json.loads((folder / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert "my_prior" in json.dumps(row)
    diary = (folder / "run" / "diary.txt").read_text().splitlines()
    assert diary[:2] == ["run guests", "stage fit: from step 0 to 2"]
    done = script(python, "recipe", "show", str(ROOT / "recipes" / "quickstart.yaml"), "--with", "my_prior", "--json")
    assert "my_prior" in json.loads(done.stdout)["stages"]["fit"]["terms"]


@pytest.mark.parametrize("kind", ["prior", "data_term"])
def test_the_recipe_of_a_term_is_the_quickstart_made_short(kind: Kind, tmp_path: Path) -> None:
    """But for its length and what it is measured on, so that it begins from the weights that HPF ships."""
    made = {path.name: path for path in new_package(kind, "mine", tmp_path)}
    module = ModuleType("hpf_mine")
    exec(compile(made["hpf_mine.py"].read_text(), "hpf_mine.py", "exec"), module.__dict__)
    host = PluginHost.load(only=[])
    host.add(module)
    changed = ["stages.control=off", "stages.fit.steps=200", "evaluate.split=validation", "log.gradients_every=50"]
    changed += ["log.pictures_every=200", "log.checkpoint_every=200", "name=mine", "terms.mine.weight=0.01"]
    quickstart = load(ROOT / "recipes" / "quickstart.yaml", with_terms=["mine"], sets=changed, host=host)
    assert load(made["recipe.yaml"], host=host).document() == quickstart.document()


def test_the_recipe_of_a_prior_makes_the_table_with_and_without_it(
    python: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tutorial's path, as its commands are, with everything small."""
    small = {
        "init": "null",
        "backbone": "{use: hourglass, width: 8, stem: 8, depth: 1}",
        "grid.size": "32",
        "data.real.train": "6",
        "data.real.calibration": "annotated",  # six frames are too few for the hands
        "data.real.validation": "2",
        "data.real.test": "2",
        "stages.fit.draw": "{real: 2, synthetic: 2}",
        "stages.fit.steps": "1",
        "stages.fit.warmup": "0",
        "terms.vae": "{steps: 10, batch: 16, width: 16, latent: 4, weight: 0.003}",
    }
    sets = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
    recipe = "packages/hpf-my-prior/recipe.yaml"
    rows = ["--rows", "full,without:my_prior", "--seeds", "1"]
    done = script(python, "ablate", recipe, *rows, *sets, "--out", "ablation", "--json")
    assert done.returncode == 0, done.stderr
    full, without = json.loads(done.stdout)["rows"]
    assert (full["row"], without["row"]) == ("full", "without:my_prior")
    assert without["beyond_full_mm"] == pytest.approx(without["mean_error_mm"] - full["mean_error_mm"])
    # What the tutorial reads of the log of a first step.
    folder = python.parents[2]
    (folder / "runs").mkdir()
    (folder / "ablation" / "runs" / "full" / "seed-0").rename(folder / "runs" / "look")
    page = (ROOT / "docs" / "plugins.md").read_text()
    (code,) = re.findall(r"^<!-- gradients -->\n```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(folder)
    exec(compile(code, "docs/plugins.md", "exec"), {})
    pulls = ast.literal_eval(capsys.readouterr().out)
    assert min(pulls["m2d"], pulls["d2m"]) > 0
    assert pulls["my_prior"] >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written(kind: str, tmp_path: Path) -> None:
    code, out, _ = hpf("plugins", "new", kind, "joint-limits", "--out", str(tmp_path), "--json")
    assert code == 0
    made = json.loads(out)
    folder = tmp_path / "hpf-joint-limits"
    assert made["folder"] == str(folder)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["hpf"] == {"joint_limits": "hpf_joint_limits"}
    text = "".join(path.read_text() for path in folder.iterdir())
    assert "class JointLimits" in text
    assert "joint_limits" in (folder / "README.md").read_text()
    assert "$" not in text.replace("```sh", "")
    ruff = [Path(sys.executable).with_name("ruff"), "check", "--isolated", "--line-length", "120", "--no-cache"]
    subprocess.run([*ruff, "--select", "E,F,W,B,UP,SIM,RUF,C4", folder], check=True)
    subprocess.run([ruff[0], "format", "--check", *ruff[2:], folder], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hpf-joint-limits"]


@pytest.mark.parametrize("kind", KINDS)
def test_any_other_name_will_do(kind: Kind, tmp_path: Path) -> None:
    """Also names of HPF's modules, of what the module imports, and of Python's own words."""
    names = ["core", "cli", "plugins", "none", "any", "field", "tensor", "spec", "config", "prior", "torch", "build"]
    for name in {*names, "path", "mapping", "grid", kind, f"{kind}_config", "plugin_spec", "x", "a1-b2", "a" * 40}:
        made = new_package(kind, name, tmp_path, PluginHost())
        module = ModuleType(made[0].stem)
        exec(compile(made[0].read_text(), made[0].name, "exec"), module.__dict__)
        host = PluginHost()
        rows = host.add(module)
        assert [(row.name, row.status) for row in rows] == [(name.replace("-", "_"), "ok")], rows
        assert made[0].parent.name == made[0].stem.replace("_", "-")
        assert made[0].stem not in ("hpf_core", "hpf_cli", "hpf_plugins")


@pytest.mark.parametrize(
    ("kind", "name", "who"),
    [
        ("prior", "m2d", "the data term 'm2d' of hpf 0.1.0 has it (data terms and priors share their names)"),
        ("data_term", "multiview-median", "the data term 'multiview' of hpf 0.1.0 has it. Choose"),
        ("renderer", "sphere-mesh", "the renderer 'sphere_mesh' of hpf 0.1.0 has it"),
    ],
)
def test_a_name_that_is_taken(kind: str, name: str, who: str, tmp_path: Path) -> None:
    code, out, err = hpf("plugins", "new", kind, name, "--out", str(tmp_path))
    assert (code, out) == (2, "")
    assert f"error: The name '{name}' is taken: {who}" in " ".join(err.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MyPrior", "Did you mean 'my_prior'?"),
        ("2d", "beginning with a letter. Did you mean 'd'?"),
        ("my prior", "Did you mean 'my_prior'?"),
        ("___", "Choose one such as 'my_prior'."),
        ("../x", "Did you mean 'x'?"),
        ("off", "is reserved in recipes"),
        ("a" * 41, "at most 40 characters"),
    ],
)
def test_names_that_no_plugin_can_have(name: str, said: str, tmp_path: Path) -> None:
    code, out, err = hpf("plugins", "new", "prior", "--out", str(tmp_path), "--", name)
    assert (code, out) == (2, "")
    assert said in err
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path: Path) -> None:
    folder = tmp_path / "hpf-mine"
    folder.mkdir()
    (folder / "kept.txt").write_text("mine")
    code, _, err = hpf("plugins", "new", "prior", "mine", "--out", str(tmp_path))
    assert code == 2
    assert f"{folder} exists already: choose another name" in err.replace("\n", "")
    assert [path.name for path in folder.iterdir()] == ["kept.txt"]
    code, _, err = hpf("plugins", "new", "prior", "other", "--out", str(folder / "kept.txt"))
    assert code == 2
    assert "Can't write" in err
    code, _, err = hpf("plugins", "new", "priorr", "other", "--out", str(tmp_path))
    assert code == 2
    assert "Did you mean 'prior'" in err


@pytest.mark.parametrize("name", ["prior", "field", "grid", "config", "build"])
def test_names_that_the_module_knows_already(name: str, tmp_path: Path) -> None:
    """The class is called otherwise, and the module still imports."""
    code, _, _ = hpf("plugins", "new", "prior", name, "--out", str(tmp_path))
    assert code == 0
    text = (tmp_path / f"hpf-{name}" / f"hpf_{name}.py").read_text()
    names: dict[str, object] = {"__name__": "module"}
    exec(compile(text, "module.py", "exec"), names)
    assert names["SPEC"].name == name  # type: ignore[attr-defined]


def test_check_names_what_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hpf("plugins", "new", "refiner", "mine", "--out", str(tmp_path))
    module = tmp_path / "hpf-mine" / "hpf_mine.py"
    module.write_text(module.read_text().replace("return points.clamp", "return points.clamp_"))
    info = tmp_path / "hpf-mine" / "hpf_mine-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hpf-mine\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[hpf]\nmine = hpf_mine\n")
    monkeypatch.syspath_prepend(str(module.parent))
    monkeypatch.delenv("HPF_PLUGINS", raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    code, out, _ = hpf("plugins", "check", "hpf-mine")
    assert code == 1
    assert "refiner mine (hpf-mine 0.1.0): 1 of 11 clauses broken" in out
    line = next(line for line in out.splitlines() if "no mutation" in line)
    assert line.split()[0] == "broken"
    assert "it changes its input points in place" in out
    code, out, _ = hpf("plugins", "check", "mine", "--json")
    assert code == 1
    (plugin,) = json.loads(out)["plugins"]
    assert [clause["name"] for clause in plugin["clauses"] if clause["status"] == "broken"] == ["no mutation"]
    code, _, err = hpf("plugins", "check", "hpf-mine", "--no-plugin", "hpf-mine")
    assert code == 2
    assert "blocked: not imported" in err
    code, _, err = hpf("plugins", "check", "hpf-mnie")
    assert code == 2
    assert "Nor is it a package with plugins. Did you mean 'hpf-mine'" in err
    code, _, err = hpf("plugins", "check", "mine", "bone_length", "--set", "margin_mm=1")
    assert code == 2
    assert "--set needs one plugin, but there are 2" in err
    sys.modules.pop("hpf_mine", None)
