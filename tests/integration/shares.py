"""What each process of `test_distributed.py` does: steps of a tiny stage in float64, alone or among others."""

import dataclasses
import os
import warnings

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from hpf_core import recipe as recipes
from hpf_core.engine.distributed import processes
from hpf_core.engine.train import StageTrainer
from hpf_core.frames import ViewIndex
from hpf_core.inference.build import build_parts
from hpf_core.plugins import PluginHost

STEPS = 20


def doubled(record):
    return record._each(lambda t: t.double() if t.is_floating_point() else t)


def parts_in_float64(resolved):
    """The recipe's parts in float64; every third frame lacks a view, so that weights differ between shares."""
    parts = build_parts(resolved)
    parts.prepare()
    for module in (parts.renderer, parts.backbone, *parts.terms.values()):
        module.double()
    parts.hand.float()  # it makes the samples
    frames, sample = parts.real.frames, parts.synthetic.sample

    def fewer(split, numbers):
        whole = doubled(frames(split, numbers))
        present = whole.present.numpy() & ((np.arange(3) < 2) | (numbers[:, None] % 3 > 0))
        return dataclasses.replace(whole, present=torch.from_numpy(present), views=ViewIndex.of(present))

    parts.real.frames = fewer
    parts.synthetic.sample = lambda count, source: doubled(sample(count, source))
    return parts


def steps(recipe, draw, world):
    """20 steps of the stage `fit` by this process: its last report, the weights, and their last gradients."""
    real, synthetic = draw
    sets = [f"stages.fit.draw={{real: {real}, synthetic: {synthetic}}}", f"stages.fit.steps={STEPS + 1}"]
    resolved = recipes.load(recipe, sets=sets, host=PluginHost.load())
    parts = parts_in_float64(resolved)
    plan = next(s for s in resolved.stages if s.name == "fit")
    trainer = StageTrainer(parts, plan, 0, "cpu", world)
    images = 0
    for last in trainer.steps(0, 4):
        images += world.count(last.images)[0]
    parameters = dict(parts.backbone.named_parameters())
    return {
        "raw": last.value.energy.raw.detach(),
        "total": last.value.energy.total.detach(),
        "lens": last.gradients,
        "peak": last.value.peak,
        "images": torch.tensor(images),
        **{f"weight {name}": p.detach() for name, p in parameters.items()},
        **{f"gradient {name}": p.grad.detach() for name, p in parameters.items()},
    }


def work(rank, recipe, draws, out, ports):
    """A process of 3 and, if it isn't the last one, then of 2; rank 0 keeps what every one of them found."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of frames with few views
    for size, port in ports:
        if rank >= size:
            continue
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        with processes("cpu") as (world, _):
            for draw in draws:
                torch.save(steps(recipe, draw, world), out / f"{draw}-{size}-{rank}.pt")


def ends(rank, folder, times):
    """A process of 2 that forms a group, takes a step and ends the group, over and over."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of parameters that DDP looks for
    for k in range(times):
        _end(rank, folder / str(k))


def _end(rank, meeting):
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    with processes("cpu") as (world, _):
        network = nn.Linear(2000, 50)
        for _ in range(2):
            world.shared(network)(lambda: network(torch.rand(2, 2000)).sum()).backward()
        world.broadcast(("x" * 3000, torch.rand(10)))
    dist.destroy_process_group()
