"""Eq. 4 of the paper: the total loss as a weighted sum of terms, and the contribution of each term."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hpf_core.geometry.rigid import at_least_float32
from hpf_core.interfaces import DataTerm, Prior, Term, TermValue
from hpf_core.objective.fit import Fit
from hpf_core.objective.inspection import Given, check_form


@dataclass(frozen=True)
class WeightedTerm:
    """A term of a stage: its name in the recipe, its weight in the total loss, and the term itself."""

    name: str
    weight: float
    term: Term


@dataclass(frozen=True)
class EnergyValue:
    """The loss of a batch.

    Attributes:
        total: scalar, the sum of weight x raw over the terms.
        raw: (T,) unweighted value of each term, in the order of `Energy.names`; mean over the stacks. 0 for terms that
            don't count.
        values: the last stack's items of each term, for the gradient measurement and the worst frames; no items for
            terms that don't count.
    """

    total: Tensor
    raw: Tensor
    values: tuple[TermValue, ...]


class Sums(NamedTuple):
    """Sums of the terms over the images of one process.

    Attributes:
        above: (S, T) for each stack and term, sum(values * weights).
        below: (S, T) sum(weights), without gradient.
        values: the last stack's items of each term.
    """

    above: Tensor
    below: Tensor
    values: tuple[TermValue, ...]


def _sums(value: TermValue) -> tuple[Tensor, Tensor]:
    """sum(values * weights) and sum(weights), scalars."""
    weight = value.weights.detach().to(value.values.dtype)
    # Where a weight is 0, the value may be anything, also infinite. The sum must ignore it.
    kept = torch.where(weight > 0, value.values, torch.zeros_like(value.values))
    return (kept * weight).sum(), weight.sum()


def _share(above: Tensor, below: Tensor) -> Tensor:
    """above / below; 0 where nothing counts."""
    return above / torch.where(below > 0, below, torch.ones_like(below))


def reduce(value: TermValue) -> Tensor:
    """sum(values * weights) / sum(weights): a scalar; 0 where nothing counts."""
    return _share(*_sums(value))


class _Whole(torch.autograd.Function):
    """The value over all processes, with the gradient of this process' share."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, whole: Tensor) -> Tensor:
        return whole.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class Energy(nn.Module):
    """The terms of a stage, weighted (Eq. 4, p. 10856).

    Args:
        terms: the terms.
        over_all: sums a tensor over all processes, without gradient; None for one process. With it, values are those
            over the items of all processes. Gradients are this process' share: their sum over the processes is the
            gradient of the value.
    """

    weight: Tensor

    def __init__(self, terms: Sequence[WeightedTerm], over_all: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.names = tuple(t.name for t in terms)
        self.weights = tuple(t.weight for t in terms)
        self._inspected: set[str] = set()
        self.register_buffer("weight", torch.tensor([t.weight for t in terms], dtype=torch.float64), persistent=False)
        self.terms = nn.ModuleList(t.term for t in terms)
        self.over_all = over_all

    def forward(self, fits: Sequence[Fit], counts: Sequence[bool] | None = None) -> EnergyValue:
        """Value of the batch from one `Fit` for each stack; all stacks have equal weight.

        Args:
            fits: one for each stack.
            counts: for each term, whether it counts in this step; other terms aren't computed. None: all count.
        """
        return self.value(self.sums(fits, counts))

    def sums(self, fits: Sequence[Fit], counts: Sequence[bool] | None = None, inspect: bool = False) -> Sums:
        """The sums for `forward` on this process; tensor code that compiles to one graph.

        Args:
            fits, counts: as in `forward`.
            inspect: check the values of a term's results and inputs when the term counts for the first time. The check
                synchronises with a GPU and doesn't compile.

        Raises:
            RunError: a term doesn't return a `TermValue` of items, or `inspect` finds an error.
        """
        counts = [True] * len(self.names) if counts is None else counts
        above, below = [], []
        values: tuple[TermValue, ...] = ()
        for fit in fits:
            values = tuple(
                self._value(number, fit, inspect) if now else self._nothing(fit) for number, now in enumerate(counts)
            )
            over, under = zip(*(_sums(v) for v in values), strict=True)
            above.append(torch.stack(over))
            below.append(torch.stack(under))
        return Sums(torch.stack(above), torch.stack(below), values)

    def value(self, sums: Sums) -> EnergyValue:
        """The loss over all processes, from the sums."""
        above, below = sums.above, sums.below
        if self.over_all is None:
            raw = _share(above, below).mean(0)
        else:
            all_above, all_below = self.over_all(torch.stack([above.detach(), below])).unbind()
            raw = _Whole.apply(_share(above, all_below).mean(0), _share(all_above, all_below).mean(0))
        total = (raw * self.weight.to(raw.dtype)).sum()  # Eq. 4
        return EnergyValue(total, raw, sums.values)

    @staticmethod
    def _nothing(fit: Fit) -> TermValue:
        estimate = fit.real if fit.real is not None else fit.synthetic
        assert estimate is not None, "a step draws something"
        empty = at_least_float32(estimate.points).new_zeros(0)
        return TermValue(empty, empty)

    def _value(self, number: int, fit: Fit, inspect: bool) -> TermValue:
        """Value of one term, with its form checked: the host knows shapes and types without synchronising with a
        GPU."""
        name, term = self.names[number], self.terms[number]
        given = None
        if inspect and name not in self._inspected and self.weight.device.type != "meta":
            self._inspected.add(name)
            given = Given(fit)
        if isinstance(term, Prior):
            assert fit.real is not None, "priors act on the estimates of real images"
            value = term(fit.real.points)
            check_form(name, value, items=fit.real.points.shape[0])
            assert fit.frames is not None
            value = value._replace(frame=fit.frames.views.frame) if value.frame is None else value
        else:
            assert isinstance(term, DataTerm)
            value = term(fit)
            check_form(name, value)
        if given is not None:
            given.check(name, value, moves=self.weights[number] > 0)
        return value

    def gradients(self, value: EnergyValue, fit: Fit) -> Tensor:
        """(T,) RMS over images of the norm of weight x d term / d points; used to choose the weights.

        NaN for a term that doesn't depend on the points (the supervised loss on maps).
        """
        over_all = self.over_all or _same
        kinds = [e.points if e is not None else None for e in (fit.real, fit.synthetic)]
        images = over_all(self.weight.new_tensor([0.0 if p is None else len(p) for p in kinds]))
        found = [(p, n) for p, n in zip(kinds, images, strict=True) if p is not None and p.requires_grad]
        below = over_all(torch.stack([_sums(item)[1] for item in value.values]))
        rows = []
        for item, counted in zip(value.values, below, strict=True):
            scalar = _share(_sums(item)[0], counted)
            grads: Sequence[Tensor | None] = []
            if scalar.requires_grad and found:
                grads = torch.autograd.grad(scalar, [p for p, _ in found], retain_graph=True, allow_unused=True)
            # A mean over N images divides each image's gradient by N; this factor undoes the division.
            squares = [
                (g * n.to(g)).flatten(1).square().sum(1)
                for g, (_, n) in zip(grads, found, strict=False)
                if g is not None and len(g)
            ]
            here = torch.cat(squares) if squares else scalar.detach().new_zeros(0)
            rows.append(torch.stack([here.sum(), torch.full_like(scalar.detach(), len(here))]))
        added, images = over_all(torch.stack(rows)).unbind(1)
        # 0 / 0 gives NaN for a term that doesn't depend on the points.
        return ((added / images).sqrt() * self.weight).detach()


def _same(values: Tensor) -> Tensor:
    return values
