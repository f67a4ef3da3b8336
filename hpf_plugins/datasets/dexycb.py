"""`dexycb`: one sequence of DexYCB, eight calibrated RealSense cameras and 21 joints (Chao et al., CVPR 2021)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from hpf_core.data.captures import Capture
from hpf_core.data.hand_centre import Centring
from hpf_core.data.joints21 import JOINTS21
from hpf_core.data.layouts.base import Layout, Mirrored
from hpf_core.data.layouts.dexycb import DexycbLayout, is_dexycb
from hpf_core.data.sidecar import Sidecar
from hpf_core.errors import DataError, nearest
from hpf_core.interfaces import Build, PluginSpec, PublicData
from hpf_plugins.datasets.cropped import CroppedConfig, dataset_of


class DexycbConfig(CroppedConfig):
    """Selects a part of a sequence and how to crop it."""

    root: str = Field("", description="Folder of one sequence, two levels below the folder with `calibration`.")
    views: tuple[str, ...] | None = Field(
        None, description="Serial numbers of the used cameras; the first one is evaluated. null for all."
    )
    centre: Centring = Field(
        "refined",
        description="Where crops are centred: 'annotated', on the annotated knuckle (MCP) of the middle finger; "
        "'mass', the centre of mass of the nearest object, fused over the views; or 'refined', which starts from "
        "'mass' and follows the network's own estimate. 'mass' and 'refined' need no label.",
    )
    turned: bool = Field(True, description="Turn each crop so that its z runs along the ray through its centre.")
    test_share: float = Field(
        0.2, ge=0, le=1, description="Share of the sequence, its last frames, that is the split `test`."
    )
    limit: int | None = Field(
        None, ge=1, description="Largest number of frames per split, spread over it, for quick tests; null for all."
    )

    @field_validator("views")
    @classmethod
    def _some(cls, views: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if views is not None and (not views or len(set(views)) < len(views)):
            raise ValueError(f"needs different serial numbers, but is {list(views)}")
        return views


def _make(config: DexycbConfig, build: Build) -> Capture:
    root = Path(config.root).expanduser()
    if not config.root.strip() or not (root / "meta.yml").exists():
        raise DataError(
            f"The dataset 'dexycb' needs one sequence of DexYCB, but {root / 'meta.yml'} is missing: --set "
            "data.real.root=SUBJECT/SEQUENCE (or `root:` in the recipe). `hpf data list` says where to get it."
        )
    layout: Layout = DexycbLayout(root, config.test_share)
    known = layout.rig.names
    for serial in config.views or ():
        if serial not in known:
            raise DataError(f"{root} has no camera '{serial}', which `views` names. {nearest(serial, known)}")
    views = tuple(range(len(known))) if config.views is None else tuple(map(known.index, config.views))
    if layout.rig.hand == "left":
        layout = Mirrored(layout)
    about = Sidecar.of_one_subject(("train", "test"))
    return dataset_of(
        *("dexycb", layout, views, about, config, build, config.limit),
        calibration="file",
        annotation="mano21",
        scored=JOINTS21,
    )


SPEC = PluginSpec(
    kind="dataset",
    name="dexycb",
    config=DexycbConfig,
    factory=_make,
    summary="a sequence of DexYCB: eight calibrated views, 21 joints, an object; tested on made-up files only",
    source="Chao et al., CVPR 2021",
    public=PublicData(
        views=8,
        licence="CC BY-NC 4.0",
        page="https://github.com/NVlabs/dex-ycb-toolkit",
        size="1,000 sequences of 10 people",
        unpack="SUBJECT/SEQUENCE/meta.yml and SERIAL/aligned_depth_to_color_000000.png, ..., beside calibration",
        checked="made-up files only",
        terms="It forbids commercial use.",
        layout=lambda root: DexycbLayout(root) if is_dexycb(root) else None,
    ),
)
