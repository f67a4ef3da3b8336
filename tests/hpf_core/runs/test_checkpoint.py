"""Weights files: whole or not at all, and errors that say what doesn't fit."""

import pytest
import torch
from torch import nn

from hpf_core.errors import DataError, RunError
from hpf_core.runs import checkpoint as files


def trained(seed=0, steps=3):
    torch.manual_seed(seed)
    model = nn.Linear(4, 2)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        model(torch.ones(1, 4)).sum().backward()
        optimiser.step()
    return model, optimiser


def test_model_and_optimiser_come_back_bit_for_bit(tmp_path):
    model, optimiser = trained()
    path = tmp_path / "deep" / "c.safetensors"
    files.save(path, {**files.model_tensors(model), **files.optimiser_tensors(optimiser)}, {"step": 3})
    other, fresh = trained(seed=1, steps=0)
    read = files.read(path)
    assert read.about == {"step": 3}
    files.load_model(other, read, path)
    files.load_optimiser(fresh, read)
    for m, o in ((model, optimiser), (other, fresh)):
        o.zero_grad()
        m(torch.full((1, 4), 0.3)).square().sum().backward()
        o.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert [p.name for p in path.parent.iterdir()] == ["c.safetensors"]


def test_an_optimiser_of_weights_in_another_memory_format(tmp_path):
    """Fused Adam reads state and weights in the order of their memory, so a wrong format mixes up the weights."""

    def made():
        model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return model, torch.optim.Adam(model.parameters(), lr=0.1, fused=True)

    def step(model, optimiser, seed):
        optimiser.zero_grad()
        image = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        model(image).square().sum().backward()
        optimiser.step()

    (model, optimiser), (other, fresh) = made(), made()
    for seed in range(3):
        step(model, optimiser, seed)
    path = tmp_path / "c.safetensors"
    files.save(path, {**files.model_tensors(model), **files.optimiser_tensors(optimiser)}, {})
    read = files.read(path)
    files.load_model(other, read, path)
    files.load_optimiser(fresh, read)
    step(model, optimiser, 3)
    step(other, fresh, 3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_what_does_not_fit_is_named(tmp_path):
    path = tmp_path / "c.safetensors"
    files.save(path, files.model_tensors(nn.Linear(4, 3)), {})
    with pytest.raises(DataError, match=r"c\.safetensors.*weight is \(3, 4\), the network's is \(2, 4\)"):
        files.load_model(nn.Linear(4, 2), files.read(path), path)
    with pytest.raises(DataError, match="isn't part of this network"):
        files.load_model(nn.Linear(4, 3, bias=False), files.read(path), path)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\x08\x00\x00\x00\x00\x00\x00\x00{bad json"])
def test_damaged_files(tmp_path, content):
    path = tmp_path / "c.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"c\.safetensors"):
        files.read(path)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="no such weights file"):
        files.read(tmp_path / "none.safetensors")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Can't write"):
        files.save(tmp_path / "file" / "c.safetensors", {}, {})
