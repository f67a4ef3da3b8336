"""Who may know whom, and that every module can be imported by itself, without a warning."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("hpf_core", "hpf_plugins", "hpf_cli")

PUBLIC = {
    "data", "errors", "files", "frames", "geometry", "grid", "hookspecs", "interfaces", "native", "objective",
    "progress", "random_streams", "simulation", "testing",
}  # fmt: skip
"""What plugins may import of the core."""


def modules() -> list[str]:
    """Every module of the three packages."""
    paths = [path.relative_to(ROOT) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]


def test_the_contracts_hold() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert f"Contracts: {len(contracts)} kept, 0 broken." in done.stdout
    # A new kind of plugin can't stand outside of the walls.
    (independent,) = [set(contract["modules"]) for contract in contracts if contract["type"] == "independence"]
    kinds = {f"hpf_plugins.{p.name}" for p in (ROOT / "hpf_plugins").iterdir() if any(p.glob("[!_]*.py"))}
    assert kinds == independent


def test_plugins_see_the_cores_public_pages_alone() -> None:
    found = set()
    for path in (ROOT / "hpf_plugins").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {f"{node.module}.{name.name}" for name in node.names}
            elif isinstance(node, ast.Import):
                found |= {name.name for name in node.names}
    seen = {name.split(".")[1] for name in found if name.startswith("hpf_core.")}
    assert seen <= PUBLIC
    assert {"interfaces", "geometry", "simulation"} <= seen  # the walk does find them


def test_every_module_imports_alone_without_warnings() -> None:
    """In one process, what others need is loaded once, and HPF is forgotten before each module. The core loads neither
    plugins nor the command line."""
    code = f"""
import importlib, sys, warnings
import matplotlib.figure, numpy, PIL.Image, platformdirs, pluggy, pydantic, rich.table, ruamel.yaml, safetensors.torch
import scipy.io, torch, typer
warnings.simplefilter("error")
for name in {modules()!r}:
    for known in [known for known in sys.modules if known.split(".")[0] in {PACKAGES!r}]:
        del sys.modules[known]
    try:
        importlib.import_module(name)
    except BaseException as error:
        raise SystemExit(f"{{name}}: {{type(error).__name__}}: {{error}}")
    seen = {{known.split(".")[0] for known in sys.modules}}
    allowed = {{name.split(".")[0], "hpf_core"}}
    if seen & set({PACKAGES!r}) - allowed:
        raise SystemExit(f"{{name}} imports {{seen & set({PACKAGES!r}) - allowed}}")
"""
    assert len(modules()) > 90
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_core_names_no_plugin() -> None:
    """No text in the core is the name of a bundled plugin. HPF's own plugins register the defaults."""
    from hpf_core.plugins import PluginHost

    host = PluginHost.load(only=[])
    names = {name.replace("-", "_") for offer in host.registered() for name in (offer.spec.name, *offer.spec.aliases)}
    # Words with a meaning of their own: kinds of images, a field of summary.json, layouts of files on disk.
    names -= {"synthetic", "simulated", "nyu", "capture", "mvhand", "dexycb", "contactpose", "hocap"}
    names -= {"icvl", "msra15", "hands17", "bighand", "hands19", "stb", "fpha", "handnet"}
    assert {"hourglass", "spheres41", "spheres", "vae", "multiview_mean"} <= names
    found = []
    for path in (ROOT / "hpf_core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value.replace("-", "_")
                if text in names or text == "nyu14":
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.value}")
    assert not found


def test_one_place_takes_the_networks_last_estimate() -> None:
    """Only `inference/estimate.py` calls a network for its points. A training step calls it for all of its stacks."""
    calls, last = set(), set()
    for path in (*(ROOT / "hpf_core").rglob("*.py"), *(ROOT / "hpf_cli").rglob("*.py"), *(ROOT / "tools").glob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                calls |= {name} if called == "backbone" else set()
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Call) and ast.unparse(node.slice) == "-1":
                called = getattr(node.value.func, "attr", getattr(node.value.func, "id", ""))
                last |= {name} if called in ("backbone", "network", "network_alone") else set()
    assert calls == {"hpf_core/engine/step.py"}
    assert last == {"hpf_core/inference/estimate.py"}
