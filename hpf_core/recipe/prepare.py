"""Completes a merged tree where one value follows from another: a plugin's default name, what a control inherits.

Stages that are switched off are taken out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from hpf_core.documents.errors import Problem, problem_at, raise_if
from hpf_core.documents.tree import Node, canonical, find_key, shorten
from hpf_core.errors import nearest
from hpf_core.recipe.files import STAGE_OFF
from hpf_core.recipe.models import DEFAULT_PLUGINS, is_off


class Prepared(NamedTuple):
    """A completed tree.

    Attributes:
        tree: without the stages that are switched off.
        inherited_real: the controls that only inherit how many real frames they draw.
        resting: the terms, in canonical spelling, that stages list which are switched off.
    """

    tree: Node
    inherited_real: frozenset[str]
    resting: frozenset[str]


def prepared(tree: Node) -> Prepared:
    """Complete a merged tree.

    Raises:
        InvalidRecipe: a control of nothing, of itself, of another control, of a stage that comes after it or is
            switched off; a stage that is switched off and that nothing has; no stage is left.
    """
    entries = dict(tree.entries)
    for kind, name in DEFAULT_PLUGINS.items():
        part = entries.get(kind)
        if part is not None and part.is_mapping and "use" not in part.entries:
            entries[kind] = part.with_entries({"use": Node(name, part.at, part.at), **part.entries})
    terms = entries.get("terms")
    if terms is not None:
        if terms.value is None:  # `terms:` with nothing below it
            terms = terms.with_entries({})
        entries["terms"] = (
            terms.with_entries({canonical(name): use for name, use in terms.entries.items()})
            if terms.is_mapping
            else terms
        )
    stages = entries.get("stages")
    inherited_real: set[str] = set()
    resting: set[str] = set()
    if stages is not None and stages.is_mapping:
        on, off = _sorted_out(stages)
        entries["stages"], inherited_real = _inherit(on, tuple(off))
        for stage in off.values():
            listed = stage.get("terms")
            resting |= {
                canonical(item.value) for item in (listed.items if listed else ()) if isinstance(item.value, str)
            }
    return Prepared(tree.with_entries(entries), frozenset(inherited_real), frozenset(resting))


def _sorted_out(stages: Node) -> tuple[Node, dict[str, Node]]:
    """The stages that are on, and those that are switched off."""
    off = {name: stage for name, stage in stages.entries.items() if STAGE_OFF in stage.entries}
    on = {name: stage for name, stage in stages.entries.items() if name not in off}
    problems = [
        problem_at(
            stage,
            ("stages", name),
            f"{shorten(repr(name))} is switched off, and nothing that this recipe extends has such a stage",
            nearest(name, [other for other in (*on, *off) if other != name]),
            key=True,
        )
        for name, stage in on.items()
        if not stage.is_mapping and is_off(stage.value)
    ]
    if off and not on:
        message = f"no stage is left: {', '.join(off)} are switched off"
        problems.append(problem_at(stages, ("stages",), message, key=True))
    raise_if(problems)
    return stages.with_entries(on), off


def _inherit(stages: Node, off: tuple[str, ...]) -> tuple[Node, set[str]]:
    problems: list[Problem] = []
    result: dict[str, Node] = {}
    inherited_real: set[str] = set()
    for name, stage in stages.entries.items():
        asked = stage.entries.get("control_of")
        result[name] = stage
        if asked is None or not isinstance(asked.value, str):
            continue
        partner_name = find_key(stages.entries, asked.value)
        problem = _partner_problem(stages, name, asked.value, partner_name, result, off)
        if problem is not None or partner_name is None:
            message, hint = problem or ("", "")
            problems.append(problem_at(asked, ("stages", name, "control_of"), message, hint))
            continue
        partner = stages.entries[partner_name]
        own_draw, base_draw = stage.entries.get("draw"), partner.entries.get("draw")
        # A control states its own terms: without them it would be a copy of its stage.
        fields = {key: node for key, node in partner.entries.items() if key != "terms"} | stage.entries
        fields["control_of"] = replace(asked, value=partner_name)
        if own_draw is None:
            inherited_real.add(name)
        elif own_draw.is_mapping and base_draw is not None and "synthetic" in base_draw.entries:
            # The same synthetic draw is what makes it a control; of real frames it draws what it says.
            synthetic = {"synthetic": base_draw.entries["synthetic"]}
            fields["draw"] = own_draw.with_entries(synthetic | own_draw.entries)
        result[name] = stage.with_entries(fields)
    raise_if(problems)
    return stages.with_entries(result), inherited_real


def _partner_problem(
    stages: Node, name: str, asked: str, partner_name: str | None, before: dict[str, Node], off: tuple[str, ...]
) -> tuple[str, str] | None:
    """What is wrong with the stage that a control names, and a hint; None if it is right."""
    if partner_name is None and canonical(asked) in map(canonical, off):
        return f"stage {asked} is switched off", f"Switch its control off as well, by `{name}: off`."
    if partner_name is None:
        others = [key for key in stages.entries if key != name]
        return f"there is no stage {shorten(repr(asked))}", nearest(asked, others)
    if partner_name == name:
        return "a stage cannot be a control of itself", ""
    control = stages.entries[partner_name].entries.get("control_of")
    if control is not None and control.value is not None:
        return f"stage {partner_name} is a control itself", "Name the stage that it is a control of."
    if partner_name not in before:
        return f"stage {partner_name} comes after its control {name}", "Write the control below its stage."
    return None
