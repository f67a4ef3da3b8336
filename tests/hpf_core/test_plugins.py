"""The plugin host, against real distributions on disk (`tests/data/plugins`) and against plugins made here."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import Field

from hpf_core import hookspecs
from hpf_core.errors import PluginError
from hpf_core.hookspecs import HOOKS, hookimpl
from hpf_core.interfaces import KINDS, Config, Kind, PluginSpec
from hpf_core.plugins import PluginHost, PluginRow, PluginWarning, describe_options

ROOT = Path(__file__).resolve().parents[2]
DISTS = ROOT / "tests" / "data" / "plugins"


@pytest.fixture(autouse=True)
def _no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPF_PLUGINS", raising=False)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Puts distributions on the path for one test, and forgets their modules after it."""
    before = set(sys.modules)

    def put(*folders: str | Path) -> None:
        for folder in folders:
            monkeypatch.syspath_prepend(str(DISTS / folder))
        importlib.invalidate_caches()

    yield put
    for name in set(sys.modules) - before:
        if name.startswith("hpf_") and name.partition(".")[0] not in ("hpf_core", "hpf_plugins"):
            del sys.modules[name]


def load(expected: str | None = None, **options: Any) -> PluginHost:
    """A host without the bundled plugins, which must warn of `expected`, or of nothing."""
    options["blocked"] = ["hpf", *options.get("blocked", ())]
    if expected is None:
        return PluginHost.load(**options)
    with pytest.warns(PluginWarning, match=expected):
        return PluginHost.load(**options)


def broken(host: PluginHost, package: str) -> list[PluginRow]:
    return [row for row in host.rows() if row.package == package and row.status == "broken"]


def names(host: PluginHost) -> list[str]:
    return [offer.spec.name for offer in host.registered()]


# ------------------------------------------------------------------------------------------------ distributions on disk


def test_good(install: Callable[..., None]) -> None:
    install("good")
    host = load()
    assert names(host) == ["flat-hand", "leave-it"]
    found = host.get("prior", "flat_hand")
    assert (found.package, found.version, found.entry_point) == ("hpf-good", "1.2.0", "good")
    assert found.spec.default_weight == 0.25
    assert dict(found.preset) == {}
    row = next(row for row in host.rows() if row.name == "flat-hand")
    assert row.status == "ok"
    assert row.aliases == ("flat_hand_strict",)
    assert (row.kind, row.summary) == ("prior", "Squared depth range beyond a margin.")


def test_alias_presets_options_and_dashes_do_not_matter(install: Callable[..., None]) -> None:
    install("good")
    host = load()
    for asked in ("flat_hand_strict", "flat-hand-strict", "Flat-Hand_strict"):
        found = host.get(("data_term", "prior"), asked)
        assert found.spec.name == "flat-hand"
        assert dict(found.preset) == {"margin_mm": 0.0}
    with pytest.raises(TypeError):
        found.preset["margin_mm"] = 1.0  # type: ignore[index]


def test_import_error_is_a_row_and_stops_nobody(install: Callable[..., None]) -> None:
    install("good", "import_error")
    host = load("hpf-import-error 0.3.*library_that_nobody_has")
    assert names(host) == ["flat-hand", "leave-it"]
    [row] = broken(host, "hpf-import-error")
    assert row.kind is None
    assert "ModuleNotFoundError: No module named 'library_that_nobody_has'" in row.reason
    assert "import_error/hpf_import_error.py, line 3" in row.reason
    assert isinstance(row.cause, ModuleNotFoundError)


