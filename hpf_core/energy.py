"""Eq. 4 of the paper: the total loss as a weighted sum of terms, and what each one added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hpf_core.fit import Fit
from hpf_core.geometry import at_least_float32
from hpf_core.interfaces import DataTerm, Prior, Term, TermValue


@dataclass(frozen=True)
class WeightedTerm:
    """A term in a stage: its name in the recipe, its weight in the total loss, and itself."""

    name: str
    weight: float
    term: Term


@dataclass(frozen=True)
class EnergyValue:
    """The loss of a batch.

    Attributes:
        total: scalar, the sum of weight x raw over the terms.
        raw: (T,) unweighted value of each term, in the order of `Energy.names`; mean over the stacks. 0 for those that
            don't count.
        values: the last stack's items of each term, for the gradient lens and the worst frames; none of those that
            don't count.
    """

    total: Tensor
    raw: Tensor
    values: tuple[TermValue, ...]


def reduce(value: TermValue) -> Tensor:
    """sum(values * weights) / sum(weights): a scalar; 0 where nothing counts."""
    weight = value.weights.detach().to(value.values.dtype)
    # Where a weight is 0 the value may be anything, also infinite: it must not reach the sum.
    kept = torch.where(weight > 0, value.values, torch.zeros_like(value.values))
    total = weight.sum()
    return (kept * weight).sum() / torch.where(total > 0, total, torch.ones_like(total))


class Energy(nn.Module):
    """The terms of a stage, weighted (Eq. 4, p. 10856)."""

    weight: Tensor

    def __init__(self, terms: Sequence[WeightedTerm]) -> None:
        super().__init__()
        self.names = tuple(t.name for t in terms)
        self.register_buffer("weight", torch.tensor([t.weight for t in terms], dtype=torch.float64), persistent=False)
        self.terms = nn.ModuleList(t.term for t in terms)

    def forward(self, fits: Sequence[Fit], counts: Sequence[bool] | None = None) -> EnergyValue:
        """Value of the batch, whose estimates come as one `Fit` for each stack; stacks count alike.

        Args:
            fits: one for each stack.
            counts: for each term, whether it counts in this step; the others aren't computed. None: all do.
        """
        counts = [True] * len(self.names) if counts is None else counts
        rows = []
        values: tuple[TermValue, ...] = ()
        for fit in fits:
            values = tuple(
                self._value(term, fit) if now else self._nothing(fit)
                for term, now in zip(self.terms, counts, strict=True)
            )
            rows.append(torch.stack([reduce(v) for v in values]))
        raw = torch.stack(rows).mean(0)
        total = (raw * self.weight.to(raw.dtype)).sum()
        return EnergyValue(total, raw, values)

    @staticmethod
    def _nothing(fit: Fit) -> TermValue:
        estimate = fit.real if fit.real is not None else fit.synthetic
        assert estimate is not None, "a step draws something"
        empty = at_least_float32(estimate.points).new_zeros(0)
        return TermValue(empty, empty)

    @staticmethod
    def _value(term: nn.Module, fit: Fit) -> TermValue:
        if isinstance(term, Prior):
            assert fit.real is not None, "priors act on the estimates of real images"
            value = term(fit.real.points)
            assert fit.frames is not None
            return value._replace(frame=fit.frames.views.frame) if value.frame is None else value
        assert isinstance(term, DataTerm)
        return term(fit)

    def gradients(self, value: EnergyValue, fit: Fit) -> Tensor:
        """(T,) RMS over images of the norm of weight x d term / d points: the lens through which weights are chosen.

        NaN where a term doesn't act through the points (the supervised loss on maps).
        """
        found = [e.points for e in (fit.real, fit.synthetic) if e is not None and e.points.requires_grad]
        norms = []
        for weight, item in zip(self.weight, value.values, strict=True):
            scalar = reduce(item)
            grads: Sequence[Tensor | None] = [None]
            if scalar.requires_grad and found:
                grads = torch.autograd.grad(scalar, found, retain_graph=True, allow_unused=True)
            # A mean over N images divides each image's gradient by N: multiply it back.
            squares = [(g * len(g)).flatten(1).square().sum(1) for g in grads if g is not None and len(g)]
            norms.append(
                torch.cat(squares).mean().sqrt() * weight if squares else torch.full_like(scalar.detach(), torch.nan)
            )
        return torch.stack(norms).detach()
