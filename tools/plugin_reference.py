"""Writes the parts of docs/plugins.md that follow from the code: each kind's interface, and the contract's clauses.

    python tools/plugin_reference.py

A part stands between <!-- reference: NAME --> and <!-- end -->; a test compares the page with the code.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

from hpf_core import interfaces
from hpf_core.frames import Estimate
from hpf_core.interfaces import KINDS, Kind
from hpf_core.testing import CLAUSES

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"

CLASSES: dict[Kind, tuple[type, ...]] = {
    "hand": (
        interfaces.HandModel,
        interfaces.BoneRanges,
        interfaces.PointPairs,
        interfaces.Mesh,
        interfaces.PoseSample,
    ),
    "renderer": (interfaces.Renderer, interfaces.Rendered, interfaces.SurfaceDistance),
    "backbone": (interfaces.Backbone, Estimate),
    "data_term": (interfaces.DataTerm, interfaces.StepData, interfaces.Term, interfaces.TermValue),
    "prior": (interfaces.Prior, interfaces.Term, interfaces.TermValue),
    "dataset": (interfaces.RealDataset, interfaces.SyntheticDataset, interfaces.EvaluationProtocol),
    "transform": (interfaces.Transform,),
    "refiner": (interfaces.Refiner,),
    "observer": (interfaces.Observer,),
}
"""The classes that the reference shows for each kind."""


def parts() -> dict[str, str]:
    """Each part of the page by its name."""
    found = {kind: interface(kind) for kind in KINDS}
    found["clauses"] = clauses()
    return found


def interface(kind: Kind) -> str:
    """The classes of a kind with their attributes and methods, as a block of Python."""
    return "```python\n" + "\n\n".join(_class(cls) for cls in CLASSES[kind]) + "\n```"


def clauses() -> str:
    """The contract as a table."""
    rows = ["| clause | asks that | of |", "| --- | --- | --- |"]
    for clause in CLAUSES:
        of = "every kind" if clause.kinds == KINDS else ", ".join(kind.replace("_", " ") for kind in clause.kinds)
        rows.append(f"| {clause.name} | {clause.says} | {of} |")
    return "\n".join(rows)


def replaced(page: str) -> str:
    """The page with its parts regenerated.

    Raises:
        KeyError: the page asks for a part that there isn't.
    """
    made = parts()
    pattern = r"(<!-- reference: (\w+) -->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda match: f"{match[1]}\n{made[match[2]]}\n\n{match[3]}", page, flags=re.DOTALL)


def _class(cls: type) -> str:
    known = {"Module": "nn.Module", "tuple": "NamedTuple"}
    names = (base.__name__ for base in cls.__bases__ if base.__name__ not in ("object", "ABC", "_Moves", "Protocol"))
    bases = ", ".join(known.get(name, name) for name in names)
    lines = [f"class {cls.__name__}({bases}):" if bases else f"class {cls.__name__}:"]
    fields = {f.name: f.default for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}
    fields |= getattr(cls, "_field_defaults", {})
    own = vars(cls) if not hasattr(cls, "_fields") else {}
    for name, annotation in vars(cls).get("__annotations__", {}).items():
        default = fields.get(name, own.get(name, dataclasses.MISSING))
        plain = isinstance(default, str | bool | int | float | frozenset | None)
        value = f" = {default!r}" if plain else ""
        annotation = getattr(annotation, "__forward_arg__", annotation)
        lines.append(f"    {name}: {annotation}{value}".replace("'", '"'))
    for name, function in vars(cls).items():
        if isinstance(function, property) and function.fget is not None:
            lines.append(f"    {name}: {inspect.signature(function.fget).return_annotation}")
        if inspect.isfunction(function) and not name.startswith("_") and function.__module__ == cls.__module__:
            signature = str(inspect.signature(function)).replace("'", "").replace("<function no_progress>", "...")
            signature = re.sub(r"<function (\w+) at 0x\w+>", r"\1", signature)
            abstract = getattr(function, "__isabstractmethod__", False)
            lines.append(f"    def {name}{signature}: ...{'  # must be there' if abstract else ''}")
    return "\n".join(lines if len(lines) > 1 else [*lines, "    ..."])


if __name__ == "__main__":
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
