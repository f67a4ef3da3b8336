"""docs/plugins.md: its tutorial is walked, its reference is what the code says, its tables are true."""

from __future__ import annotations

import dataclasses
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from hpf_core import hookspecs
from hpf_core.ablation.variants import choose, resolve
from hpf_core.errors import PluginError
from hpf_core.hookspecs import HOOKS, hookimpl
from hpf_core.interfaces import KINDS, Observer, PluginSpec
from hpf_core.plugins import PluginHost
from hpf_core.plugins.scaffold import new_package
from hpf_core.recipe import load
from hpf_core.testing import CLAUSES, check, clauses_of

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "plugins.md"
TEXT = PAGE.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def module() -> Iterator[ModuleType]:
    """The tutorial's module."""
    (text,) = re.findall(r"^`hpf_my_prior.py`:\n\n```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    made = ModuleType("hpf_my_prior")
    exec(compile(text, "hpf_my_prior.py", "exec"), made.__dict__)
    sys.modules["hpf_my_prior"] = made
    yield made
    del sys.modules["hpf_my_prior"]


def test_the_reference_is_what_the_code_says() -> None:
    """`python tools/plugin_reference.py` writes it."""
    tool = runpy.run_path(str(ROOT / "tools" / "plugin_reference.py"))
    assert re.findall(r"<!-- reference: (\w+) -->", TEXT) == ["clauses", *KINDS]
    assert tool["replaced"](TEXT) == TEXT
    assert tool["CLASSES"].keys() == set(KINDS)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_documented_with_its_interface_and_has_a_contract(hook: str) -> None:
    """A new hook fails here until it has a section, an interface below it, a docstring, clauses and a package to begin
    from (whose tests are in test_contract_broken.py and test_plugins_new.py)."""
    kind = HOOKS[hook]
    _, found, section = TEXT.partition(f"### `{hook}() -> Iterable[PluginSpec]`\n")
    assert found
    assert f"<!-- reference: {kind} -->" in section.partition("\n### ")[0]
    assert "Example:" in (getattr(hookspecs, hook).__doc__ or "")
    own = [clause for clause in clauses_of(kind) if clause.kinds != KINDS]
    assert own, f"the contract asks nothing of a {kind} by itself"
    assert (ROOT / "hpf_core" / "plugins" / "templates" / f"{kind}.py.txt").is_file()


def test_every_event_of_a_run_is_documented() -> None:
    section = TEXT.partition("<!-- reference: observer -->")[2].partition("<!-- end -->")[0]
    for name, value in vars(Observer).items():
        if callable(value) and not name.startswith("_"):
            assert f"def {name}(" in section
            assert value.__doc__
            assert re.search(rf"^\| .*`{name}`.* \|", TEXT, re.MULTILINE)


def test_the_observers_of_the_page_are_a_recipes(tmp_path: Path) -> None:
    (lines,) = [block for block in blocks("yaml") if block.startswith("observers:")]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"extends: {ROOT / 'recipes' / 'quickstart.yaml'}\n{lines}")
    host = PluginHost.load(only=[])
    assert [part.spec for part in load(recipe, host=host).observers] == [o.spec for o in host.registered("observer")]


def test_the_fields_of_a_specification_are_all_listed() -> None:
    table = TEXT.partition("## The specification")[2].partition("\n## ")[0]
    named = {
        name for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert named == {field.name for field in dataclasses.fields(PluginSpec)}


def test_the_first_command_writes_what_is_listed(tmp_path: Path) -> None:
    assert "hpf plugins new prior my_prior\n" in blocks("sh")[0]
    made = new_package("prior", "my_prior", tmp_path)
    table = TEXT.partition("| file | is |\n")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE) == [path.name for path in made]
    (project,) = [path for path in made if path.name == "pyproject.toml"]
    assert 'my_prior = "hpf_my_prior"' in project.read_text()
    assert "\n[project.optional-dependencies]\ndev = " in project.read_text(), "what [dev] in the next line asks for"


def test_the_tutorials_recipe_and_rows_are_there(module: ModuleType, tmp_path: Path) -> None:
    """Its commands name the file that the scaffold writes, and rows that come out with and without the prior."""
    new_package("prior", "my_prior", tmp_path)
    lines = [line for block in blocks("sh") for line in block.splitlines() if "recipe.yaml" in line]
    assert [line.split()[1:3] for line in lines] == [
        ["run", "hpf-my-prior/recipe.yaml"],
        ["ablate", "hpf-my-prior/recipe.yaml"],
    ]
    host = PluginHost.load(only=[])
    host.add(module)
    (names,) = re.findall(r"--rows (\S+)", lines[1])
    recipe = tmp_path / "hpf-my-prior" / "recipe.yaml"
    changes = re.findall(r"--set\s+(stages\S+=\d+|evaluate\S+=\w+)", TEXT)
    assert len(changes) == 3
    for change in changes:
        load(recipe, sets=[change], host=host)
    used = [
        {term.name for term in resolve(row, recipe, seed=0, sets=[], scale=1, host=host).stages[0].terms}
        for row in choose(recipe, names.split(","))
    ]
    assert used[0] - used[1] == {"my_prior"}
    assert not used[1] - used[0]


