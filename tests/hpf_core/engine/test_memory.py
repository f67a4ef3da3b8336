"""A step that can't fit is refused before the stage starts, and a failed allocation is a message."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hpf_core.engine import memory
from hpf_core.errors import InputError, RunError
from hpf_core.grid import Grid


class Network(nn.Module):
    """It keeps 8 maps of each image for its gradient, and counts its calls in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 8, 1)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        self.calls += 1
        return self.convolution(maps[:, None]).exp()


def plan(real: int, synthetic: int) -> Any:
    return SimpleNamespace(name="fit", draw_real=real, draw_synthetic=synthetic)


@pytest.fixture
def parts() -> Any:
    return SimpleNamespace(backbone=Network(), grid=Grid(64, 300.0))


CPU = torch.device("cpu")


def test_what_the_network_keeps_is_counted_and_changes_nothing(parts: Any) -> None:
    state = torch.random.get_rng_state()
    kept = memory._kept_of_an_image(parts, CPU)
    assert kept == (8 + 1) * 64 * 64 * 4  # the exponentials and the input
    assert float(parts.backbone.calls) == 0
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_step_that_cannot_fit_is_refused(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "device_memory", lambda device: 2_000_000_000)
    memory.check_memory(plan(10, 10), parts, CPU)
    memory.check_memory(plan(0, 12_000), parts, CPU)
    with pytest.raises(InputError, match=r"stages\.fit: a step needs at least 2\.9 GB .* 20,000 images") as caught:
        memory.check_memory(plan(0, 20_000), parts, CPU)
    assert "draw.real: 0, draw.synthetic: 20000" in str(caught.value)
    assert caught.value.exit_code == 2
    memory.check_memory(plan(0, 20_000), parts, CPU, processes=2)
    memory.check_memory(plan(0, 20_000), parts, CPU, precision="bf16")
    with pytest.raises(InputError, match="1,000,000 images"):
        memory.check_memory(plan(1_000_000, 0), parts, CPU)


def test_a_failed_allocation_is_a_message() -> None:
    with (
        pytest.raises(RunError, match=r"stages\.fit: memory ran out in a step of 3 real frames"),
        memory.allocations(plan(3, 4)),
    ):
        torch.empty(2**60)
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory")):
        with pytest.raises(RunError, match="Draw less"), memory.allocations(plan(3, 4)):
            raise error
    with pytest.raises(RuntimeError, match="another matter"), memory.allocations(plan(3, 4)):
        raise RuntimeError("another matter")
