"""Which packages a recipe may use, what a saved one may be run with, and what of it is deprecated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.errors import RecipeError
from hpf_core.hookspecs import hookimpl
from hpf_core.interfaces import Config, PluginSpec
from hpf_core.plugins import PluginHost, describe_options
from hpf_core.plugins.schema import recipe_schema
from hpf_core.recipe import Resolved, load
from hpf_core.runs.packages import check_resumed, used_plugins

Resolve = Callable[..., Resolved]
Refusal = Callable[..., str]


@pytest.mark.parametrize("pin", ["toys", "toys==1.2", "Toys>=1,<2", "toys~=1.1", "toys==1.*"])
def test_a_pin_that_is_met(resolve: Resolve, recipe: str, pin: str) -> None:
    got = resolve(f"{recipe}plugins: ['{pin}']\n")
    assert got.document()["plugins"] == [pin]
    assert resolve(got.to_yaml()) == got
    assert resolve(recipe).document()["plugins"] is None


@pytest.mark.parametrize(
    ("pins", "said"),
    [
        ("[toys==1.1]", "plugins[0]: toys 1.2 is installed, but the recipe needs ==1.1"),
        ("[toys==1.2, no-such-package>=2]", "plugins[1]: the package no-such-package isn't installed"),
        ("[toys==1.2, no-such-package>=2]", "pip install 'no-such-package>=2'"),
        ("[toys, pydantic<1]", "but the recipe needs <1"),
        ("[]", "is from the package toys, which isn't listed here"),
        ("[pydantic]", "Add toys==1.2 to run its code."),
        ("[toys = 1]", "expected a package and its versions, got 'toys = 1'"),
        ("[toys, 3]", "plugins[1]"),
        ("toys", "plugins"),
    ],
)
def test_a_pin_that_is_not(refusal: Refusal, recipe: str, pins: str, said: str) -> None:
    assert said in refusal(f"{recipe}plugins: {pins}\n")


def test_pins_are_where_they_are_written(refusal: Refusal, recipe: str) -> None:
    line = recipe.count("\n") + 1
    assert refusal(f"{recipe}plugins: [toys==2]\n").startswith(f"mine.yaml:{line}:11: plugins[0]: ")


def test_the_schema_knows_pins(host: PluginHost) -> None:
    assert "plugins" in recipe_schema(host)["properties"]


# ------------------------------------------------------------------------------------------------------ saved recipes


def test_a_saved_recipe_runs_with_its_own_plugins_alone(resolve: Resolve, refusal: Refusal, recipe: str) -> None:
    saved = resolve(recipe).to_yaml()
    assert resolve(saved, allow_other_plugins=False) == resolve(recipe)
    other = saved.replace('toys: "1.2"', 'toys: "1.1"')
    assert other != saved
    assert "it was saved with toys 1.1, and this is 1.2" in refusal(other, allow_other_plugins=False)
    assert "--allow-other-plugins" in refusal(other, allow_other_plugins=False)
    assert resolve(other).notes == ("versions.toys: the recipe was saved with 1.1, and this is 1.2",)
    # HPF and torch aren't plugins, and a package that is no longer used is none of a run's business.
    resolve(saved.replace('torch: "', 'torch: "0.'), allow_other_plugins=False)
    resolve(saved + "  gone: '7'\n", allow_other_plugins=False)


def test_another_package_of_the_same_names(refusal: Refusal, resolve: Resolve, recipe: str) -> None:
    saved = resolve(recipe).to_yaml().replace('toys: "1.2"', 'games: "1.2"')
    assert "it was saved with plugins of games, and these are of toys" in refusal(saved, allow_other_plugins=False)


def test_a_run_resumes_with_its_own_plugins_alone(resolve: Resolve, recipe: str, tmp_path: Path) -> None:
    now = resolve(recipe)
    begun = tmp_path / "run" / "recipe.yaml"
    begun.parent.mkdir()
    begun.write_text(now.to_yaml())
    check_resumed(begun, now)
    begun.write_text(now.to_yaml().replace('toys: "1.2"', 'toys: "1.0"'))
    with pytest.raises(RecipeError, match=r"can't be resumed with other plugins: it was saved with toys 1\.0"):
        check_resumed(begun, now)
    for damaged in ("{", "7", "versions: 3"):
        begun.write_text(damaged)
        check_resumed(begun, now)  # who resumes it says what is wrong
    check_resumed(tmp_path / "nowhere.yaml", now)


@pytest.mark.parametrize("how", ["run", "resume"])
def test_the_command_line_refuses_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    from hpf_core.plugins import host as module

    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HPF_PLUGINS", "")
    begun: list[Resolved] = []
    monkeypatch.setattr("hpf_core.engine.run.Run.execute", lambda run: begun.append(run.resolved) or {})
    monkeypatch.setattr("hpf_cli.progress.print_summary", lambda *_: None)
    whole = PluginHost.load(only=[])
    whole.add(_offering(), package="guest", version="2.0")
    monkeypatch.setattr(module.PluginHost, "load", classmethod(lambda cls, **_: whole))
    path = tmp_path / "mine.yaml"
    path.write_text(
        "data: {real: simulated}\nstages: {fit: {draw: {real: 1}, steps: 1, terms: [m2d, guests]}}\nname: mine\n"
    )
    folder = tmp_path / "out"
    folder.mkdir()
    saved = folder / "recipe.yaml"
    saved.write_text(load(path, host=whole).to_yaml().replace('guest: "2.0"', 'guest: "1.0"'))
    words = ["run", str(saved if how == "run" else path), "--out", str(tmp_path / "x" if how == "run" else folder)]
    words += ["--resume"] if how == "resume" else []
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "saved with guest 1.0, and this is 2.0" in done.stderr
    assert not begun
    done = CliRunner().invoke(app, [*words, "--allow-other-plugins"])
    assert done.exit_code == 0 or begun, done.stderr
    assert begun[0].recipe.versions["guest"] == "2.0"


# ------------------------------------------------------------------------------------- what is written down, deprecated


class Options(Config):
    """One option that should no longer be written."""

    margin: float = Field(1.0, description="Margin, mm.", deprecated="write margin_mm")
    margin_mm: float = Field(1.0, description="Margin, mm.")


def _offering(**changes: Any) -> object:
    class Guest:
        @hookimpl
        def hpf_priors(self) -> list[PluginSpec]:
            return [
                PluginSpec("prior", "guests", Options, lambda c, b: None, "A guest's.", "own work", **changes),
            ]

    return Guest()


def test_the_record_of_a_run_says_whose_code_it_ran(resolve: Resolve, recipe: str) -> None:
    used = used_plugins(resolve(recipe))
    assert used["backbone:tower"] == {"package": "toys", "version": "1.2", "source": "own work", "installed": ""}
    assert {"hand:spheres41", "dataset:cameras", "dataset:generator", "prior:bone-length"} <= used.keys()
    json.dumps(used)


def test_how_a_package_was_installed(
    resolve: Resolve, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "toys-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    resolved = resolve(recipe)
    for about, said in (
        ({"url": "file:///here", "dir_info": {"editable": True}}, "editable file:///here"),
        ({"url": "https://x.org/r", "vcs_info": {"vcs": "git", "commit_id": "ab1"}}, "https://x.org/r@ab1"),
        ({"url": "https://x.org/toys.whl"}, "https://x.org/toys.whl"),
    ):
        (info / "direct_url.json").write_text(json.dumps(about))
        assert used_plugins(resolved)["backbone:tower"]["installed"] == said
    (info / "direct_url.json").write_text("[")
    assert used_plugins(resolved)["backbone:tower"]["installed"] == ""


def test_deprecations_say_what_to_write_instead(tmp_path: Path) -> None:
    host = PluginHost.load(only=[])
    (row,) = host.add(_offering(deprecated="use bone_length"), package="guest", version="2.0")
    assert (row.status, row.summary) == ("ok", "(deprecated: use bone_length) A guest's.")
    path = tmp_path / "mine.yaml"
    text = (
        "data: {real: simulated}\nstages: {fit: {draw: {real: 1}, steps: 1, terms: [guests]}}\nterms: {guests: {X}}\n"
    )
    path.write_text(text.replace("{X}", "{margin: 2.0}"))
    whole = "the prior 'guests' (guest 2.0)"
    assert load(path, host=host).notes == (
        f"{whole} is deprecated: use bone_length",
        f"option 'margin' of {whole} is deprecated: write margin_mm",
    )
    path.write_text(text.replace("{X}", "{margin_mm: 2.0}"))
    saved = load(path, host=host)
    assert saved.notes == (f"{whole} is deprecated: use bone_length",)
    path.write_text(saved.to_yaml())  # all defaults are written out, which is nobody's doing
    assert load(path, host=host).notes == saved.notes
    options = {option.name: option.meaning for option in describe_options(Options)}
    assert options == {"margin": "Margin, mm. Deprecated: write margin_mm", "margin_mm": "Margin, mm."}
