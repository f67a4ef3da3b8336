"""Weights files: whole or not at all, and errors that say what doesn't fit."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
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
    files.load_optimiser(fresh, read, path, files.optimised(optimiser))
    for m, o in ((model, optimiser), (other, fresh)):
        o.zero_grad()
        m(torch.full((1, 4), 0.3)).square().sum().backward()
        o.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert [p.name for p in path.parent.iterdir()] == ["c.safetensors"]


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}, None])
def test_pickles_are_named_and_never_loaded(tmp_path, how):
    path = tmp_path / "weights.pth"
    if how is None:
        path.write_bytes(pickle.dumps({"weight": [1.0]}))
    else:
        torch.save(nn.Linear(2, 2).state_dict(), path, **how)
    with pytest.raises(DataError, match=r"weights\.pth: .*this is a pickle, .*safetensors is needed"):
        files.read(path)


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
    files.load_optimiser(fresh, read, path, files.optimised(optimiser))
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


def test_one_changed_byte_is_found(tmp_path):
    """Of the tensors, of the description, of the checksum itself."""
    path = tmp_path / "c.safetensors"
    files.save(path, {"a": torch.arange(9.0), "e": torch.zeros(0), "s": torch.tensor(3)}, {"step": 31})
    whole = path.read_bytes()
    assert files.read(path).has_checksum
    for place in (len(whole) - 1, whole.index(b"31"), whole.index(b"sha256") + 12):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"c\.safetensors"):
            files.read(path)


@pytest.mark.parametrize(
    "about", ["[" * 50_000, '{"step": ' + "1" * 5000 + "}", "7", '{"step": "x"}', '{"seconds": NaN}']
)
def test_a_description_that_is_none(tmp_path, about):
    path = tmp_path / "c.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"hpf": about})
    with pytest.raises(DataError, match=r"c\.safetensors"):
        files.read(path)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "c.safetensors").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        files.read(tmp_path / "c.safetensors")


@pytest.mark.parametrize("kind", [torch.int8, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_weights_of_another_type(tmp_path, kind):
    path, model = tmp_path / "w.safetensors", nn.Linear(4, 2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    files.save(path, {k: v.to(kind) for k, v in files.model_tensors(model).items()}, {})
    name = str(kind).removeprefix("torch.")
    with pytest.raises(DataError, match=rf"w\.safetensors.*weight is {name}, the network's is float32"):
        files.load_model(model, files.read(path), path)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path, value):
    path, model = tmp_path / "w.safetensors", nn.Linear(4, 2)
    tensors = {k: v.clone() for k, v in files.model_tensors(model).items()}
    tensors["model.bias"][1] = value
    files.save(path, tensors, {})
    with pytest.raises(DataError, match=r"w\.safetensors.*aren't finite: bias"):
        files.load_model(model, files.read(path), path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("optimiser.1.exp_avg"), r"optimiser\.1\.exp_avg is missing"),
        (lambda t: t.update({"optimiser.0.exp_avg_sq": torch.zeros(3)}), r"optimiser\.0\.exp_avg_sq is"),
        (lambda t: t.update({"optimiser.0.step": torch.zeros((), dtype=torch.int64)}), r"optimiser\.0\.step is"),
        (lambda t: t.update({"optimiser.1.exp_avg": torch.full((2,), torch.nan)}), "isn't finite"),
        (lambda t: t.update({"optimiser.7.step": torch.zeros(())}), r"optimiser\.7\.step isn't expected"),
        (lambda t: t.update({"optimiser.x": torch.zeros(())}), r"optimiser\.x isn't expected"),
    ],
)
def test_a_state_of_adam_that_does_not_fit(tmp_path, change, message):
    model, optimiser = trained()
    tensors = {**files.model_tensors(model), **files.optimiser_tensors(optimiser)}
    change(tensors)
    path = tmp_path / "c.safetensors"
    files.save(path, tensors, {})
    _, fresh = trained(seed=1, steps=1)
    before = {k: v.clone() for k, v in files.optimiser_tensors(fresh).items()}
    with pytest.raises(DataError, match=message):
        files.load_optimiser(fresh, files.read(path), path, [0, 1])
    after = files.optimiser_tensors(fresh)
    assert all(torch.equal(v, before[k]) for k, v in after.items())
