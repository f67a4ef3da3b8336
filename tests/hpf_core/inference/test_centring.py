"""Re-centring with a network whose errors are known, so that where it ends is known too."""

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scenes import BallHand
from torch import Tensor, nn

from hpf_core.frames import Estimate, Labels, RealFrames, State, ViewIndex
from hpf_core.inference.centring import Centres, is_asked_for, keep, put_back, refine, weights_key
from hpf_core.interfaces import EvaluationProtocol, RealDataset

START = np.array([0.0, 0.0, 800.0])
FRAMES, VIEWS, PALM = 70, 3, 1


class Rig(RealDataset):
    """Every image holds, in its first pixels, where the palm truly is in its crop's frame, and its view's number."""

    recentres = True

    def __init__(self, truth: np.ndarray, reach_mm: float = 75.0, present: np.ndarray | None = None) -> None:
        self.truth, self.reach_mm = truth, reach_mm
        self.present = np.ones((len(truth), VIEWS), bool) if present is None else present
        rng = np.random.default_rng(0)
        self.turns = np.stack([np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(VIEWS)])
        self.turns *= np.sign(np.linalg.det(self.turns))[:, None, None]
        self.centres = np.tile(START, (len(truth), 1))
        self.protocol = EvaluationProtocol("none", 0, (), "refined")

    def prepare(self, progress: object = None) -> None: ...

    def splits(self) -> Mapping[str, int]:
        return {"train": len(self.truth)}

    def labels(self, split: str) -> Labels:
        raise AssertionError("a label was read")

    def to_camera(self, split: str) -> np.ndarray:
        raise AssertionError("nobody asked for it")

    def frames(self, split: str, indices: np.ndarray) -> RealFrames:
        inside = np.einsum("vji,fj->fvi", self.turns, (self.truth - self.centres)[indices])
        depth = np.zeros((len(indices), VIEWS, 4, 4), np.float32)
        depth[:, :, 0, :3], depth[:, :, 0, 3] = inside, np.arange(VIEWS)
        to_rig = np.tile(np.eye(4), (len(indices), VIEWS, 1, 1))
        to_rig[:, :, :3, :3], to_rig[:, :, :3, 3] = self.turns, self.centres[indices][:, None]
        present = self.present[indices]
        return RealFrames(
            depth=torch.from_numpy(depth),
            state=torch.full(depth.shape, int(State.HIT), dtype=torch.uint8),
            present=torch.from_numpy(present),
            to_rig=torch.from_numpy(to_rig).float(),
            views=ViewIndex.of(present),
            sequence=torch.zeros(len(indices), dtype=torch.int64),
            time=torch.zeros(len(indices), dtype=torch.float64),
            index=torch.from_numpy(indices),
        )

    def recentre(self, split: str, centres: np.ndarray | None) -> np.ndarray:
        wanted = np.full_like(self.truth, np.nan) if centres is None else centres
        moved = np.linalg.norm(np.nan_to_num(wanted, nan=1e9) - START, axis=1) <= self.reach_mm
        self.centres = np.where(moved[:, None], wanted, START)
        return moved


class Reader(nn.Module):
    """Says the palm is `gain` of the way out, plus `bias` in each view, after one learnt number that is 0."""

    def __init__(self, gain: float = 1.0, bias: np.ndarray | None = None) -> None:
        super().__init__()
        self.learnt = nn.Parameter(torch.zeros(1))
        self.gain = gain
        self.bias = torch.as_tensor(np.zeros((VIEWS, 3)) if bias is None else bias).float()
        self.batches: list[int] = []

    def forward(self, depth: Tensor) -> list[Estimate]:
        assert not self.training
        self.batches.append(len(depth))
        palm = depth[:, 0, :3] * self.gain + self.bias[depth[:, 0, 3].long()] + self.learnt
        return [Estimate(torch.full((len(depth), 3, 3), torch.nan).index_copy(1, torch.tensor([PALM]), palm[:, None]))]


def parts_of(data: RealDataset, network: nn.Module) -> SimpleNamespace:
    return SimpleNamespace(real=data, backbone=network, refiners=(), hand=BallHand([10.0] * 3, palm_centre=PALM))


def scattered(seed: int = 1, size: float = 20.0) -> np.ndarray:
    return START + np.random.default_rng(seed).normal(0, size, (FRAMES, 3))


def run(data: Rig, network: nn.Module, **options: object) -> Centres:
    return refine(parts_of(data, network), "train", torch.device("cpu"), **options)


