"""`hpf plugins new`: writes a small package with one working plugin as a template."""

from __future__ import annotations

import keyword
import re
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path
from string import Template

import hpf_core
from hpf_core.errors import InputError
from hpf_core.interfaces import INTERFACE_VERSION, Kind
from hpf_core.plugins.checks import NAME, RESERVED_NAMES
from hpf_core.plugins.host import PluginHost
from hpf_core.plugins.records import kind_words

_SUMMARIES: dict[Kind, str] = {
    "hand": "Six balls: a palm, fingers that bend as one, a thumb.",
    "renderer": "A ball around each point, every one against every pixel.",
    "backbone": "Three convolutions, and points by regression.",
    "data_term": "The middle of the points against the middle of the surface.",
    "prior": "Squared distance of points beyond the crop's cube.",
    "dataset": "A made-up hand that turns before two cameras.",
    "transform": "Images pushed away or near by a random depth.",
    "refiner": "Points outside of the crop's cube moved to its side.",
    "observer": "A diary of the run in its folder.",
}
_USES: dict[Kind, str] = {
    "hand": "hand: {name}",
    "renderer": "renderer: {name}",
    "backbone": "backbone: {name}",
    "data_term": "terms: {{{name}: {{weight: 0.01}}}}  # and {name} among the terms of a stage, or: --with {name}",
    "prior": "terms: {{{name}: {{weight: 0.01}}}}  # and {name} among the terms of a stage, or: --with {name}",
    "dataset": "data: {{real: {{use: {name}}}}}",
    "transform": "transforms: [{name}]",
    "refiner": "evaluate: {{refiners: [{name}]}}",
    "observer": "observers: [{name}]",
}
_TERMS: tuple[Kind, ...] = ("data_term", "prior")
"""Kinds that stages list. Their package includes a recipe that compares runs with and without the plugin."""
_WORTH = """
Compare training with and without it, in a small experiment on simulated data:

```sh
hpf ablate recipe.yaml --rows full,without:{name} --seeds 2
```
"""
_LONGEST = 40
_OUR_MODULES = frozenset({"hpf_core", "hpf_cli", "hpf_plugins"})


def new_package(kind: Kind, name: str, out: Path, host: PluginHost | None = None) -> tuple[Path, ...]:
    """Write an installable package with one working plugin, its test and a README; for a term, also a recipe.

    Args:
        kind: kind of the plugin.
        name: name in recipes; `-` becomes `_`.
        out: parent folder of the package's folder. The package's folder is hpf-NAME, or hpf-NAME-KIND if hpf_NAME is a
            module of HPF.
        host: the host whose names are taken; None checks no name.

    Returns:
        The files, in reading order.

    Raises:
        InputError: the name is invalid or taken, the folder exists, or the parent isn't writable.
    """
    name = name.strip()
    _check(name)
    if host is not None:
        _check_free(kind, name, host)
    name = name.replace("-", "_")
    module = f"hpf_{name}_{kind}" if f"hpf_{name}" in _OUR_MODULES else f"hpf_{name}"
    package = module.replace("_", "-")
    folder = out / package
    if folder.exists():
        raise InputError(f"{folder} exists already: choose another name, or another folder with --out")
    templates = files("hpf_core.plugins") / "templates"
    words = {
        "name": name,
        "Name": _class_name(name, kind, (templates / f"{kind}.py.txt").read_text(encoding="utf-8")),
        "module": module,
        "package": package,
        "words": kind_words(kind),
        "summary": _SUMMARIES[kind],
        "use": _USES[kind].format(name=name),
        "worth": _WORTH.format(name=name) if kind in _TERMS else "",
        "interface": repr(tuple(INTERFACE_VERSION)),
        "hpf": hpf_core.__version__,
    }
    made = {
        f"{module}.py": f"{kind}.py.txt",
        f"test_{module}.py": "test.py.txt",
        **({"recipe.yaml": "recipe.yaml.txt"} if kind in _TERMS else {}),
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "README.md.txt",
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        # All files or none.
        with tempfile.TemporaryDirectory(dir=out, prefix=f".{package}-") as temporary:
            inside = Path(temporary) / package
            inside.mkdir()
            for path, template in made.items():
                text = Template((templates / template).read_text(encoding="utf-8")).substitute(words)
                (inside / path).write_text(text, encoding="utf-8")
            shutil.move(inside, folder)
    except OSError as error:
        raise InputError(f"Can't write {folder}: {error.strerror or error}. Give another folder with --out.") from error
    return tuple(folder / path for path in made)


def _check(name: str) -> None:
    if NAME.fullmatch(name) is None:
        better = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_0123456789")
        hint = f" Did you mean {better!r}?" if better and NAME.fullmatch(better) else " Choose one such as 'my_prior'."
        raise InputError(
            f"A plugin can't be called {name!r}: lowercase letters, digits, '-' and '_', beginning with a letter.{hint}"
        )
    if name in RESERVED_NAMES:
        raise InputError(f"A plugin can't be called {name!r}, which is reserved in recipes.")
    if len(name) > _LONGEST:
        raise InputError(f"A plugin's name has at most {_LONGEST} characters, and this one has {len(name)}.")


def _check_free(kind: Kind, name: str, host: PluginHost) -> None:
    """Raise InputError, with the present owner, if an installed plugin has this name in the same namespace."""
    for taken in host.bearers(kind, name):
        what = f"the {kind_words(taken.spec.kind)} {taken.spec.name!r} of {taken.package} {taken.version}"
        also = "" if taken.spec.kind == kind else " (data terms and priors share their names)"
        raise InputError(f"The name {name!r} is taken: {what} has it{also}. Choose another one.")


def _class_name(name: str, kind: Kind, template: str) -> str:
    """joint_limits becomes JointLimits; the kind follows if the module already uses the name."""
    plain = "".join(word.capitalize() for word in name.split("_"))
    taken = {*re.findall(r"\w+", template), *keyword.kwlist}
    return plain + kind.title().replace("_", "") if {plain, f"{plain}Config"} & taken else plain
