"""The public face: what `import hpf` gives and costs, and that examples, templates and docs need nothing else."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from string import Template

import pytest

import hpf
import hpf.plugin
import hpf.testing
from hpf_core import DISTRIBUTION, interfaces
from hpf_core.errors import InputError

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "numpy", "scipy", "matplotlib")
PUBLIC = {"hpf", "hpf.plugin", "hpf.testing"}
GUESTS = [*sorted((ROOT / "examples").rglob("*.py")), *sorted((ROOT / "hpf_core/plugins/templates").glob("*.py.txt"))]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def imported(code: str) -> set[str]:
    """The modules of HPF that a piece of Python imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {name for name in found if re.fullmatch(r"hpf(_core|_cli|_plugins)?(\..*)?", name)}


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT)


def test_importing_it_loads_nothing_heavy() -> None:
    code = f"import sys, hpf; print(hpf.__version__, [name for name in {HEAVY!r} if name in sys.modules])"
    assert python("-c", code).stdout == f"{hpf.__version__} []\n"


@pytest.mark.parametrize("name", sorted(set(hpf.__all__) - {"__version__"}))
def test_each_name_comes_when_it_is_used(name: str) -> None:
    assert name in dir(hpf)
    assert getattr(hpf, name).__doc__
    assert name in vars(hpf)  # from now on without a look-up


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'hpf' has no attribute 'train'"):
        hpf.train  # noqa: B018


def test_the_plugin_page_has_every_class_of_the_interfaces() -> None:
    own = {
        name
        for name, value in vars(interfaces).items()
        if isinstance(value, type) and value.__module__.startswith("hpf_core.interfaces")
    }
    assert own <= set(hpf.plugin.__all__)
    assert all(hasattr(hpf.plugin, name) for name in hpf.plugin.__all__)
    assert all(hasattr(hpf.testing, name) for name in hpf.testing.__all__)


@pytest.mark.parametrize("path", GUESTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_guests_import_the_public_face_alone(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".txt":
        text = Template(text).safe_substitute(name="x", Name="X", module="hpf_x", interface="(2, 0)")
    own = {f.stem for f in path.parent.glob("hpf_*")} | {path.parent.name, "hpf_x"}
    assert {name for name in imported(text) if name.split(".")[0] not in own} <= PUBLIC


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_docs_import_the_public_face_alone(path: Path) -> None:
    for code in re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        try:
            found = imported(code)
        except SyntaxError:
            continue  # an interface with `...` in its signatures
        assert found <= PUBLIC, code


def test_it_is_a_command() -> None:
    done = python("-m", "hpf", "--version")
    assert (done.returncode, done.stdout) == (0, f"hpf {hpf.__version__}\n")


def test_what_it_evaluates_is_a_run_or_has_labels(tmp_path: Path) -> None:
    file = tmp_path / "predictions.txt"
    file.write_text("")
    with pytest.raises(InputError, match=r"predictions\.txt is not the folder of a run"):
        hpf.evaluate(file)


def test_the_wheel_has_it_with_its_types() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["name"] == DISTRIBUTION
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert packages == project["tool"]["mypy"]["packages"] == project["tool"]["importlinter"]["root_packages"]
    assert "hpf" in packages
    assert all((ROOT / package / "py.typed").is_file() for package in ("hpf", "hpf_core", "hpf_plugins"))


def test_the_name_of_another_project_is_not_asked_for() -> None:
    """`hpf` on PyPI is a stranger's."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    wrong = re.compile(r"""\bhpf\[|['"]hpf\s*[><=~!]|pip install (-\S+ )*hpf\b(?!-)|pypi\.org/project/hpf\b""")
    found = []
    for name in done.stdout.splitlines():
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".txt", ".yaml", ".sh") and path != Path(__file__) and path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            found += [f"{name}:{number}: {line}" for number, line in enumerate(lines, 1) if wrong.search(line)]
    assert found == []