def test_asking_for_what_a_broken_plugin_may_have_offered_is_an_error_with_its_cause(
    install: Callable[..., None],
) -> None:
    install("good", "import_error")
    host = load("hpf-import-error")
    with pytest.raises(PluginError) as caught:
        host.get("prior", "flat_hnad")
    assert "There is no prior 'flat_hnad'. Did you mean 'flat-hand'" in str(caught.value)
    assert "may provide it" in str(caught.value)
    assert "hpf-import-error 0.3 (entry point 'import_error'): importing" in str(caught.value)
    with pytest.raises(PluginError, match=r"The prior 'import-error' is broken:\n.*library_that_nobody_has") as caught:
        host.get("prior", "import-error")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_clash_names_both_packages_and_only_hurts_who_asks(install: Callable[..., None]) -> None:
    install("good", "duplicate")
    host = load("hpf-duplicate 2.0.*and by hpf-good 1.2.0")
    # Their entry points have one name, and neither hides the other's other plugins.
    assert names(host) == ["flat-hand", "leave-it-too"]
    assert host.get("prior", "flat-hand").package == "hpf-good"
    assert host.get("refiner", "nothing").package == "hpf-duplicate"
    for asked in ("leave-it", "leave_it"):
        with pytest.raises(PluginError, match=r"hpf-duplicate 2\.0 .* and by hpf-good 1\.2\.0 .*HPF_PLUGINS"):
            host.get("refiner", asked)
    assert len(broken(host, "hpf-good")) == len(broken(host, "hpf-duplicate")) == 1
    assert len(host.problems()) == 1


