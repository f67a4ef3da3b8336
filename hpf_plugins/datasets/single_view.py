"""`icvl`, `msra15`, `hands17`, `bighand`, `hands19`, `stb`, `fpha`, `handnet`: datasets with one depth camera.

They differ in their files, which the layouts of `hpf_core.data.layouts` read, and in the facts of `_SETS`. With one
camera, the term `multiview` has nothing to compare, so that recipes leave it out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from hpf_core.data.captures import Capture
from hpf_core.data.hand_centre import Centring
from hpf_core.data.joints21 import JOINTS21
from hpf_core.data.layouts.base import Layout, Mirrored
from hpf_core.data.layouts.fpha import FphaLayout
from hpf_core.data.layouts.handnet import JOINTS as HANDNET6
from hpf_core.data.layouts.handnet import HandNetLayout
from hpf_core.data.layouts.hands17 import BigHandLayout, Hands17Layout, Hands19Layout
from hpf_core.data.layouts.icvl import JOINTS as ICVL16
from hpf_core.data.layouts.icvl import IcvlLayout
from hpf_core.data.layouts.msra15 import Msra15Layout
from hpf_core.data.layouts.single_view import SingleViewLayout
from hpf_core.data.layouts.stb import StbLayout
from hpf_core.errors import DataError
from hpf_core.interfaces import Build, PluginSpec, PublicData
from hpf_plugins.datasets.cropped import CroppedConfig, dataset_of

_SIDE = "Side of the recorded hands. HPF mirrors images and labels of left hands."
_MADE_UP = "made-up files only"
_ACADEMIC = "academic use only, no redistribution"
_TERMS = "It forbids redistribution: don't publish the images, nor the crops in the cache."


class SingleViewConfig(CroppedConfig):
    """Selects a part of a dataset with one camera and how to crop it."""

    root: str = Field("", description="The dataset's folder; `hpf data list` names the files in it.")
    centre: Centring = Field(
        "annotated",
        description="Where crops are centred: 'annotated', on the joint that the dataset's papers use; 'mass', the "
        "centre of mass of the nearest object; or 'refined', which starts from 'mass' and follows the network's own "
        "estimate. 'mass' and 'refined' need no label.",
    )
    limit: int | None = Field(
        None, ge=1, description="Largest number of frames per split, spread over it, for quick tests; null for all."
    )


class IcvlConfig(SingleViewConfig):
    """ICVL's options."""

    turned_copies: bool = Field(False, description="Use the training images' copies, turned in the image plane, too.")
    hand: Literal["right", "left"] = Field("left", description=_SIDE)


class Msra15Config(SingleViewConfig):
    """MSRA15's options."""

    test_subject: int = Field(0, ge=0, le=8, description="The person in the split `test`; the other eight are `train`.")


class Hands17Config(SingleViewConfig):
    """Options of HANDS17 and HANDS19, whose test labels aren't public."""

    test_share: float = Field(
        0.1, ge=0, le=1, description="Share of the training frames, the last ones, that is the split `test`."
    )


class BigHandConfig(SingleViewConfig):
    """BigHand2.2M's options."""

    test_subject: int = Field(1, ge=1, description="The person in the split `test`; the others are `train`.")


class SidedConfig(SingleViewConfig):
    """Options of a dataset whose hands are left ones: STB."""

    hand: Literal["right", "left"] = Field("left", description=_SIDE)


class HandNetConfig(SingleViewConfig):
    """HandNet's options."""

    hand: Literal["right", "left"] = Field("right", description=_SIDE)


@dataclass(frozen=True)
class _Set:
    """The facts of one dataset.

    Attributes:
        name, title: as recipes and as people call it.
        files: patterns of files that only this dataset has, for `hpf data check`.
        source: the paper.
        config: its options.
        layout: reads its files.
        options: the options that the layout takes.
        annotation, scored: the evaluated joints, in the hand model and in the labels.
        licence, page, size: for `hpf data list`.
    """

    name: str
    files: tuple[str, ...]
    title: str
    source: str
    config: type[SingleViewConfig]
    layout: type[SingleViewLayout]
    licence: str
    page: str
    size: str
    options: tuple[str, ...] = ()
    annotation: str = "mano21"
    scored: tuple[str, ...] = JOINTS21


