"""A small network recomputes the palm's points from all points, as the authors' code does after its network.

The authors' network has 112 inputs, two hidden layers of 256 and 33 outputs (the 11 palm points). They train it on
synthetic poses with 10 mm noise. We don't know the meaning of the 112 inputs; this network reads all coordinates of all
points.
"""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from hpf_core.errors import PluginError, RunError
from hpf_core.files.cache import content_key
from hpf_core.files.trained import keep, take
from hpf_core.geometry.rigid import at_least_float32
from hpf_core.interfaces import INTERFACE_VERSION, Build, Config, HandModel, PluginSpec, Refiner
from hpf_core.progress import Progress, no_progress
from hpf_plugins.refiners.palm_training import PalmNetwork, train

_RECIPE_OF_TRAINING = 1  # raise this when `palm_training.py` changes its result: older caches then become invalid


class PalmDenoiserConfig(Config):
    """The network and its training data."""

    width: int = Field(256, ge=8, le=4096, description="units in each hidden layer")
    noise_mm: float = Field(
        10.0, gt=0, le=100, description="standard deviation of the noise on every coordinate in training, mm"
    )
    cone_deg: float = Field(
        180.0, ge=0, le=180, description="training poses are seen from within this angle of the palm's axis, degrees"
    )
    roll_deg: float = Field(180.0, ge=0, le=180, description="and turned in the image by up to this, degrees")
    steps: int = Field(1500, ge=1, description="training steps")
    batch: int = Field(256, ge=2, le=65536, description="poses in each training step")
    seed: int = Field(0, ge=0, description="seed of the training; not the run's, so that runs share one network")


class PalmDenoiser(Refiner):
    """Recomputes the points of the palm from all points; the fingers' points stay unchanged.

    Attributes:
        noisy_mm, held_out_mm: set by `prepare`; the mean error of noisy held-out palm points, before and after
            denoising.
    """

    def __init__(self, config: PalmDenoiserConfig, hand: HandModel, cache: Path) -> None:
        super().__init__()
        palm = [k for k, part in enumerate(hand.parts) if part == "palm"]
        if not palm:
            parts = ", ".join(dict.fromkeys(hand.parts))
            raise PluginError(f"palm_denoiser needs a hand model with points of the part 'palm'; its parts are {parts}")
        self.config = config
        self.noisy_mm: float | None = None
        self.held_out_mm: float | None = None
        self._hand = (hand,)  # the tuple hides the hand from this module's submodules: it belongs to the run
        self._cache = cache
        generator = torch.Generator().manual_seed(config.seed)
        self.network = PalmNetwork(len(hand.names), torch.tensor(palm), config.width, generator).requires_grad_(False)

    def prepare(self, progress: Progress = no_progress) -> None:
        """Load the trained network from the cache, or train it (10 to 20 s on one CPU core by default) and cache it.

        Raises:
            RunError: the cache isn't writable.
        """
        if self.held_out_mm is not None:
            return
        path = self.cache_file()
        if not take(path, self._take, "palm denoiser"):
            self._train(path, progress)

    def cache_file(self) -> Path:
        """The file of the trained network. Its name has a hash of all inputs of the training."""
        (hand,) = self._hand
        content = {
            "interface": list(INTERFACE_VERSION),
            "training": _RECIPE_OF_TRAINING,
            "torch": str(torch.__version__),
            "hand": hand.fingerprint(),
            "palm": self.network.palm.tolist(),
            "config": self.config.model_dump(mode="json"),
        }
        return self._cache / "palm_denoiser" / f"{content_key(content)}.safetensors"

    def forward(self, points: Tensor) -> Tensor:
        """(N, J, 3) mm in the crop's frame.

        Raises:
            RunError: `prepare` wasn't called.
        """
        if self.held_out_mm is None:
            raise RunError("The palm denoiser isn't trained yet: call its prepare() before the first use.")
        points = at_least_float32(points)
        palm = self.network(points.float()).to(points.dtype)
        return points.index_copy(1, self.network.palm, palm)

    def _train(self, path: Path, progress: Progress) -> None:
        c = self.config
        trained = train(
            self._hand[0],
            self.network.palm,
            width=c.width,
            noise_mm=c.noise_mm,
            cone_deg=c.cone_deg,
            roll_deg=c.roll_deg,
            steps=c.steps,
            batch=c.batch,
            seed=c.seed,
            progress=progress,
        )
        weights = trained.network.state_dict()
        figures = {"noisy_mm": trained.noisy_mm, "held_out_mm": trained.held_out_mm}
        keep(path, weights, figures)
        self._take(weights, figures)

    def _take(self, weights: dict[str, Tensor], figures: dict[str, float]) -> None:
        self.network.load_state_dict(weights)
        self.noisy_mm, self.held_out_mm = figures["noisy_mm"], figures["held_out_mm"]


def _make(config: PalmDenoiserConfig, build: Build) -> PalmDenoiser:
    return PalmDenoiser(config, build.need_hand(), build.cache)


SPEC = PluginSpec(
    kind="refiner",
    name="palm_denoiser",
    config=PalmDenoiserConfig,
    factory=_make,
    summary="a small network rewrites the palm's points from all points",
    source="the public code of Wan et al., CVPR 2019; trained by us",
)