def test_clash_is_resolved_by_leaving_one_out(install: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    install("good", "duplicate")
    assert load(blocked=["HPF_Duplicate"]).get("refiner", "leave-it").package == "hpf-good"
    assert load(only=["hpf.duplicate"]).get("refiner", "leave-it").package == "hpf-duplicate"
    monkeypatch.setenv("HPF_PLUGINS", " hpf-good , ")
    assert load().get("refiner", "leave-it").package == "hpf-good"


def test_misspelt_hook_breaks_the_plugin_and_names_the_nearest(install: Callable[..., None]) -> None:
    install("misspelt", "good")
    host = load("there is no hook 'hpf_refinerz'. Did you mean 'hpf_refiners'")
    assert names(host) == ["flat-hand", "leave-it"]
    assert len(broken(host, "hpf-misspelt")) == 1
    assert not host.has_plugin("hpf-misspelt:misspelt")
    host.check_pending()


def test_wrong_kind(install: Callable[..., None]) -> None:
    install("wrong_kind")
    host = load("hpf_priors must give plugins of kind 'prior', and this one is 'refiner'")
    assert names(host) == ["a-refiner"]
    with pytest.raises(PluginError, match=r"The prior 'not_a_prior' is broken:\n.*must give plugins of kind") as caught:
        host.get("prior", "not_a_prior")
    assert "hpf-wrong-kind 1.0" in str(caught.value)


def test_other_interfaces(install: Callable[..., None]) -> None:
    install("newer")
    host = load("hpf-newer")
    assert host.registered() == []
    reasons = {row.name: row.reason for row in broken(host, "hpf-newer")}
    assert reasons["minor"] == "it is built for interface 2.99, newer than this HPF's 2.0: upgrade HPF"
    assert reasons["major"] == "it is built for interface 3.0, newer than this HPF's 2.0: upgrade HPF"
    assert reasons["older"].endswith(
        "which this HPF (2.0) no longer supports: upgrade the plugin, or change it as docs/plugins-1-to-2.md says"
    )
    assert "two whole numbers" in reasons["odd"]


def test_hook_that_raises_costs_its_kind(install: Callable[..., None]) -> None:
    install("raising")
    host = load(r"calling hpf_priors failed: ZeroDivisionError: no \[hand\] in sight")
    assert names(host) == ["survivor"]
    [row] = broken(host, "hpf-raising")
    assert (row.kind, row.name) == ("prior", "raising")
    assert "raising/hpf_raising.py, line" in row.reason
    with pytest.raises(PluginError, match=r"may provide it:\n.*no .hand. in sight"):
        host.get("prior", "first")
    with pytest.raises(PluginError) as caught:
        host.get("backbone", "first")
    assert "sight" not in str(caught.value)  # it could not have offered a backbone


def test_hook_arguments(install: Callable[..., None]) -> None:
    install("arguments")
    host = load("hpf_refiners has no arguments, but this one has register")
    assert host.registered() == []
    assert not host.has_plugin("hpf-arguments:arguments")


def test_entry_points_to_nothing(install: Callable[..., None]) -> None:
    install("nowhere")
    host = load("hpf-nowhere")
    reasons = {row.name: row.reason for row in broken(host, "hpf-nowhere")}
    assert reasons["module"] == "its module doesn't exist: 'hpf_nowhere_at_all'"
    assert reasons["attribute"] == "it points to nothing: 'hpf_nowhere:plugin.deep' has no 'deep'"
    assert "malformed" in reasons["malformed"]


@pytest.mark.parametrize("by", ["hpf_import.error", "IMPORT-ERROR"])
def test_blocked_plugins_are_not_imported(install: Callable[..., None], by: str) -> None:
    install("good", "import_error")
    host = load(blocked=[by, "hpf_good"])
    assert {"hpf_good", "hpf_import_error"}.isdisjoint(sys.modules)
    status = {row.package: (row.status, row.reason) for row in host.rows()}
    assert status["hpf-good"] == status["hpf-import-error"] == ("blocked", "blocked: not imported")
    assert host.is_blocked("hpf-good:good")
    with pytest.raises(PluginError, match=r"These were not loaded, and may provide it:\n(.*\n)*.*hpf-good 1\.2\.0"):
        host.get("prior", "flat-hand")


def test_only_by_argument_and_by_environment(install: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    install("good", "import_error")
    assert names(load(only=["good"])) == ["flat-hand", "leave-it"]
    assert "hpf_import_error" not in sys.modules
    monkeypatch.setenv("HPF_PLUGINS", "")
    host = load()
    assert names(host) == []
    assert [row.reason for row in host.rows() if row.package == "hpf-good"] == [
        "not among the plugins to load (none but HPF's own): not imported"
    ]


def test_bundled_plugins_stay_whatever_is_asked_for() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        host = PluginHost.load(only=[])
    assert host.has_plugin("hpf:bundled")
    assert not any(row.status == "blocked" for row in host.rows() if row.package == "hpf")


def test_filter_that_names_nothing_is_said(install: Callable[..., None]) -> None:
    install("good")
    load("called 'hpf-goood'. Did you mean 'hpf-good'", blocked=["hpf_goood"])
    load("called 'god'. Did you mean 'good'", only=["god"])


def test_order_does_not_depend_on_the_path(install: Callable[..., None]) -> None:
    install("good", "wrong_kind", "raising")
    first = load("")
    install("raising", "good", "wrong_kind")
    second = load("")
    assert names(first) == names(second) == ["flat-hand", "leave-it", "survivor", "a-refiner"]
    assert first.rows() == second.rows()


def test_the_same_distribution_twice_on_the_path_is_no_clash(install: Callable[..., None], tmp_path: Path) -> None:
    older = tmp_path / "hpf_good-0.9.dist-info"
    older.mkdir()
    (older / "METADATA").write_text("Metadata-Version: 2.1\nName: HPF_good\nVersion: 0.9\n")
    (older / "entry_points.txt").write_text("[hpf]\ngood = hpf_good\n")
    install(tmp_path, "good")
    assert load().get("refiner", "leave-it").version == "1.2.0"


@pytest.mark.parametrize("text", ["[hpf]\nno equals sign\n", "[other]\nno equals sign\n"])
def test_damaged_metadata_of_one_package_stops_nobody(install: Callable[..., None], tmp_path: Path, text: str) -> None:
    info = tmp_path / "hpf_tmp_damaged-3.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_bytes(b"\xff\xfe")
    (info / "entry_points.txt").write_text(text)
    install("good", tmp_path)
    host = load("hpf_tmp_damaged.*entry_points.txt is damaged" if "[hpf]" in text else None)
    assert names(host) == ["flat-hand", "leave-it"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("raise SystemExit('goodbye')\n", "SystemExit: goodbye"),
        ("from hpf_core.interfaces import NotThereYet\n", "built for another version of HPF"),
        ("import hpf_core.not_there\n", "No module named 'hpf_core.not_there'"),
        ("x = 1\n", "it implements no hook"),
        ("def hpf_priors():\n    return []\n", "hpf_priors is not marked: put @hookimpl"),
        (
            "from hpf_core.hookspecs import hookimpl\n@hookimpl(wrapper=True)\ndef hpf_priors():\n    return (yield)\n",
            "hpf_priors is a wrapper",
        ),
        (
            "from hpf_core.hookspecs import hookimpl\n@hookimpl\ndef hpf_priors():\n    pass\n",
            "hpf_priors must return an iterable of PluginSpec, not NoneType",
        ),
        (
            "from hpf_core.hookspecs import hookimpl\n@hookimpl\ndef hpf_priors():\n    return 'm2d'\n",
            "hpf_priors must return an iterable of PluginSpec, not str",
        ),
        (
            "from hpf_core.hookspecs import hookimpl\n@hookimpl\ndef hpf_priors():\n    return [{'name': 'm2d'}]\n",
            "hpf_priors gave {'name': 'm2d'} (dict), and not a PluginSpec",
        ),
    ],
)
def test_other_broken_modules(install: Callable[..., None], tmp_path: Path, source: str, reason: str) -> None:
    info = tmp_path / "hpf_tmp-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hpf-tmp\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[hpf]\ntmp = hpf_tmp_module\n")
    (tmp_path / "hpf_tmp_module.py").write_text(source)
    install(tmp_path)
    host = load(re.escape(reason))
    assert host.registered() == []
    assert len(broken(host, "hpf-tmp")) == 1


