"""Keeps points near the poses that a VAE learnt from sampled hands (Wan et al., CVPR 2019, Eq. 13, page 5)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from hpf_core.errors import RunError
from hpf_core.files.cache import content_key
from hpf_core.files.trained import keep, take
from hpf_core.interfaces import INTERFACE_VERSION, Build, Config, HandModel, PluginSpec, Prior, TermValue
from hpf_core.progress import Progress, no_progress
from hpf_plugins.priors.vae_network import SCALE_MM, PoseVAE
from hpf_plugins.priors.vae_training import Diet, train

log = logging.getLogger("hpf.priors.vae")

_RECIPE_OF_TRAINING = 1  # raise this when `vae_training.py` changes its result: older caches then become invalid
_GOOD_MM = 5.0


class VAEConfig(Config):
    """The network, its training data, and its measure of misfit."""

    latent: int = Field(32, ge=1, le=512, description="dimensions of the latent code")
    width: int = Field(256, ge=8, le=4096, description="units in each hidden layer")
    sigma_mm: float = Field(
        5.0, gt=0, le=100, description="standard deviation of the likelihood P(x|z) on every coordinate, mm"
    )
    centre: Literal["root", "crop"] = Field(
        "root", description="'root': relative to the palm's centre; 'crop': as placed in the crop, as the authors' code"
    )
    shift_mm: float = Field(
        35.0,
        ge=0,
        le=150,
        description="with centre 'crop': training moves the palm's centre by up to this on each axis, mm",
    )
    cone_deg: float = Field(
        180.0, ge=0, le=180, description="training poses are seen from within this angle of the palm's axis, degrees"
    )
    roll_deg: float = Field(180.0, ge=0, le=180, description="and turned in the image by up to this, degrees")
    steps: int = Field(2000, ge=1, description="training steps")
    batch: int = Field(256, ge=2, le=65536, description="poses in each training step")
    judge: Literal["bound", "mean_square"] = Field(
        "bound",
        description="'bound': the negative evidence lower bound with sigma_mm, nats (Eq. 13); 'mean_square': the mean "
        "over coordinates of the squared distance, in hundreds of mm, in the place of the bound's first part (authors' "
        "code). Training maximises the bound in both cases",
    )
    divergence_weight: float = Field(
        1.0,
        ge=0,
        le=1e6,
        description="factor of the divergence when judging. The authors' code sums it over the batch and averages the "
        "rest: there it is the number of real images in a batch",
    )
    noise_scale: float = Field(
        0.0,
        ge=0,
        le=10,
        description="noise on the code when judging, as a share of the posterior's standard deviation: 0 takes its "
        "mean; above 0, one fixed draw and its opposite are averaged (the authors' code: 0.1, drawn again each time)",
    )
    seed: int = Field(0, ge=0, description="seed of the training; not the run's, so that runs share one prior")


class VAE(Prior):
    """Negative evidence lower bound of each estimate, in nats: |x - decode(z)|^2 / (2 sigma^2) + KL(Q(z|x) || N(0, 1)).

    The squared distance is a sum over all coordinates and omits the Gaussian's normalisation constant.
    """

    unit = "nat"

    def __init__(self, config: VAEConfig, hand: HandModel, cache: Path) -> None:
        super().__init__()
        self.config = config
        self.held_out_mm: float | None = None
        self._hand = (hand,)  # the tuple hides the hand from this module's submodules: it belongs to the run
        self._cache = cache
        generator = torch.Generator().manual_seed(config.seed)
        self.network = PoseVAE(len(hand.names), config.width, config.latent, generator).requires_grad_(False)
        self.noise: Tensor
        draw = torch.randn(config.latent, generator=generator) * config.noise_scale
        self.register_buffer("noise", draw, persistent=False)

    def prepare(self, progress: Progress = no_progress) -> None:
        """Load the trained network from the cache, or train it (about 20 s on one CPU core by default) and cache it.

        Raises:
            RunError: the cache isn't writable.
        """
        if self.held_out_mm is not None:
            return
        path = self.cache_file()
        if not take(path, self._take, "vae prior"):
            self._train(path, progress)
        if self.held_out_mm is not None and self.held_out_mm > _GOOD_MM:
            log.warning(
                "The vae prior reconstructs held-out poses to %.1f mm only (%g mm expected): more `steps`, a greater "
                "`latent` or a smaller `sigma_mm` help.",
                self.held_out_mm,
                _GOOD_MM,
            )

    def cache_file(self) -> Path:
        """The file of the trained network. Its name has a hash of all inputs of the training."""
        (hand,) = self._hand
        unused = {"noise_scale", "judge", "divergence_weight"}
        unused |= {"shift_mm"} if self.config.centre == "root" else set()
        content = {
            "interface": list(INTERFACE_VERSION),
            "training": _RECIPE_OF_TRAINING,
            "torch": str(torch.__version__),
            "hand": hand.fingerprint(),
            "config": self.config.model_dump(mode="json", exclude=unused),
        }
        return self._cache / "vae" / f"{content_key(content)}.safetensors"

    def forward(self, points: Tensor) -> TermValue:
        """(N,) of points (N, J, 3) mm, in the term's unit.

        Raises:
            RunError: `prepare` wasn't called.
        """
        if self.held_out_mm is None:
            raise RunError("The vae prior isn't trained yet: call its prepare() before the first step.")
        (hand,) = self._hand
        if self.config.centre == "root":
            points = points - points[:, hand.palm_centre : hand.palm_centre + 1]
        posterior = self.network.encode(points)
        if self.config.noise_scale > 0:
            offset = self.noise * (0.5 * posterior.log_variance).exp()
            misfit = (self._misfit(points, posterior.mean + offset) + self._misfit(points, posterior.mean - offset)) / 2
        else:
            misfit = self._misfit(points, posterior.mean)
        values = misfit + self.config.divergence_weight * posterior.divergence()  # Eq. 13
        return TermValue(values, torch.ones_like(values))

    def _misfit(self, points: Tensor, code: Tensor) -> Tensor:
        """(N,) nats, -log P(x|z) up to a constant."""
        return (points - self.network.decode(code)).square().sum((-1, -2)) / (2 * self.config.sigma_mm**2)

    def _train(self, path: Path, progress: Progress) -> None:
        c = self.config
        (hand,) = self._hand
        diet = Diet(c.centre, c.shift_mm, c.cone_deg, c.roll_deg)
        trained = train(
            hand,
            diet,
            width=c.width,
            latent=c.latent,
            sigma_mm=c.sigma_mm,
            steps=c.steps,
            batch=c.batch,
            seed=c.seed,
            progress=progress,
        )
        weights, figures = trained.network.state_dict(), {"held_out_mm": trained.held_out_mm}
        keep(path, weights, figures)
        self._take(weights, figures)

    def _take(self, weights: dict[str, Tensor], figures: dict[str, float]) -> None:
        self.network.load_state_dict(weights)
        self.held_out_mm = figures["held_out_mm"]


class MeanSquareVAE(VAE):
    """VAE prior with `judge: mean_square`: dimensionless."""

    unit = "1"

    def _misfit(self, points: Tensor, code: Tensor) -> Tensor:
        """(N,) mean over coordinates of |x - decode(z)|^2 in the network's own unit, squared."""
        return ((points - self.network.decode(code)) / SCALE_MM).square().mean((-1, -2))


def _make(config: VAEConfig, build: Build) -> VAE:
    prior = MeanSquareVAE if config.judge == "mean_square" else VAE
    return prior(config, build.need_hand(), build.cache)


SPEC = PluginSpec(
    kind="prior",
    name="vae",
    config=VAEConfig,
    factory=_make,
    summary="negative ELBO of a VAE trained beforehand on sampled poses",
    source="Wan et al., CVPR 2019, Eq. 13, page 5",
    default_weight=0.01,
)
