"""`mvhand`: one session of MVHand, four calibrated RealSense D415 cameras and 21 joints (Yu et al., BMVC 2021)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from hpf_core.data.captures import Capture
from hpf_core.data.hand_centre import Centring
from hpf_core.data.joints21 import JOINTS21
from hpf_core.data.layouts.mvhand import SERIALS, MvhandLayout, is_session
from hpf_core.data.sidecar import Sidecar
from hpf_core.errors import DataError
from hpf_core.interfaces import Build, PluginSpec, PublicData
from hpf_plugins.datasets.cropped import CroppedConfig, dataset_of

_HELP = """\
The dataset 'mvhand' needs one session of MVHand, but {problem}.

  What:   the multi-view dataset of Yu, Yang, Chen and Yao (BMVC 2021; licence MIT): search for "ShichengChen
          multiviewDataset". Its sessions are 7-14-1-2, 9-10-1-2, 9-17-1-2 and 9-25-1-2.
  Where:  unpack it anywhere, so that SESSION/depth/00000_0.png, SESSION/calib.pkl and
          SESSION/mlresults/SESSION-joints.npy are there, and set --set data.real.root=SESSION (or `root:`)."""


class MvhandConfig(CroppedConfig):
    """Selects a part of a session and how to crop it."""

    root: str = Field("", description="Folder of one session, with `depth` and `calib.pkl` in it.")
    views: tuple[int, ...] = Field(
        (0, 1, 2, 3),
        description="Cameras used, by their numbers in the images' names, 0 to 3; the first one is evaluated and is "
        "the rig's frame.",
    )
    centre: Centring = Field(
        "refined",
        description="Where crops are centred: 'annotated', on the annotated knuckle (MCP) of the middle finger; "
        "'mass', the centre of mass of the nearest object, fused over the views; or 'refined', which starts from "
        "'mass' and follows the network's own estimate. 'mass' and 'refined' need no label.",
    )
    turned: bool = Field(True, description="Turn each crop so that its z runs along the ray through its centre.")
    test_share: float = Field(
        0.2, ge=0, le=1, description="Share of the session, its last frames, that is the split `test`."
    )
    limit: int | None = Field(
        None, ge=1, description="Largest number of frames per split, spread over it, for quick tests; null for all."
    )

    @field_validator("views")
    @classmethod
    def _known(cls, views: tuple[int, ...]) -> tuple[int, ...]:
        if not views or len(set(views)) < len(views) or not set(views) <= set(range(len(SERIALS))):
            raise ValueError(f"needs different numbers from 0 to 3, but is {list(views)}")
        return views


def _make(config: MvhandConfig, build: Build) -> Capture:
    if not config.root.strip():
        raise DataError(_HELP.format(problem="no folder is given"))
    root = Path(config.root).expanduser()
    if not root.is_dir():
        raise DataError(_HELP.format(problem=f"there is no folder {root}"))
    if not (root / "calib.pkl").exists():
        raise DataError(_HELP.format(problem=f"{root} has no calib.pkl"))
    layout = MvhandLayout(root, config.test_share)
    return dataset_of(
        "mvhand",
        layout,
        config.views,
        Sidecar.of_one_subject(("train", "test")),
        config,
        build,
        config.limit,
        calibration="file",
        annotation="mano21",
        scored=JOINTS21,
    )


SPEC = PluginSpec(
    kind="dataset",
    name="mvhand",
    config=MvhandConfig,
    factory=_make,
    summary="a session of MVHand: four calibrated views, 21 joints; tested on made-up files only",
    source="Yu et al., BMVC 2021",
    public=PublicData(
        views=4,
        licence="MIT",
        page="https://github.com/ShichengChen/multiviewDataset",
        size="4 sessions of 4 people",
        unpack="SESSION/depth/00000_0.png, ..., SESSION/calib.pkl and SESSION/mlresults/SESSION-joints.npy",
        checked="made-up files only",
        layout=lambda root: MvhandLayout(root) if is_session(root) else None,
    ),
)
