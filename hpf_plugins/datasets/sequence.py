"""What datasets of one recorded sequence and several calibrated cameras share: options, views and mirroring."""

from __future__ import annotations

from pydantic import Field, field_validator

from hpf_core.data.captures import Capture
from hpf_core.data.hand_centre import Centring
from hpf_core.data.joints21 import JOINTS21
from hpf_core.data.layouts.base import Layout, Mirrored
from hpf_core.data.sidecar import Sidecar
from hpf_core.errors import DataError, nearest
from hpf_core.interfaces import Build
from hpf_plugins.datasets.cropped import CroppedConfig, dataset_of


class SequenceConfig(CroppedConfig):
    """Selects a part of a sequence and how to crop it."""

    root: str = Field("", description="Folder of one recording, as `hpf data list` describes it.")
    views: tuple[str, ...] | None = Field(
        None, description="Names of the used cameras; the first one is evaluated. null for all."
    )
    centre: Centring = Field(
        "refined",
        description="Where crops are centred: 'annotated', on the annotated knuckle (MCP) of the middle finger; "
        "'mass', the centre of mass of the nearest object, fused over the views; or 'refined', which starts from "
        "'mass' and follows the network's own estimate. 'mass' and 'refined' need no label.",
    )
    turned: bool = Field(True, description="Turn each crop so that its z runs along the ray through its centre.")
    test_share: float = Field(0.2, ge=0, le=1, description="Share of the frames, the last ones, in the split `test`.")
    limit: int | None = Field(
        None, ge=1, description="Largest number of frames per split, spread over it, for quick tests; null for all."
    )

    @field_validator("views")
    @classmethod
    def _some(cls, views: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if views is not None and (not views or len(set(views)) < len(views)):
            raise ValueError(f"needs different names of cameras, but is {list(views)}")
        return views


def sequence(layout: Layout, config: SequenceConfig, build: Build) -> Capture:
    """The dataset of a sequence with 21 joints. Left hands are mirrored.

    Raises:
        DataError: `views` names a camera that the sequence lacks.
    """
    known = layout.rig.names
    for name in config.views or ():
        if name not in known:
            raise DataError(f"{layout.root} has no camera '{name}', which `views` names. {nearest(name, known)}")
    views = tuple(range(len(known))) if config.views is None else tuple(map(known.index, config.views))
    name = layout.name
    if layout.rig.hand == "left":
        layout = Mirrored(layout)
    about = Sidecar.of_one_subject(("train", "test"))
    return dataset_of(
        *(name, layout, views, about, config, build, config.limit),
        calibration="file",
        annotation="mano21",
        scored=JOINTS21,
    )
