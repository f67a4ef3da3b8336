"""Clauses for data terms and priors: their declarations, and switching them off."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from hpf_core.frames import Estimate
from hpf_core.geometry.rotations import rotation_matrix
from hpf_core.interfaces import DataTerm, StepData, Term, TermValue
from hpf_core.objective.energy import Energy, WeightedTerm, reduce
from hpf_core.testing import scene
from hpf_core.testing.calls import fit_of, value_of
from hpf_core.testing.clause import clause
from hpf_core.testing.inputs import term_inputs
from hpf_core.testing.outcome import Broken, NotApplicable, need
from hpf_core.testing.subject import Subject
from hpf_core.testing.trees import changed, leaves, same

_FIELDS = frozenset(field.name for field in dataclasses.fields(Estimate)) - {"points"}


class _Witness(DataTerm):
    """Another term of the same loss: it reads the shared results and so detects changes to them."""

    def forward(self, step: StepData) -> TermValue:
        read: list[Tensor] = []
        if step.frames is not None:
            read += [step.points_across(True).square().mean(dim=(1, 2)), step.rendered(True).depth.mean(dim=(1, 2))]
            read += [step.distances(True).distance.mean(dim=1), step.depth_maps.mean(dim=(1, 2))[step.views.target]]
        else:
            samples, estimate, target = step.need_synthetic()
            read += [(estimate.points - target.points).square().mean(dim=(1, 2)), samples.depth.mean(dim=(1, 2))]
        values = torch.stack(read).sum(dim=0)
        return TermValue(values, torch.ones_like(values))


@clause("needs", "it reads nothing from the batch and the network that `needs` does not declare", "data_term")
def needs(subject: Subject) -> None:
    declared = subject.built.needs
    images = declared & {"real", "synthetic"}
    # A stage may draw only real or only synthetic images.
    for drawn in [images] if images else [frozenset({"real"}), frozenset({"synthetic"})]:
        inputs = _restricted(term_inputs(subject.built, drawn), declared)
        words = (
            f"{' and '.join(sorted(drawn))} images and points{''.join(f', {n}' for n in sorted(declared & _FIELDS))}"
        )
        try:
            value_of(subject.fresh(), inputs)
        except Exception as error:
            lines = str(error).splitlines() or [""]
            raise Broken(f"given {words} alone, it fails: {type(error).__name__}: {lines[0]}") from error


@clause("weight 0", "with weight 0, the loss and its gradient are the same as without it", "data_term", "prior")
def weight_zero(subject: Subject) -> None:
    images = frozenset({"real"}) if subject.spec.kind == "prior" else subject.built.needs & {"real", "synthetic"}
    inputs = term_inputs(subject.built, images)

    def loss(*weights: float) -> tuple[Tensor, dict[str, Tensor]]:
        built = subject.fresh()
        terms = [WeightedTerm("before", 1.0, _Witness())]
        if weights:
            terms = [WeightedTerm("itself", weights[0], built.plugin), WeightedTerm("after", 1.0, _Witness())]
        followed, found = _leaves(inputs)
        value = Energy(terms)([fit_of(built, followed)])
        value.total.backward()
        return value.total.detach(), {n: torch.zeros_like(v) if v.grad is None else v.grad for n, v in found.items()}

    (without, gradients), (beside, others) = loss(), loss(0.0)
    need(
        torch.equal(without, beside),
        f"the loss is {float(beside):.9g} with it at weight 0, and {float(without):.9g} without",
    )
    for name, gradient in gradients.items():
        # The order of sums may change, which changes rounding; nothing else may differ.
        differs = same({name: others[name]}, {name: gradient}, 0, 1e-6 * float(gradient.abs().max()))
        need(not differs, f"it changes the gradient of the other terms, even at weight 0: on {differs}")


@clause(
    "invariances",
    "its value does not change under the transformations that it declares as invariances",
    "data_term",
    "prior",
)
def invariances(subject: Subject) -> None:
    term: Term = subject.built.plugin
    known = {"translation", "rotation", "mirror"} if subject.spec.kind == "prior" else {"translation", "rotation"}
    need(isinstance(term.invariances, frozenset), "`invariances` must be a frozenset of words")
    unknown = sorted(term.invariances - known)
    need(not unknown, f"it declares an invariance {unknown}; known: {', '.join(sorted(known))}")
    if not term.invariances:
        raise NotApplicable("it declares none")
    if subject.spec.kind == "data_term" and subject.inputs.frames is None:
        raise NotApplicable("a term on synthetic samples has no rig to move")
    turn = rotation_matrix(torch.tensor([0.6, -0.9, 0.4]))
    motions = {
        "translation": (torch.eye(3), torch.tensor([40.0, -25.0, 60.0])),
        "rotation": (turn, torch.zeros(3)),
        "mirror": (torch.diag(torch.tensor([-1.0, 1.0, 1.0])), torch.zeros(3)),
    }
    with torch.no_grad():
        before = reduce(value_of(subject.built, subject.inputs))
        for name in sorted(term.invariances):
            after = reduce(value_of(subject.built, _moved(subject.inputs, *motions[name])))
            gap = float((after - before).abs())
            allowed = 1e-3 * max(1.0, float(before.abs()))
            need(gap <= allowed, f"it declares to be invariant to {name}, which changes its value by {gap:.3g}")


def _restricted(inputs: scene.Inputs, declared: frozenset[str]) -> scene.Inputs:
    """Estimates with only the declared fields."""
    none: Any = dict.fromkeys(_FIELDS - declared)
    kept = {
        what: None if (found := getattr(inputs, what)) is None else dataclasses.replace(found, **none)
        for what in ("real", "synthetic", "target")
    }
    return dataclasses.replace(inputs, **kept)


def _leaves(inputs: scene.Inputs) -> tuple[scene.Inputs, dict[str, Tensor]]:
    """Copies of the inputs, and by name the parts of the estimates that gradients may reach."""
    copied = changed(inputs, torch.clone)
    found = {
        f"{what}.{name}": value.requires_grad_()
        for what in ("real", "synthetic")
        for name, value in leaves(getattr(copied, what))
    }
    return copied, found


def _moved(inputs: Any, turn: Tensor, shift: Tensor) -> Any:
    """A prior's points, or a data term's rig, moved by a rigid map or a mirror."""
    if isinstance(inputs, dict):
        return {"points": (turn * inputs["points"][..., None, :]).sum(-1) + shift}
    motion = torch.eye(4)
    motion[:3, :3], motion[:3, 3] = turn, shift
    return dataclasses.replace(inputs, frames=dataclasses.replace(inputs.frames, to_rig=motion @ inputs.frames.to_rig))


CLAUSES = (needs, weight_zero, invariances)