def test_the_prior_of_the_tutorial_keeps_the_contract(module: ModuleType) -> None:
    broken = [(f.clause.name, f.why) for f in check(module.__dict__["SPEC"]) if f.status != "holds"]
    assert broken == []
    assert len(list(clauses_of("prior"))) < len(CLAUSES)


def test_the_prior_of_the_tutorial_has_an_effect(module: ModuleType, tmp_path: Path) -> None:
    """It is the mean over three pairs of fingers, and every sampled hand has a gradient, so that a reader sees it."""
    host = PluginHost.load(only=[])
    assert [row.status for row in host.add(module, "hpf-my-prior", "0.1.0")] == ["ok"]
    hand = host.get("hand", "spheres41").spec
    from hpf_core.grid import Grid
    from hpf_core.interfaces import Build

    bare = Build(grid=Grid(), seed=0, cache=tmp_path)
    build = dataclasses.replace(bare, hand=hand.factory(hand.config(), bare))
    prior = module.__dict__["build"](module.__dict__["MyPriorConfig"](free_mm=2.0), build)
    assert build.hand is not None
    points = torch.zeros(1, 41, 3)
    for name, reach in zip(module.__dict__["FINGERS"], (90.0, 95.0, 96.0, 90.0), strict=True):
        points[0, build.hand.names.index(name), 1] = -reach
    assert prior(points).values.tolist() == pytest.approx([(3**2 + 0 + 4**2) / 3])
    sampled = build.hand.points(*build.hand.sample(200, torch.Generator().manual_seed(0))).requires_grad_()
    prior(sampled).values.sum().backward()
    assert sampled.grad is not None
    assert float(sampled.grad.flatten(1).norm(dim=1).quantile(0.05)) > 1
    recipe = ROOT / "recipes" / "quickstart.yaml"
    resolved = load(recipe, with_terms=["my_prior"], sets=["terms.my_prior.free_mm=20"], host=host)
    assert "my_prior" in [term.name for stage in resolved.stages if stage.draw_real for term in stage.terms]


def test_the_contract_as_it_is_written(module: ModuleType) -> None:
    (code,) = [block for block in blocks("python") if "test_contract = contract(SPEC)" in block]
    names: dict[str, Any] = {}
    exec(compile(code, "docs/plugins.md", "exec"), names)
    for name in ("test_contract", "test_contract_with_a_tolerance"):
        (mark,) = names[name].pytestmark
        assert [parameter.values[0] for parameter in mark.args[1]] == list(clauses_of("prior"))


def test_the_python_at_its_end() -> None:
    names: dict[str, Any] = {"my_module": ModuleType("my_module")}
    names["my_module"].hpf_priors = hookimpl(lambda: iter(()))
    exec(compile(blocks("python")[-1], "docs/plugins.md", "exec"), names)
    assert names["plugin"].spec.name == "bone_length"


@pytest.mark.parametrize(
    ("interface", "ours"), [((2, 0), (2, 0)), (((2, 1), (3, 0)), (2, 1)), (((2, 1), (3, 0)), (3, 7))]
)
def test_versions_that_work(interface: Any, ours: Any, monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    monkeypatch.setattr("hpf_core.plugins.checks.INTERFACE_VERSION", ours)
    assert f"| `{interface}` |" in TEXT
    host = PluginHost()
    host.add(_offering(dataclasses.replace(module.__dict__["SPEC"], interface=interface)))
    assert host.get("prior", "my_prior")


@pytest.mark.parametrize(
    ("interface", "ours", "said"),
    [
        ((3, 0), (2, 0), "built for interface 3.0, newer than this HPF's 2.0: upgrade HPF"),
        ((1, 9), (2, 0), "which this HPF (2.0) no longer supports"),
        ((1, 0), (2, 0), "or change it as docs/plugins-1-to-2.md says"),
        (((2, 1), (3, 0)), (2, 0), "newer than this HPF's 2.0"),
        (((2, 1), (3, 0)), (4, 0), "no longer supports"),
    ],
)
def test_versions_that_do_not(
    interface: Any, ours: Any, said: str, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    monkeypatch.setattr("hpf_core.plugins.checks.INTERFACE_VERSION", ours)
    host = PluginHost()
    host.add(_offering(dataclasses.replace(module.__dict__["SPEC"], interface=interface)))
    with pytest.raises(PluginError, match=re.escape(said)):
        host.get("prior", "my_prior")


def _offering(spec: PluginSpec) -> ModuleType:
    made = ModuleType("offering")
    made.hpf_priors = hookimpl(lambda: [spec])  # type: ignore[attr-defined]
    return made
