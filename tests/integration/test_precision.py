"""`runtime.precision`: what runs in which precision."""

import pytest
import torch

from hpf_core.engine.train import StageTrainer
from hpf_core.inference.build import build_parts


@pytest.fixture
def trained(load):
    """Makes two steps of the stage `fit`: the trainer and what its last step reports."""

    def made(**options):
        resolved = load()
        parts = build_parts(resolved)
        parts.prepare()
        plan = next(s for s in resolved.stages if s.name == "fit")
        trainer = StageTrainer(parts, plan, 0, "cpu", **options)
        reports = [trainer.step(0, measure_gradients=True), trainer.step(1)]
        return trainer, reports

    return made


def weights_of(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.parts.backbone.parameters()])


def test_bf16_is_the_networks_alone(trained):
    exact, wanted = trained()
    seen = set()

    def note(module, inputs, output):
        seen.add(output.dtype)

    with torch.nn.modules.module.register_module_forward_hook(
        lambda m, i, o: note(m, i, o) if isinstance(m, torch.nn.Conv2d) else None
    ):
        trainer, (_, report) = trained(precision="bf16")
    assert seen == {torch.bfloat16}
    fit = report.value.fits[-1]
    for tensor in (fit.real.points, fit.real.heatmaps, fit.rendered(True).depth, report.value.energy.raw):
        assert tensor.dtype == torch.float32
    assert {p.dtype for p in trainer.parts.backbone.parameters()} == {torch.float32}
    assert not torch.equal(weights_of(trainer), weights_of(exact))
    total, close = report.value.energy.total.item(), wanted[1].value.energy.total.item()
    assert total == pytest.approx(close, rel=0.2)