# ------------------------------------------------------------------------------------------------- plugins made here


class Options(Config):
    scale: float = Field(1.0, description="A scale.")


class TakesUse(Config):
    use: str = Field("", description="A name of the recipe's own.")


class TakesWeight(Config):
    weight: float = Field(1.0, description="A name of the recipe's own.")


class Unfinished(Config):
    thing: NotDefinedAnywhere = Field(description="Of a type that nobody defines.")  # type: ignore[name-defined]


if TYPE_CHECKING:
    NotDefinedAnywhere = int


def spec(**changes: Any) -> PluginSpec:
    whole: dict[str, Any] = {
        "kind": "prior",
        "name": "made-here",
        "config": Options,
        "factory": lambda config, build: None,
        "summary": "Made for a test.",
        "source": "own work",
    }
    return PluginSpec(**(whole | changes))


def plugin(*specs: object, hook: str = "hpf_priors") -> ModuleType:
    module = ModuleType(f"made_{id(specs)}")

    def give() -> tuple[object, ...]:
        return specs

    setattr(module, hook, hookimpl(give))
    return module


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "Made"}, "its name 'Made' (str) must be lowercase letters"),
        ({"name": ""}, "must be lowercase"),
        ({"name": "made--here"}, "must be lowercase"),
        ({"name": "2d"}, "must be lowercase"),
        ({"name": 3}, "its name 3 (int)"),
        ({"name": "off"}, "is reserved in recipes"),
        ({"summary": ""}, "its summary must be one line"),
        ({"source": "a\nb"}, "its source must be one line"),
        ({"factory": None}, "its factory must be callable"),
        ({"config": dict}, "its config must be a subclass of hpf.plugin.Config, not the class dict"),
        ({"config": Options()}, "its config must be a subclass"),
        ({"config": Unfinished}, "its config Unfinished cannot be completed"),
        ({"config": TakesUse}, "its option 'use' has the name of a recipe's own key"),
        ({"config": TakesWeight}, "its option 'weight' has the name of a recipe's own key"),
        ({"aliases": ("other",)}, "its aliases must be a mapping"),
        ({"aliases": {"Other": {}}}, "its alias 'Other' (str) must be lowercase"),
        ({"aliases": {"made_here": {}}}, "its alias 'made_here' is given twice, or is its own name"),
        ({"aliases": {"other": {"scal": 2}}}, "presets 'scal', which is no option of it. Did you mean 'scale'?"),
        ({"aliases": {"other": 3}}, "must preset a mapping"),
        ({"needs": {"real"}}, "its needs must be a frozenset"),
        ({"needs": frozenset({"heatmap"})}, "its needs has 'heatmap', which nothing provides. Did you mean 'heatmaps'"),
        ({"provides": frozenset({"real"})}, "its provides has 'real'"),
        ({"default_weight": float("nan")}, "its default_weight must be a number >= 0"),
        ({"default_weight": True}, "its default_weight must be a number >= 0"),
        ({"interface": (2, 1)}, "newer than this HPF's"),
        (
            {"interface": ((2, 1), (3, 0))},
            "it is built for interface 2.1 to 3.0, newer than this HPF's 2.0: upgrade HPF",
        ),
        (
            {"interface": ((0, 1), (0, 9))},
            "it is built for interface 0.1 to 0.9, which this HPF (2.0) no longer supports",
        ),
        ({"interface": ((1, 0), (0, 9))}, "has the newest before the oldest"),
        ({"interface": ((1, 0), 2)}, "two whole numbers such as (2, 0), or the oldest and the newest"),
        ({"interface": (True, 0)}, "two whole numbers"),
        ({"deprecated": "a\nb"}, "its deprecated must be one line"),
        ({"kind": "renderer"}, "hpf_priors must give plugins of kind 'prior'"),
    ],
)
def test_specifications_that_are_refused(changes: dict[str, Any], reason: str) -> None:
    host = PluginHost()
    good = spec(name="good")
    rows = host.add(plugin(spec(**changes), good))
    assert [row.status for row in rows] == ["ok", "broken"]
    assert reason in rows[1].reason
    assert [offer.spec for offer in host.registered()] == [good]


