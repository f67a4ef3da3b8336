"""Runs of other shapes than the usual: nothing real, nothing evaluated, few frames, two stacks, two threads."""

import json

import pytest
import torch

from hpf_core import recipe as recipes
from hpf_core.engine.deterministic import deterministic
from hpf_core.engine.run import Run
from hpf_core.interfaces import Observer

from .conftest import STAGES, TINY, same_tensors


@pytest.mark.usefixtures("_no_figures")
def test_two_stacks(load, tmp_path, whole):
    summary = Run(load(sets=["backbone.stacks=2"]), tmp_path / "run").execute()
    assert len(summary["evaluation"]) == 3
    sizes = [f.stat().st_size for f in (tmp_path / "run" / "weights.safetensors", whole[0] / "weights.safetensors")]
    assert sizes[0] > 1.5 * sizes[1]


def test_nothing_real(tmp_path, host):
    """Synthetic samples alone: no dataset is made, nothing is measured, and the figures are those there can be."""
    text = TINY.split("  fit:")[0] + "terms: {}\nlog: {every: 1, pictures_every: 3}\n"
    path = tmp_path / "synthetic.yaml"
    path.write_text(text.replace("  real: {use: simulated, train: 6, validation: 2, test: 4}\n", ""))
    cache = tmp_path / "cache"
    summary = Run(recipes.load(path, host=host), tmp_path / "run", cache=cache).execute()
    assert summary["evaluation"] == []
    assert [s["name"] for s in summary["stages"]] == ["pretrain"]
    assert not cache.exists()
    pictures = sorted(p.relative_to(tmp_path / "run" / "figures").as_posix() for p in tmp_path.rglob("*.png"))
    assert pictures == ["steps/pretrain-0000003.png", "steps/pretrain-0000006.png", "terms.png", "training.png"]


def test_small_draws_and_one_evaluated_frame(load, tmp_path):
    """The least of everything: a picture of one sample, a picture of one frame, one frame measured."""
    sets = ["stages.pretrain.draw.synthetic=1", "stages.fit.draw.real=1", "stages.fit.draw.synthetic=1"]
    sets += ["stages.pretrain.steps=2", "stages.fit.steps=2", "evaluate.limit=1", "log.pictures_every=2"]
    summary = Run(load(sets=sets), tmp_path / "run").execute()
    assert [e["frames"] for e in summary["evaluation"]] == [1, 1, 1]
    figures = {p.name for p in (tmp_path / "run" / "figures").rglob("*.png")}
    assert {"pretrain-0000002.png", "fit-0000002.png", "fit.png", "worst.png", "before_after.png"} <= figures


@pytest.mark.usefixtures("_no_figures")
def test_how_often_is_logged_changes_nothing(whole, load, tmp_path):
    """Nor does evaluation, nor pictures."""
    sets = ["log={every: 5, pictures_every: 4, checkpoint_every: 7, gradients_every: 3}", "evaluate=null"]
    Run(load(sets=sets), tmp_path / "run").execute()
    for stage in STAGES:
        assert same_tensors(*(f / "stages" / f"{stage}.safetensors" for f in (whole[0], tmp_path / "run"))), stage
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if r["stage"] == "fit"] == [1, 4, 5, 7, 8]


# --------------------------------------------------------------------------------------------------------- determinism


@pytest.fixture
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_two_threads")
def test_the_gradient_of_repeated_rows():
    """What differed from run to run: threads that add to the same rows. Large enough that torch uses them."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 10, (400_000,), generator=generator)
    values = torch.randn(400_000, generator=generator)

    def added():
        return torch.zeros(10).index_put_((rows,), values, accumulate=True)

    with deterministic(torch.device("cpu")):
        first = added()
        assert all(torch.equal(first, added()) for _ in range(5))


@pytest.mark.usefixtures("_two_threads", "_no_figures")
def test_the_same_weights_with_two_threads(load, tmp_path):
    seen = []

    class Looking(Observer):
        def step_done(self, stage, step, metrics):
            seen.append(torch.are_deterministic_algorithms_enabled())

    sets = ["stages.pretrain.draw.synthetic=16", "stages.fit.draw.real=6", "stages.fit.draw.synthetic=12"]
    sets += ["stages.pretrain.steps=2", "stages.fit.steps=2", "evaluate=null"]
    for name in ("one", "two"):
        Run(load(sets=sets), tmp_path / name, observers=[Looking()]).execute()
    assert (tmp_path / "one" / "weights.safetensors").read_bytes() == (
        tmp_path / "two" / "weights.safetensors"
    ).read_bytes()
    assert all(seen)
    assert not torch.are_deterministic_algorithms_enabled(), "what others compute isn't touched"
