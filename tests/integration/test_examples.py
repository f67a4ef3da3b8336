"""The packages in `examples/`, installed as a guest installs them, found by HPF, each held to its own tests, and
trained with as its README says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from hpf_core import recipe as recipes
from hpf_core.engine.run import Run
from hpf_core.plugins import PluginHost

from .conftest import rows_of

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/pyproject.toml"))
OWN_FILES = {"hpf-mano", "hpf-npz-frames"}
"""Packages whose recipes name a file that can't be shipped: their own tests make one."""
TRAINED = [folder for folder in EXAMPLES if folder.name not in OWN_FILES]

BASE = """
name: base
backbone: {use: hourglass, width: 8, stem: 8, depth: 1}
grid: {size: 32}
data:
  real: {use: simulated, train: 6, validation: 2, test: 4}
  synthetic: {use: synthetic, cone_deg: 60, roll_deg: 45}
stages:
  fit: {draw: {real: 2, synthetic: 2}, steps: 2, terms: [supervised, m2d, multiview], lr: 1e-3}
log: {every: 1, gradients_every: 1}
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which they all are installed."""
    folder = tmp_path_factory.mktemp("examples") / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *options, *map(str, EXAMPLES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def installed(packages: Path, cache: Path) -> dict[str, str]:
    """The environment variables with which Python sees them."""
    kept = {name: value for name, value in os.environ.items() if name != "HPF_PLUGINS"}
    return kept | {
        "PYTHONPATH": os.pathsep.join([str(packages), str(ROOT)]),
        "HPF_CACHE_DIR": str(cache),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def guests(packages: Path, monkeypatch: pytest.MonkeyPatch) -> PluginHost:
    """A host that sees them."""
    monkeypatch.syspath_prepend(str(packages))
    return PluginHost.load()


def test_they_are_found(installed: dict[str, str]) -> None:
    code = "from hpf_cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "plugins", "list", "--json"], capture_output=True, text=True, env=installed
    )
    assert done.returncode == 0, done.stderr
    rows = [row for row in json.loads(done.stdout)["plugins"] if row["package"] != "hpf"]
    assert {(row["package"], row["status"]) for row in rows} >= {(folder.name, "ok") for folder in EXAMPLES}
    assert [row for row in rows if row["status"] != "ok"] == []


@pytest.mark.timeout(1200)  # a minute and a half of work, of which a busy machine makes many
def test_each_passes_its_own_tests(installed: dict[str, str], tmp_path: Path) -> None:
    """In one process, for importing torch takes most of the time."""
    tests = [str(path) for folder in EXAMPLES for path in sorted(folder.glob("test_*.py"))]
    assert len(tests) >= len(EXAMPLES)
    options = ["-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests], capture_output=True, text=True, env=installed, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda path: path.name)
def test_each_says_what_it_is(folder: Path) -> None:
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == folder.name
    assert len(project["entry-points"]["hpf"]) == 1
    text = (folder / "README.md").read_text()
    assert text.startswith(f"# {folder.name}\n")
    assert "pip install -e" in text


@pytest.mark.usefixtures("_no_figures")
@pytest.mark.parametrize("folder", TRAINED, ids=lambda path: path.name)
def test_the_recipe_of_its_readme_trains(folder: Path, guests: PluginHost, cache: Path, tmp_path: Path) -> None:
    """What the README puts into a recipe, over a small one: a stage of two steps, in which the plugin has its part."""
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", (folder / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "mine.yaml").write_text(f"extends: base.yaml\nname: mine\n{text}")
    offers = {row.name for row in guests.rows() if row.package == folder.name}
    terms = [name for name in yaml.safe_load(text).get("terms", {}) if name in offers]
    resolved = recipes.load(tmp_path / "mine.yaml", with_terms=terms, host=guests)
    assert folder.name in resolved.document()["versions"], "the README's recipe doesn't use the package's plugin"
    Run(resolved, tmp_path / "run", cache=cache).execute()
    steps = rows_of(tmp_path / "run")
    assert [row["step"] for row in steps] == [1, 2]
    assert all(row["gradient"][name] is not None for name in terms for row in steps)


def test_the_rows_that_come_with_them_resolve(guests: PluginHost) -> None:
    """Over the recipe in whose time they are: from nothing, with all terms."""
    rows = [path for folder in TRAINED for path in sorted(folder.glob("rows/*.yaml"))]
    assert [path.stem for path in rows] == ["regression"]
    for path in rows:
        resolved = recipes.load(ROOT / "recipes" / "scratch.yaml", over=path, host=guests)
        assert path.parents[1].name in resolved.document()["versions"]