@pytest.mark.parametrize("interface", [(2, 0), ((0, 3), (2, 0)), ((2, 0), (2, 9)), ((0, 1), (3, 7)), ((1, 0), (2, 0))])
def test_interfaces_that_will_do(interface: Any) -> None:
    host = PluginHost()
    assert [row.status for row in host.add(plugin(spec(interface=interface)))] == ["ok"]


def test_weight_is_only_a_term_s_key() -> None:
    host = PluginHost()
    host.add(plugin(spec(kind="backbone", config=TakesWeight), hook="hpf_backbones"))
    assert names(host) == ["made-here"]


def test_data_terms_and_priors_share_their_names() -> None:
    host = PluginHost()
    host.add(plugin(spec()), package="one")
    host.add(plugin(spec(kind="data_term"), hook="hpf_data_terms"), package="two")
    assert host.registered() == []
    kinds: tuple[Kind | tuple[Kind, ...], ...] = ("prior", "data_term", ("data_term", "prior"))
    for kind in kinds:
        with pytest.raises(PluginError, match=r"'made_here' is offered by one 0 .* and by two 0"):
            host.get(kind, "made_here")


def test_other_kinds_do_not_but_must_be_told_apart() -> None:
    host = PluginHost()
    host.add(plugin(spec()), package="one")
    host.add(plugin(spec(kind="refiner"), hook="hpf_refiners"), package="two")
    assert host.get("prior", "made-here").package == "one"
    assert host.get("refiner", "made-here").package == "two"
    with pytest.raises(PluginError, match="'made-here' is a prior and a refiner: add the kind"):
        host.get(KINDS, "made-here")
    with pytest.raises(PluginError, match="There is no backbone 'made-here': it is a prior"):
        host.get("backbone", "made-here")


def test_an_alias_that_clashes_leaves_its_plugin_usable() -> None:
    host = PluginHost()
    host.add(plugin(spec(aliases={"shared": {}})), package="one")
    host.add(plugin(spec(name="shared")), package="two")
    assert names(host) == ["made-here"]
    assert host.get("prior", "made-here").package == "one"
    with pytest.raises(PluginError, match=r"one 0 .* and by two 0"):
        host.get("prior", "shared")
    assert len(host.problems()) == 1


def test_one_package_that_gives_a_name_twice() -> None:
    host = PluginHost()
    host.add(plugin(spec(), spec()), package="one")
    with pytest.raises(PluginError, match="Its package must give each plugin its own name"):
        host.get("prior", "made-here")


def test_one_object_or_one_name_twice() -> None:
    host = PluginHost()
    module = plugin(spec())
    assert host.add(module, entry_point="first")[0].status == "ok"
    assert "the same object is registered already, as 'local:first'" in host.add(module, entry_point="second")[0].reason
    assert "another plugin that is called" in host.add(plugin(spec(name="b")), entry_point="first")[0].reason
    assert names(host) == ["made-here"]
    assert host.has_plugin("local:first")


def test_an_object_can_be_a_plugin_and_nothing_can_not() -> None:
    class Many:
        @hookimpl
        def hpf_priors(self) -> list[PluginSpec]:
            return [spec()]

    host = PluginHost()
    host.add(Many(), entry_point="object")
    assert names(host) == ["made-here"]
    assert "None" in host.add(None, entry_point="none")[0].reason
    assert "no hook" in host.add(SimpleNamespace(), entry_point="empty")[0].reason


