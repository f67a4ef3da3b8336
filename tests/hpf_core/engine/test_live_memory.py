"""The memory of a computation, counted by its tensors."""

import pytest
import torch

from hpf_core.engine.live_memory import LiveMemory, largest_batch

MB = 1_000_000


def test_the_peak_counts_tensors_that_live_at_once():
    with LiveMemory() as live:
        first = torch.zeros(MB // 4)  # 1 MB
        del first
        second = torch.zeros(MB // 2)  # 2 MB
        third = torch.zeros(MB // 4)
        view = second[10:]
        third.add_(1)
    assert live.peak == 3 * MB
    assert view.numel() + third.numel() > 0


def test_it_counts_what_a_gradient_needs():
    weight = torch.zeros(MB // 4, requires_grad=True)
    with LiveMemory() as live:
        (weight.exp().exp()).sum().backward()
    # Both exponentials are kept for the gradient; a gradient flows back beside them.
    assert 3 * MB <= live.peak <= 4.1 * MB
    with LiveMemory() as quiet, torch.no_grad():
        weight.exp().exp().sum()
    assert quiet.peak <= 2 * MB


@pytest.mark.parametrize(("total", "fixed", "step", "images", "expected"), [(100, 10, 8, 4, 40), (10, 10, 8, 4, 0)])
def test_the_largest_batch_grows_with_the_memory(total, fixed, step, images, expected):
    assert largest_batch(total, fixed, step, images) == expected
