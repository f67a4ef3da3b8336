"""That a GPU is waited for in the first draw of samples alone: checked on a CPU, by what is asked of PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hpf_core.grid import Grid
from hpf_core.interfaces import Build
from hpf_core.simulation.rasteriser import orthographic
from hpf_plugins.datasets.synthetic import SPEC, Synthetic, SyntheticConfig
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config

# What makes tensors of the host's numbers, reads numbers back to it, or has a shape that depends on them.
_WAITS = {"lift", "lift_fresh", "_local_scalar_dense", "equal", "nonzero", "masked_select", "unique_dim", "_unique2"}
# What PyTorch can't do with integers on CUDA, or checks on the host for errors.
_NOT_THERE = {"mv", "mm", "bmm", "dot", "addmv", "addmm", "baddbmm"}
_CHECKED = {"linalg_cholesky_ex", "cholesky", "linalg_solve_ex", "_linalg_solve_ex", "linalg_inv_ex"}

HAND = Spheres41(Spheres41Config())


class Watch(TorchDispatchMode):
    """Notes what a GPU would have made the host wait for, or couldn't have done."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []
        self.seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.seen += 1
        whole = any(isinstance(a, Tensor) and not a.is_floating_point() for a in args)
        if name in _WAITS | _CHECKED or (name in _NOT_THERE and whole):
            self.noted.append(str(func))
        return func(*args, **(kwargs or {}))


def static(made: Synthetic, monkeypatch: pytest.MonkeyPatch) -> Synthetic:
    """The dataset as it draws on a GPU, where the rasteriser's list has a length that is known beforehand."""
    monkeypatch.setattr(made, "_drawn", lambda mesh: orthographic(mesh, made.grid, most=made._room(mesh)))
    return made


@pytest.mark.parametrize("options", [{}, {"stretch": (0.85, 0.95), "forearm": 0.5}, {"noise": "off"}])
def test_a_second_draw_makes_and_reads_nothing_on_the_host(options, monkeypatch):
    made = SPEC.factory(SyntheticConfig.model_validate(options), Build(Grid(32), 0, Path("unused"), HAND))
    assert isinstance(made, Synthetic)
    drawing = static(made, monkeypatch)
    with Watch() as first:
        drawing.sample(3, torch.Generator().manual_seed(0))
        torch.tensor([1.0])
    assert {"aten.lift_fresh.default", "aten._local_scalar_dense.default"} <= set(first.noted)
    with Watch() as second:
        samples = drawing.sample(4, torch.Generator().manual_seed(1))
    assert second.noted == []
    assert second.seen > 100
    assert bool(samples.depth.isfinite().all())


def test_a_second_draw_makes_no_tensor_of_numbers_and_copies_none(monkeypatch):
    """By PyTorch's functions too: whatever they become, none is called."""
    made = SPEC.factory(SyntheticConfig(), Build(Grid(32), 0, Path("unused"), HAND))
    assert isinstance(made, Synthetic)
    drawing = static(made, monkeypatch)
    drawing.sample(3, torch.Generator().manual_seed(0))

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the host's memory is copied, or waited for")

    for name in ("tensor", "as_tensor", "from_numpy"):
        monkeypatch.setattr(torch, name, refuse)
    for name in ("new_tensor", "cpu", "item", "tolist", "numpy", "__bool__", "__int__", "__float__"):
        monkeypatch.setattr(Tensor, name, refuse)
    depth = drawing.sample(4, torch.Generator().manual_seed(1)).depth
    monkeypatch.undo()
    assert bool(depth.isfinite().all())


def test_what_is_kept_for_a_device_is_the_samplers_own():
    """Hands of other sizes draw by their own ranges, also after another hand has drawn."""
    before = HAND.sample(5, torch.Generator().manual_seed(0))
    small = Spheres41(Spheres41Config(size_range=(0.9, 0.9))).sample(5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(small.shape[:, 0], torch.full((5,), 0.9))
    assert before.shape[:, 0].unique().numel() == 5
    for one, other in zip(before, HAND.sample(5, torch.Generator().manual_seed(0)), strict=True):
        assert torch.equal(one, other)
