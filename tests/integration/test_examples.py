"""The packages in `examples/`, installed as a guest installs them, found by HPF, and each held to its own tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/pyproject.toml"))
OFFERED = {
    "joint_limits": "hpf-joint-limits",
    "regression": "hpf-regression",
    "temporal_smoothness": "hpf-temporal-smoothness",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment variables with which Python sees them all, installed into one folder."""
    folder = tmp_path_factory.mktemp("examples")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder / "packages")]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *options, *map(str, EXAMPLES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kept = {name: value for name, value in os.environ.items() if name != "HPF_PLUGINS"}
    return kept | {
        "PYTHONPATH": os.pathsep.join([str(folder / "packages"), str(ROOT)]),
        "HPF_CACHE_DIR": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }


def test_they_are_found(installed: dict[str, str]) -> None:
    code = "from hpf_cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "plugins", "list", "--json"], capture_output=True, text=True, env=installed
    )
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["plugins"]}
    for name, package in OFFERED.items():
        assert (rows[name]["package"], rows[name]["status"]) == (package, "ok")
    assert {path.name for path in EXAMPLES} == set(OFFERED.values())


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
