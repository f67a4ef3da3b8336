"""Walks through a run's code with fake tensors on `cuda`, and prints what it saw as JSON: `walk.py LIBRARY RECIPE`.

A fake tensor has a device, a shape and a type, but no values. An operation on tensors of two devices is an error. So is
a value that the host reads. The library (`fake_cuda.cpp`) must be loaded before PyTorch, in a process of its own.
"""

import ctypes
import importlib.util
import json
import sys
from pathlib import Path


def load_fake_device(library):
    """Load PyTorch's C++ core, then the fake device. `import torch` would already ask for the real one."""
    folder = Path(importlib.util.find_spec("torch").origin).parent / "lib"
    for name in [*sorted(path.name for path in folder.glob("libgomp*")), "libc10.so", "libtorch_cpu.so"]:
        ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL)
    ctypes.CDLL(library)


load_fake_device(sys.argv[1])

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch._subclasses import FakeTensorMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from hpf_core import recipe as recipes  # noqa: E402
from hpf_core.engine.train import StageTrainer  # noqa: E402
from hpf_core.inference.build import build_parts  # noqa: E402
from hpf_core.inference.estimate import last_estimate  # noqa: E402
from hpf_core.plugins import PluginHost  # noqa: E402

CUDA = torch.device("cuda:0")


class Order(TorchDispatchMode):
    """Notes the order of operations: `copy` to the device, `wait` for a copy that blocks, `work` on the device."""

    def __init__(self):
        super().__init__()
        self.events = []
        self.work = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        given, made = ([t.device for t in tree_leaves(of) if isinstance(t, Tensor)] for of in ((args, kwargs), out))
        if CUDA in made and torch.device("cpu") in given and CUDA not in given:
            self.events.append("copy" if kwargs.get("non_blocking") else f"wait: {func}")
        elif CUDA in made:
            self.work += 1
            if not self.events or self.events[-1] != "work":
                self.events.append("work")
        elif CUDA in given and made and CUDA not in made:
            self.events.append(f"wait: {func}")
        return out


def replace_tensors(module, function, recurse=True):
    """`Module._apply`, which can't exchange a real parameter for a fake one that something refers to."""
    for child in module.children():
        replace_tensors(child, function)
    for name, one in module._parameters.items():
        if one is not None:
            module._parameters[name] = torch.nn.Parameter(function(one.detach()), one.requires_grad)
    for name, one in module._buffers.items():
        if one is not None:
            module._buffers[name] = function(one)
    return module


torch.nn.Module._apply = replace_tensors


def built(recipe, sets=()):
    resolved = recipes.load(Path(recipe), host=PluginHost.load(), sets=list(sets))
    parts = build_parts(resolved)
    parts.prepare()
    return resolved, parts


def train(recipe, stage, sets=()):
    """Two steps of a stage: the first one copies constants to the device."""
    resolved, parts = built(recipe, sets)
    plan = next(one for one in resolved.stages if one.name == stage)
    # What the first draw on a GPU reads once.
    parts.synthetic.sample(1, torch.Generator())
    parts.synthetic._pairs_per_map = 4096
    pinned = []
    Tensor.pin_memory = lambda self, device=None: pinned.append(1) or self  # fake tensors can't
    steps = []
    with FakeTensorMode(allow_non_fake_inputs=True), Order() as order:
        parts.to(CUDA)
        trainer = StageTrainer(parts, plan, 0, CUDA)
        trainer.energy._inspected.update(trainer.energy.names)  # a stage's first step reads values, later ones don't
        parts.backbone.train()
        for step in range(2):
            order.events.clear()
            report = trainer.step(step)
            steps.append(list(order.events))
        tensors = [report.value.energy.raw, report.norm, *(p.grad for p in parts.backbone.parameters())]
    return {"steps": steps, "work": order.work, "pinned": len(pinned), "devices": devices(tensors)}


def predict(recipe):
    """Evaluation's network on five images."""
    _, parts = built(recipe)
    maps = torch.zeros(5, parts.grid.size, parts.grid.size)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), Order() as order:
        parts.to(CUDA)
        parts.backbone.eval()
        points = last_estimate(parts.backbone, maps.to(CUDA, non_blocking=True)).points
    return {"devices": devices([points]), "shape": list(points.shape), "work": order.work}


def devices(tensors):
    return sorted({str(one.device) for one in tensors})


def seen():
    """What this walk notices: one operation on two devices, and one value that the host reads."""
    found = {}
    with FakeTensorMode():
        there, here = torch.ones(3, device=CUDA), torch.ones(3)
        for name, wrong in {
            "two devices": lambda: there + here,
            "item": lambda: there.sum().item(),
            "truth": lambda: bool(there.sum() > 0),
            "mask": lambda: there[there > 0] * here,
        }.items():
            try:
                wrong()
            except Exception as error:
                found[name] = type(error).__name__
    return found


if __name__ == "__main__":
    file = sys.argv[2]
    other = [
        "terms.multiview.average=least_variance", "terms.d2m.budget=null", "terms.m2d.background=far",
        "terms.m2d.cross_view=false", "renderer=sphere_mesh", "backbone.stacks=2", "transforms=[shrink]",
        "stages.fit.clip_norm=1.0", "stages.fit.ema=0.9",
    ]  # fmt: skip
    answer = {
        "seen": seen(),
        "pretrain": train(file, "pretrain"),
        "fit": train(file, "fit"),
        "fit, other options": train(file, "fit", other),
        "predict": predict(file),
    }
    print(json.dumps(answer))