def test_specnames_are_hooks_too() -> None:
    module = ModuleType("specname")
    module.mine = hookimpl(specname="hpf_priors")(lambda: [spec()])  # type: ignore[attr-defined]
    host = PluginHost()
    host.add(module)
    assert names(host) == ["made-here"]


def test_host_without_plugins_says_so() -> None:
    with pytest.raises(PluginError, match=r"There is no hand 'x'\. None are known\."):
        PluginHost().get("hand", "x")


# ------------------------------------------------------------------------------------------------------------ options


def test_options_in_words(install: Callable[..., None]) -> None:
    install("good")
    options = {option.name: option for option in describe_options(load().get("prior", "flat-hand").spec.config)}
    assert {name: option.type for name, option in options.items()} == {
        "margin_mm": "number, >= 0, <= 50",
        "mode": "square or absolute",
        "steps": "whole number or null, > 0",
        "table": "path",
        "scale": "list of 2 numbers",
        "names": "list of texts",
        "noise": "gauss mapping or uniform mapping",
        "noise[gauss].use": "gauss",
        "noise[gauss].sigma_mm": "number, > 0",
        "noise[uniform].use": "uniform",
        "noise[uniform].reach_mm": "number, >= 0",
    }
    assert options["table"].required
    assert options["table"].default is None
    assert not options["steps"].required
    assert options["scale"].default == [0.8, 1.05]
    assert options["noise"].default == {"use": "gauss", "sigma_mm": 5.0}
    assert options["noise[uniform].reach_mm"].meaning == "Its greatest value, mm."


# ------------------------------------------------------------------------------------------------- the bundle, the docs


def test_the_papers_plugins_are_registered() -> None:
    host = PluginHost.load(only=[])
    assert host.problems() == []
    offered = {(offer.spec.kind, offer.spec.name) for offer in host.registered()}
    assert offered >= {
        ("hand", "spheres41"),
        ("renderer", "spheres"),
        ("backbone", "hourglass"),
        ("data_term", "supervised"),
        ("data_term", "m2d"),
        ("data_term", "d2m"),
        ("data_term", "multiview"),
        ("prior", "vae"),
        ("prior", "bone_length"),
        ("prior", "collision"),
        ("dataset", "synthetic"),
        ("dataset", "simulated"),
        ("dataset", "nyu"),
    }
    for offer in host.registered():
        for option in describe_options(offer.spec.config):
            assert option.meaning, f"{offer.spec.name}: option {option.name} has no description"


def test_defaults_are_registered_by_hpfs_own_plugins_alone() -> None:
    host = PluginHost.load(only=[])
    assert host.default("hand").spec.name == host.defaults["hand"] == "spheres41"
    before = dict(host.defaults)

    class Usurper:
        @hookimpl
        def hpf_defaults(self) -> dict[str, str]:
            return {"hand": "mine"}

        @hookimpl
        def hpf_observers(self) -> list[PluginSpec]:
            return []

    (row,) = host.add(Usurper(), package="hpf-guest", version="1")
    assert row.status == "broken"
    assert "hpf_defaults is for HPF's own plugins" in row.reason
    assert host.defaults == before
    with pytest.raises(PluginError, match="No hand is the default"):
        PluginHost().default("hand")


def test_every_kind_has_a_hook() -> None:
    assert tuple(HOOKS.values()) == KINDS


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_is_documented_with_its_signature(hook: str) -> None:
    documented = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    signature = str(inspect.signature(getattr(hookspecs, hook))).replace("'", "")
    assert f"### `{hook}{signature}`\n" in documented


@pytest.mark.parametrize("hook", HOOKS)
def test_example_of_the_hook_is_python_and_right(hook: str) -> None:
    documentation = inspect.cleandoc(getattr(hookspecs, hook).__doc__)
    [function] = ast.parse(inspect.cleandoc(documentation.partition("Example:\n")[2])).body
    assert isinstance(function, ast.FunctionDef)
    assert function.name == hook
    [call] = [
        node for node in ast.walk(function) if isinstance(node, ast.Call) and ast.unparse(node.func) == "PluginSpec"
    ]
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    assert given["kind"] == repr(HOOKS[hook])
    fields = {field.name: field for field in dataclasses.fields(PluginSpec)}
    assert given.keys() <= fields.keys()
    required = {n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING}
    assert required <= given.keys()