def test_a_true_network_ends_at_the_truth_after_one_round_and_looks_once_more() -> None:
    data, network = Rig(scattered()), Reader()
    found = run(data, network)
    np.testing.assert_allclose(found.places, data.truth, atol=2e-3)
    np.testing.assert_allclose(data.centres, data.truth, atol=2e-3)
    assert sum(network.batches) == 2 * FRAMES * VIEWS


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_network_that_draws_inwards_gets_there_step_by_step(rounds: int) -> None:
    """What is left after n rounds is (1 - gain)^n of where it began."""
    data = Rig(scattered())
    found = run(data, Reader(gain=0.6), rounds=rounds)
    np.testing.assert_allclose(found.places - data.truth, 0.4**rounds * (START - data.truth), atol=5e-3)


def test_a_view_that_is_wrong_by_any_amount_has_no_say() -> None:
    bias = np.zeros((VIEWS, 3))
    bias[1] = [400.0, -700.0, 90.0]
    data = Rig(scattered())
    found = run(data, Reader(bias=bias))
    np.testing.assert_allclose(found.places, data.truth, atol=2e-3)
    bias[1] = np.nan
    np.testing.assert_allclose(run(data, Reader(bias=bias)).places, data.truth, atol=2e-3)


def test_a_bias_that_all_views_share_stays() -> None:
    """Re-centring can't know better than its network: a test of what is promised."""
    data = Rig(scattered())
    bias = np.einsum("vji,j->vi", data.turns, np.array([3.0, -4.0, 12.0]))  # the same way in the rig's frame
    np.testing.assert_allclose(
        run(data, Reader(bias=bias)).places - data.truth, [[3.0, -4.0, 12.0]] * FRAMES, atol=2e-3
    )


def test_views_that_a_frame_lacks_are_not_asked() -> None:
    present = np.ones((FRAMES, VIEWS), bool)
    present[::2, 1:] = False
    bias = np.zeros((VIEWS, 3))
    bias[1:] = 50.0  # would carry the median
    data, network = Rig(scattered(), present=present), Reader(bias=bias)
    found = run(data, network, rounds=1)
    assert sum(network.batches) == present.sum()
    np.testing.assert_allclose(found.places[::2], data.truth[::2], atol=2e-3)
    assert np.abs(found.places[1::2] - data.truth[1::2]).max() > 10


def test_absurd_frames_keep_their_start_and_the_others_move() -> None:
    truth = scattered()
    truth[5] += 400.0
    data = Rig(truth)
    run(data, Reader())
    np.testing.assert_array_equal(data.centres[5], START)
    others = np.arange(FRAMES) != 5
    np.testing.assert_allclose(data.centres[others], truth[others], atol=2e-3)


def test_each_time_it_begins_at_the_start() -> None:
    """What is found depends on the weights alone, not on where an earlier network had the crops."""
    data = Rig(scattered())
    first = run(data, Reader(gain=0.5)).places
    run(data, Reader())
    np.testing.assert_array_equal(run(data, Reader(gain=0.5)).places, first)


def test_a_limit_leaves_the_other_frames_alone() -> None:
    data = Rig(scattered())
    found = run(data, Reader(), limit=40)
    assert np.isfinite(found.places[:40]).all()
    assert np.isnan(found.places[40:]).all()
    np.testing.assert_array_equal(data.centres[40:], np.tile(START, (FRAMES - 40, 1)))


def test_progress_counts_frames() -> None:
    said: list[tuple[int, int, str]] = []
    run(Rig(scattered()), Reader(), progress=lambda done, total, what: said.append((done, total, what)))
    first = [(done, total) for done, total, what in said if what.endswith("round 1")]
    assert first == [(32, FRAMES), (64, FRAMES), (70, FRAMES)]
    assert said[0][2] == "refining centres on train, round 1"


def test_centres_come_back_only_with_their_weights_and_their_split(tmp_path) -> None:
    data, network = Rig(scattered()), Reader(gain=0.5)
    parts = parts_of(data, network)
    found = run(data, network)
    moved, path = data.centres.copy(), tmp_path / "a" / "fit.safetensors"
    keep(path, found, "fit", "train")
    data.recentre("train", None)
    assert put_back(parts, "train", path)
    np.testing.assert_array_equal(data.centres, moved)
    with torch.no_grad():
        network.learnt.add_(1e-7)
    assert weights_key(parts) != found.weights
    assert not put_back(parts, "train", path)
    with torch.no_grad():
        network.learnt.zero_()
    assert put_back(parts, "train", path)
    assert not put_back(parts_of(Rig(scattered()[:9]), network), "train", path)
    keep(path, found, "fit", "test")
    assert not put_back(parts, "train", path)
    path.write_bytes(b"half")
    assert not put_back(parts, "train", path)


def test_datasets_that_know_nothing_of_it_are_left_alone() -> None:
    class Plain(Rig):
        recentres = False

    assert is_asked_for(parts_of(Rig(scattered()), Reader()))
    assert not is_asked_for(parts_of(Plain(scattered()), Reader()))
    assert not is_asked_for(SimpleNamespace(real=None))
