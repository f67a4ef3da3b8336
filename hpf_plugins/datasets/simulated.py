"""`simulated`: a small simulated multi-view capture of hands outside of the network's training data, cached after first
use."""

from __future__ import annotations

import shutil
from typing import Literal

from pydantic import Field

from hpf_core.data.captures import Capture
from hpf_core.data.layouts.nyu import NyuLayout
from hpf_core.data.prepared.capture_cache import CaptureSource, CropOptions
from hpf_core.data.sidecar import read_sidecar
from hpf_core.files.cache import content_key
from hpf_core.interfaces import Build, PluginSpec
from hpf_core.progress import Progress
from hpf_core.simulation.simulate import CaptureConfig, sidecar_of, simulate
from hpf_plugins.datasets.cropped import CroppedConfig


class SimulatedConfig(CroppedConfig, CaptureConfig):
    """The capture and how to crop it."""

    turned: bool = Field(True, description="Turn each crop so that its z runs along the ray through its centre.")
    calibration: Literal["hand", "annotated"] = Field(
        "annotated",
        description="Poses of the cameras: 'annotated', from the joints; or 'hand', from the hands that the cameras "
        "see, without labels.",
    )


def _make(config: SimulatedConfig, build: Build) -> Capture:
    hand = build.need_hand()
    capture = CaptureConfig(**{name: getattr(config, name) for name in CaptureConfig.model_fields})
    sidecar = sidecar_of(hand, capture)
    root = build.cache / "simulated" / content_key(sidecar.made)[:16]

    views = tuple(range(config.views))

    def make(progress: Progress) -> None:
        if read_sidecar(root) is None:  # an incomplete capture has no sidecar
            shutil.rmtree(root, ignore_errors=True)
        simulate(root, hand, capture, progress)

    return Capture(
        CaptureSource(
            layout=NyuLayout(root, views),
            name="simulated",
            views=views,
            segments=sidecar.segments,
            subject_names=sidecar.subject_names,
            rate_hz=sidecar.rate_hz,
            annotation="nyu14",
            calibration=config.calibration,
            calibrator=build.calibrator,
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
