"""`simulated`: a small multi-view capture of hands that the network wasn't trained on, made on first use and cached."""

from __future__ import annotations

import shutil

import torch
from pydantic import Field

from hpf_core.cache import bytes_key, content_key
from hpf_core.interfaces import Build, HandModel, PluginSpec, Progress
from hpf_core.synthesis.captures import Capture, CaptureSource, CropOptions
from hpf_core.synthesis.centres import Centring
from hpf_core.synthesis.sidecar import SIDECAR
from hpf_core.synthesis.simulate import RATE_HZ, SUBJECT_NAMES, CaptureConfig, segments_of, simulate

_VERSION = 1  # of what `simulate` makes; raise it when the same options give another capture


class SimulatedConfig(CaptureConfig):
    """The capture, and how it is cropped."""

    centre: Centring = Field(
        "annotated",
        description="Where crops are centred: 'annotated', the palm's true centre; 'mass', the "
        "centre of mass of the nearest thing, fused over the views; or 'refined', which starts there and follows the "
        "network's own estimate. The last two need no label.",
    )
    turned: bool = Field(True, description="Turn each crop so that its z runs along the ray through its centre.")
    single_view_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the training frames, spread evenly, with only the first view used.",
    )


def _make(config: SimulatedConfig, build: Build) -> Capture:
    hand = build.need_hand()
    capture = CaptureConfig(**{name: getattr(config, name) for name in CaptureConfig.model_fields})
    key = content_key({"version": _VERSION, "capture": capture.model_dump(mode="json"), "hand": _fingerprint(hand)})
    root = build.cache / "simulated" / key[:16]

    def make(progress: Progress) -> None:
        if not (root / SIDECAR).is_file():
            shutil.rmtree(root, ignore_errors=True)  # without its sidecar it isn't whole
            simulate(root, hand, capture, progress)

    return Capture(
        CaptureSource(
            root=root,
            name="simulated",
            views=tuple(range(config.views)),
            segments=segments_of(capture),
            subject_names=SUBJECT_NAMES,
            rate_hz=RATE_HZ,
        ),
        CropOptions(build.grid, config.centre, config.turned, config.single_view_share),
        build.cache,
        make,
    )


def _fingerprint(hand: HandModel) -> str:
    """What tells one hand model from another: a few sampled hands' surfaces, to a hundredth of a millimetre."""
    sample = hand.sample(8, torch.Generator().manual_seed(0))
    surface = hand.surface(sample.pose, sample.shape)
    numbers = torch.cat([surface.centres, surface.radii[..., None]], dim=-1).mul(100).round().to(torch.int32)
    return bytes_key(numbers.numpy().tobytes())


SPEC = PluginSpec(
    kind="dataset",
    name="simulated",
    config=SimulatedConfig,
    factory=_make,
    summary="a simulated multi-view capture in NYU's layout: other hands, a sensor's noise, made on first use",
    source="own work; layout of Tompson et al., ACM TOG 33(5), 2014",
)
