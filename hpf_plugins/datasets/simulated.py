"""`simulated`: a small multi-view capture of hands that the network wasn't trained on, made on first use and cached."""

from __future__ import annotations

import shutil
from typing import Literal

from pydantic import Field, model_validator

from hpf_core.data.captures import Capture
from hpf_core.data.hand_centre import Centring
from hpf_core.data.prepared.capture_cache import CaptureSource, CropOptions
from hpf_core.data.prepared.frame_sets import TrainingSet
from hpf_core.data.sidecar import read_sidecar
from hpf_core.files.cache import content_key
from hpf_core.interfaces import Build, PluginSpec
from hpf_core.progress import Progress
from hpf_core.simulation.simulate import CaptureConfig, sidecar_of, simulate


class SimulatedConfig(CaptureConfig):
    """The capture, and how it is cropped."""

    centre: Centring = Field(
        "annotated",
        description="Where crops are centred: 'annotated', the palm's true centre; 'mass', the "
        "centre of mass of the nearest thing, fused over the views; or 'refined', which starts there and follows the "
        "network's own estimate. The last two need no label.",
    )
    turned: bool = Field(True, description="Turn each crop so that its z runs along the ray through its centre.")
    train_on: tuple[Literal["train", "test"], ...] = Field(
        ("train",),
        min_length=1,
        description="Splits whose frames are trained on, one after the other. Evaluation on `test` stays the same.",
    )
    multi_view_share: float = Field(
        1.0, ge=0, le=1, description="Share of the training frames, the first ones, used with all views."
    )
    single_view_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the training frames, those after the multi_view_share, used with their first view alone. "
        "What is left over isn't used.",
    )

    @model_validator(mode="after")
    def _shares_of_one_whole(self) -> SimulatedConfig:
        self.training()
        return self

    def training(self) -> TrainingSet:
        """Which frames are trained on."""
        return TrainingSet(self.train_on, self.multi_view_share, self.single_view_share)


def _make(config: SimulatedConfig, build: Build) -> Capture:
    hand = build.need_hand()
    capture = CaptureConfig(**{name: getattr(config, name) for name in CaptureConfig.model_fields})
    sidecar = sidecar_of(hand, capture)
    root = build.cache / "simulated" / content_key(sidecar.made)[:16]

    def make(progress: Progress) -> None:
        if read_sidecar(root) is None:  # without its sidecar it isn't whole
            shutil.rmtree(root, ignore_errors=True)
        simulate(root, hand, capture, progress)

    return Capture(
        CaptureSource(
            root=root,
            name="simulated",
            views=tuple(range(config.views)),
            segments=sidecar.segments,
            subject_names=sidecar.subject_names,
            rate_hz=sidecar.rate_hz,
        ),
        CropOptions(build.grid, config.centre, config.turned),
        build.cache,
        make,
        config.training(),
    )


SPEC = PluginSpec(
    kind="dataset",
    name="simulated",
    config=SimulatedConfig,
    factory=_make,
    summary="a simulated multi-view capture in NYU's layout: other hands, a sensor's noise, made on first use",
    source="own work; layout of Tompson et al., ACM TOG 33(5), 2014",
)
