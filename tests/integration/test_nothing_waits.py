"""A step on a GPU never makes the host wait: seen without one, by what is asked of PyTorch.

What draws samples has a test of its own; here they are drawn before. Frames come from the host, by copies that don't
wait.
"""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import hpf_core.engine.train as training
from hpf_core.engine.train import StageTrainer
from hpf_core.inference.build import build_parts
from hpf_core.native import compiler

META = torch.device("meta")

# Reads of a value, shapes that depend on values, errors that are looked up, and tensors made of the host's numbers.
_WAITS = {
    "_local_scalar_dense", "equal", "nonzero", "masked_select", "_unique2", "unique_dim", "lift", "lift_fresh",
    "linalg_cholesky_ex", "linalg_inv_ex", "linalg_lu_factor_ex", "_linalg_solve_ex", "_linalg_svd", "_linalg_eigh",
}  # fmt: skip

TERMS = [
    ["stages.fit.clip_norm=1.0", "transforms=[shrink]"],
    [
        "terms.multiview.average=least_variance", "terms.d2m.budget=null", "terms.m2d.background=far",
        "terms.m2d.cross_view=false", "renderer=sphere_mesh", "backbone.stacks=2",
    ],
]  # fmt: skip


class Watch(TorchDispatchMode):
    """Notes operations for which a GPU would make the host wait, and copies to `meta` that do."""

    def __init__(self):
        super().__init__()
        self.noted, self.seen = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out, name = func(*args, **kwargs), func.overloadpacket.__name__
        self.seen += 1
        tensors, found = ([t for t in tree_leaves(of) if isinstance(t, Tensor)] for of in ((args, kwargs), out))
        crosses = any(t.device == META for t in found) and any(t.device != META and t.ndim for t in tensors)
        waits = name in ("_to_copy", "copy_") and not kwargs.get("non_blocking", True in args[2:])
        masks = name.startswith("index") and any(
            isinstance(t, Tensor) and t.dtype == torch.bool for t in tree_leaves(args[1:2])
        )
        if name in _WAITS or masks or (crosses and waits):
            self.noted.append(str(func))
        return out


class OnMeta(torch.Generator):
    """A generator that says that it is where none can be."""

    device = META


@pytest.fixture
def trainer(load, monkeypatch):
    """A trainer of the stage `fit`, without kernels in C, as on a GPU."""
    monkeypatch.setattr(compiler, "load", lambda *_, **__: None)

    def made(device, sets):
        resolved = load(sets=sets)
        parts = build_parts(resolved)
        parts.prepare()
        plan = next(s for s in resolved.stages if s.name == "fit")
        samples = parts.synthetic.sample(plan.draw_synthetic, torch.Generator().manual_seed(0)).to(device)
        monkeypatch.setattr(parts.synthetic, "sample", lambda *_: samples)
        parts.to(device)
        return StageTrainer(parts, plan, 0, device)

    return made


def test_what_would_wait_is_seen():
    values, there = torch.ones(3), torch.ones(3, device=META)
    with Watch() as quiet:
        (values * 2).to(torch.float64).clamp_min(0)[:2].sum()
        values.to(META, non_blocking=True)
    assert not quiet.noted
    for waits in (
        lambda: values[0].item(),
        lambda: bool(values[0] > 0),
        lambda: values[values > 0],
        lambda: values[[0, 1]],
        lambda: values.new_tensor([1.0]),
        lambda: torch.tensor([1.0]),
        lambda: torch.linalg.inv(torch.eye(2)),
        lambda: values.to(META),
        lambda: there.copy_(values),
    ):
        with Watch() as watch:
            waits()
        assert watch.noted
    for reads in (there.tolist, there.cpu, there.numpy):  # on a CPU these read memory, which nobody sees
        with pytest.raises((NotImplementedError, TypeError)):
            reads()


@pytest.mark.parametrize("sets", TERMS)
def test_a_step_waits_for_nothing(trainer, sets, monkeypatch):
    """Network, terms, gradients, their norm, what is noted of them, and the optimiser."""
    made = trainer("cpu", sets)
    made.step(0)  # what is made once
    batch = made.batch(1)
    monkeypatch.setattr(made, "batch", lambda step: batch)
    with Watch() as watch:
        made.step(1)
    assert watch.noted == []
    assert watch.seen > 500


def test_a_step_takes_its_frames_along_and_copies_nothing_else(trainer, monkeypatch):
    """Also what a CPU can't tell from its own: a step on `meta`, where reading any value is an error."""
    made = trainer(META, TERMS[0])
    monkeypatch.setattr(training, "generator", lambda *_: OnMeta())
    # Adam's counts would stay on the host.
    monkeypatch.setattr(made, "optimiser", torch.optim.SGD(made.parts.backbone.parameters()))
    made.step(0)
    with Watch() as watch:
        report = made.step(1)
    assert [name for name in watch.noted if "lift" not in name] == []  # frames begin as arrays
    assert report.value.energy.raw.device == META
    assert all(p.grad is not None for p in made.parts.backbone.parameters())