_SETS = (
    _Set(
        name="icvl",
        files=("Training/labels.txt", "Testing/test_seq_1.txt"),
        title="the ICVL Hand Posture Dataset",
        source="Tang et al., CVPR 2014",
        config=IcvlConfig,
        layout=IcvlLayout,
        options=("turned_copies", "hand"),
        licence="none stated",
        page="search for: ICVL hand posture dataset",
        size="331,006 training frames with their turned copies, 1,596 test frames",
        annotation="icvl16",
        scored=ICVL16,
    ),
    _Set(
        name="msra15",
        files=("P[0-8]/*/joint.txt",),
        title="the MSRA15 Hand Gesture Dataset",
        source="Sun et al., CVPR 2015",
        config=Msra15Config,
        layout=Msra15Layout,
        options=("test_subject",),
        licence="none stated",
        page="search for: cvpr15_MSRAHandGestureDB",
        size="76,375 frames of 9 people",
    ),
    _Set(
        name="hands17",
        files=("training/Training_Annotation.txt",),
        title="HANDS17",
        source="Yuan et al., CVPR 2018",
        config=Hands17Config,
        layout=Hands17Layout,
        options=("test_share",),
        licence=_ACADEMIC,
        page="by the form of the HANDS 2017 challenge",
        size="957,032 training frames",
    ),
    _Set(
        name="bighand",
        files=("full_annotation/Subject_*",),
        title="BigHand2.2M",
        source="Yuan et al., CVPR 2017",
        config=BigHandConfig,
        layout=BigHandLayout,
        options=("test_subject",),
        licence=_ACADEMIC,
        page="by its authors' form: search for BigHand2.2M",
        size="2.2 million frames",
    ),
    _Set(
        name="hands19",
        files=("Task1/training_joint_annotation.txt",),
        title="HANDS19, Task 1",
        source="Armagan et al., ECCV 2020",
        config=Hands17Config,
        layout=Hands19Layout,
        options=("test_share",),
        licence=_ACADEMIC,
        page="https://github.com/anilarmagan/HANDS19-Challenge-Toolbox",
        size="175,951 training frames",
    ),
    _Set(
        name="stb",
        files=("labels/B[1-6]*_SK.mat",),
        title="the Stereo Hand Pose Tracking Benchmark",
        source="Zhang et al., ICIP 2017",
        config=SidedConfig,
        layout=StbLayout,
        options=("hand",),
        licence="MIT",
        page="https://github.com/zhjwustc/icip17_stereo_hand_pose_dataset",
        size="18,000 frames in 12 sequences",
        annotation="palm21",
        scored=("palm", *JOINTS21[1:]),
    ),
    _Set(
        name="fpha",
        files=("Hand_pose_annotation_v1_1/Subject_*",),
        title="the First-Person Hand Action Benchmark",
        source="Garcia-Hernando et al., CVPR 2018",
        config=SingleViewConfig,
        layout=FphaLayout,
        licence=_ACADEMIC,
        page="https://github.com/guiggh/hand_pose_action",
        size="105,459 frames of 6 people",
    ),
    _Set(
        name="handnet",
        files=("Parameters.mat",),
        title="HandNet",
        source="Wetzler et al., BMVC 2015",
        config=HandNetConfig,
        layout=HandNetLayout,
        options=("hand",),
        licence="CC BY 4.0 as republished; its older toolkit says academic use only",
        page="https://github.com/twerdster/HandNet",
        size="202,198 training, 2,773 validation and 10,000 test frames",
        annotation="tips5palm",
        scored=HANDNET6,
    ),
)


def _spec(one: _Set) -> PluginSpec:
    def make(config: SingleViewConfig, build: Build) -> Capture:
        make_layout: Callable[..., SingleViewLayout] = one.layout
        made = make_layout(_folder(one, config.root), **{name: getattr(config, name) for name in one.options})
        layout: Layout = Mirrored(made) if made.rig.hand == "left" else made
        return dataset_of(
            one.name,
            layout,
            (0,),
            made.about(),
            config,
            build,
            config.limit,
            calibration="file",
            annotation=one.annotation,
            scored=one.scored,
        )

    def found(root: Path) -> Layout | None:
        read: Callable[..., SingleViewLayout] = one.layout
        return read(root) if any(any(root.glob(name)) for name in one.files) else None

    return PluginSpec(
        kind="dataset",
        name=one.name,
        config=one.config,
        factory=make,
        summary=f"{one.title}: one depth camera, {len(one.scored)} joints; tested on made-up files only",
        source=one.source,
        public=PublicData(
            views=1,
            licence=one.licence,
            page=one.page,
            size=one.size,
            unpack=one.layout.format.partition(" has ")[2],
            checked=_MADE_UP,
            terms=_TERMS if one.licence == _ACADEMIC else "",
            layout=found,
            recipe="recipes/single_view.yaml",
        ),
    )


def _folder(one: _Set, root: str) -> Path:
    if not root.strip():
        raise DataError(
            f"The dataset '{one.name}' needs the folder of {one.title}: --set data.real.root=FOLDER (or `root:` in the "
            "recipe). `hpf data list` says where to get it."
        )
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}, but the dataset '{one.name}' needs it.")
    return folder


SPECS = tuple(map(_spec, _SETS))
