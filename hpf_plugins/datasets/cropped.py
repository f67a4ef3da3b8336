"""What all datasets of captures share: the centre of the crops, the frames for training, and how they are built."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from hpf_core.data.calibration import Method
from hpf_core.data.captures import Capture
from hpf_core.data.hand_centre import Centring
from hpf_core.data.layouts.base import Layout
from hpf_core.data.prepared.capture_cache import SCORED, CaptureSource, CropOptions
from hpf_core.data.prepared.frame_sets import TrainingSet
from hpf_core.data.sidecar import Sidecar
from hpf_core.interfaces import Build, Config


class CroppedConfig(Config):
    """How to crop the images of a capture, and which of its frames to train on."""

    centre: Centring = Field(
        "annotated",
        description="Where crops are centred: 'annotated', the annotated centre of the palm (NYU: PALM_3, as the "
        "authors do); 'mass', the centre of mass of the nearest object, fused over the views; or 'refined', which "
        "starts from 'mass' and follows the network's own estimate. 'mass' and 'refined' need no label.",
    )
    turned: bool = Field(False, description="Turn each crop so that its z runs along the ray through its centre.")
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
        "The frames after both shares are not used.",
    )

    @model_validator(mode="after")
    def _shares_of_one_whole(self) -> CroppedConfig:
        self.training()
        return self

    def training(self) -> TrainingSet:
        """The frames to train on."""
        return TrainingSet(self.train_on, self.multi_view_share, self.single_view_share)


def default_calibration(layout: Layout) -> Method:
    """The rig's file if it has the poses, else the hands: neither reads a label."""
    return "hand" if layout.rig.to_rig is None else "file"


def dataset_of(
    name: str,
    layout: Layout,
    views: tuple[int, ...],
    about: Sidecar,
    config: CroppedConfig,
    build: Build,
    limit: int | None,
    calibration: Method = "annotated",
    annotation: str = "nyu14",
    scored: tuple[str, ...] = SCORED,
) -> Capture:
    """The dataset of a recorded capture.

    Args:
        name: the dataset's name in errors.
        layout: reads the capture.
        views: the used views, counted from 0; the first view is evaluated.
        about: who is seen when.
        config: how to crop.
        build: the grid and the cache.
        limit: largest number of frames of each split, evenly spaced; None for all.
        calibration: source of the cameras' poses.
        annotation: key of `HandModel.annotations` of the evaluated joints.
        scored: names of these joints in the layout's labels, in the order of the annotation.
    """
    source = CaptureSource(
        layout=layout,
        name=name,
        views=views,
        segments=about.segments,
        # Without a subject in the sidecar, frames belong to subject 0.
        subject_names={0: "subject"} | about.subject_names,
        rate_hz=about.rate_hz,
        limit=limit,
        simulated=about.simulated,
        annotation=annotation,
        scored=scored,
        calibration=calibration,
        calibrator=build.calibrator,
    )
    crops = CropOptions(build.grid, config.centre, config.turned)
    return Capture(source, crops, build.cache, training=config.training())
