"""`hpf plugins`, on real distributions and through the real console script."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.hookspecs import hookimpl

HPF = Path(sys.executable).with_name("hpf")
DISTS = Path(__file__).resolve().parents[1] / "data" / "plugins"

pytestmark = pytest.mark.filterwarnings("always::hpf_core.plugins.PluginWarning")


@pytest.fixture
def hpf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Runs `hpf plugins` in this process, with some distributions on the path."""
    monkeypatch.delenv("HPF_PLUGINS", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    before = set(sys.modules)

    def run(*words: str, dists: tuple[str, ...] = ("good",)) -> Any:
        for dist in dists:
            monkeypatch.syspath_prepend(str(DISTS / dist))
        importlib.invalidate_caches()
        return CliRunner().invoke(app, ["plugins", *words])

    yield run
    for name in set(sys.modules) - before:
        if name.startswith("hpf_") and name.partition(".")[0] not in ("hpf_core", "hpf_plugins", "hpf_cli"):
            del sys.modules[name]


def script(*words: str, dists: tuple[str, ...], **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the console script in a process of its own."""
    environment = {"PYTHONPATH": os.pathsep.join(str(DISTS / dist) for dist in dists), **environment}
    kept = {name: value for name, value in os.environ.items() if name != "HPF_PLUGINS"}
    return subprocess.run([HPF, *words], capture_output=True, text=True, check=False, env=kept | environment)


def test_list_as_json_through_the_script() -> None:
    done = script("plugins", "list", "--json", dists=("good", "import_error", "misspelt"))
    assert done.returncode == 0, done.stderr
    rows = {(row["package"], row["name"]): row for row in json.loads(done.stdout)["plugins"]}
    good = rows["hpf-good", "flat-hand"]
    assert (good["kind"], good["version"], good["status"], good["reason"]) == ("prior", "1.2.0", "ok", "")
    assert (good["summary"], good["aliases"]) == ("Squared depth range beyond a margin.", ["flat_hand_strict"])
    bad = rows["hpf-import-error", "import_error"]
    assert (bad["kind"], bad["status"]) == (None, "broken")
    assert "library_that_nobody_has" in bad["reason"]
    assert "Did you mean 'hpf_refiners'" in rows["hpf-misspelt", "misspelt"]["reason"]
    assert rows["hpf", "hourglass"]["status"] == "ok"
    assert "warning: Broken plugin, not used: hpf-import-error 0.3" in done.stderr
    assert "PluginWarning" not in done.stderr


def test_filter_and_unknown_name_through_the_script() -> None:
    done = script("plugins", "show", "flat-hand", dists=("good", "import_error"), HPF_PLUGINS="import_error")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "error: There is no plugin 'flat-hand'." in done.stderr
    assert "These were not loaded, and may provide it:\n  - hpf-good 1.2.0" in done.stderr
    assert "Traceback" not in done.stderr


def test_list_for_people(hpf: Callable[..., Any]) -> None:
    done = hpf("list", dists=("good", "raising"))
    assert done.exit_code == 0
    line = next(line for line in done.stdout.splitlines() if "flat-hand" in line)
    assert "prior" in line
    assert "hpf-good 1.2.0" in line
    assert "Squared depth range beyond a margin." in line
    assert "broken: calling hpf_priors failed: ZeroDivisionError: no [hand] in sight" in done.stdout


@pytest.mark.parametrize("word", ["refiner", "refiners", "Refiner"])
def test_list_of_one_kind(hpf: Callable[..., Any], word: str) -> None:
    done = hpf("list", "--kind", word, "--json", dists=("good", "import_error", "raising"))
    rows = [row for row in json.loads(done.stdout)["plugins"] if row["package"] != "hpf"]
    # The broken package is there too, for it may have offered one; the broken hook of another kind is not.
    assert [(row["kind"], row["name"]) for row in rows] == [
        ("refiner", "leave-it"),
        ("refiner", "survivor"),
        (None, "import_error"),
    ]


def test_a_kind_of_which_there_is_none(hpf: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpf_plugins.bundle.hpf_observers", hookimpl(lambda: ()))
    done = hpf("list", "--kind", "observer", dists=())
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith("No observer is installed.")
    assert json.loads(hpf("list", "--kind", "observer", "--json", dists=()).stdout) == {"plugins": []}


def test_unknown_kind(hpf: Callable[..., Any]) -> None:
    done = hpf("list", "--kind", "data-trem")
    assert done.exit_code == 2
    assert "There is no kind of plugin 'data-trem'. Did you mean 'data_term'" in done.stderr


def test_strict_fails_after_the_list(hpf: Callable[..., Any]) -> None:
    done = hpf("list", "--strict-plugins", "--json", dists=("good", "import_error"))
    assert done.exit_code == 2
    assert len(json.loads(done.stdout)["plugins"]) > 2
    assert "error: A plugin is broken" in done.stderr


def test_show_for_people(hpf: Callable[..., Any]) -> None:
    done = hpf("show", "flat_hand")
    assert done.exit_code == 0
    for text in (
        "flat-hand: Squared depth range beyond a margin.",
        "hpf-good 1.2.0 (entry point 'good')",
        "own work [test]",
        "0.25 by default",
        "flat_hand_strict = {margin_mm: 0.0}",
    ):
        assert text in done.stdout
    rows = {line.split()[0]: " ".join(line.split()) for line in done.stdout.splitlines() if line.strip()}
    assert rows["margin_mm"] == "margin_mm number, >= 0, <= 50 3.0 Depth range that costs nothing, mm."
    assert rows["mode"] == "mode square or absolute square How the rest is counted [per point]."
    assert rows["table"] == "table path (required) File of allowed depths."
    assert rows["steps"].startswith("steps whole number or null, > 0 null")
    assert rows["noise[uniform].reach_mm"] == "noise[uniform].reach_mm number, >= 0 2.0 Its greatest value, mm."


def test_show_as_json_by_alias(hpf: Callable[..., Any]) -> None:
    document = json.loads(hpf("show", "flat-hand-strict", "--json").stdout)
    assert (document["kind"], document["name"], document["package"]) == ("prior", "flat-hand", "hpf-good")
    assert document["preset"] == {"margin_mm": 0.0}
    assert (document["needs"], document["provides"], document["default_weight"]) == (["real"], [], 0.25)
    assert document["options"][0] == {
        "name": "margin_mm",
        "type": "number, >= 0, <= 50",
        "required": False,
        "default": 3.0,
        "meaning": "Depth range that costs nothing, mm.",
    }


def test_show_without_options(hpf: Callable[..., Any]) -> None:
    done = hpf("show", "leave-it")
    assert "It has no options." in done.stdout
    assert "weight" not in done.stdout


def test_show_unknown_and_broken(hpf: Callable[..., Any]) -> None:
    done = hpf("show", "leave_at")
    assert done.exit_code == 2
    assert "error: There is no plugin 'leave_at'. Did you mean 'leave-it'" in done.stderr
    done = hpf("show", "minor", "--json", dists=("newer",))
    assert done.exit_code == 2
    assert "built for interface 2.99, newer than this HPF's 2.0" in json.loads(done.stdout)["error"]["message"]


def test_what_guests_print_is_not_in_the_document() -> None:
    """Also where one takes standard output away, and where one raises what Ctrl-C does."""
    done = script("plugins", "list", "--json", dists=("noisy", "interrupting"))
    assert done.returncode == 0, done.stderr
    rows = {row["package"]: row for row in json.loads(done.stdout)["plugins"] if row["package"].startswith("hpf-")}
    assert rows["hpf-noisy"]["status"] == "ok"
    assert rows["hpf-interrupting"]["reason"].startswith("importing hpf_interrupting failed: KeyboardInterrupt")
    assert "welcome to hpf-noisy\noffering a refiner\n" in done.stderr
    assert "interrupted" not in done.stderr


def test_standard_output_that_is_closed_is_said() -> None:
    code = "import sys; sys.stdout.close(); from hpf_cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "plugins", "list", "--json"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: standard output is closed" in done.stderr
    assert "Traceback" not in done.stderr
