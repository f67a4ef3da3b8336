"""`contactpose`: one grasp of ContactPose, three calibrated Kinects and 21 joints (Brahmbhatt et al., ECCV 2020)."""

from __future__ import annotations

from pathlib import Path

from hpf_core.data.captures import Capture
from hpf_core.data.layouts.contactpose import ContactPoseLayout, is_contactpose
from hpf_core.errors import DataError
from hpf_core.interfaces import Build, PluginSpec, PublicData
from hpf_plugins.datasets.sequence import SequenceConfig, sequence


def _make(config: SequenceConfig, build: Build) -> Capture:
    root = Path(config.root).expanduser()
    if not config.root.strip() or not (root / "annotations.json").exists():
        raise DataError(
            f"The dataset 'contactpose' needs one grasp, but {root / 'annotations.json'} is missing: --set "
            "data.real.root=full28_use/bowl (or `root:` in the recipe). `hpf data list` says where to get it."
        )
    return sequence(ContactPoseLayout(root, config.test_share), config, build)


SPEC = PluginSpec(
    kind="dataset",
    name="contactpose",
    config=SequenceConfig,
    factory=_make,
    summary="a grasp of ContactPose: three calibrated views, 21 joints, an object; tested on made-up files only",
    source="Brahmbhatt et al., ECCV 2020",
    public=PublicData(
        views=3,
        licence="MIT",
        page="https://github.com/facebookresearch/ContactPose",
        size="2.5 TB; 2,306 grasps of 50 people",
        unpack="fullN_INTENT/OBJECT/annotations.json and images_full/kinect2_middle/depth/frame000.png, ...",
        checked="made-up files only",
        layout=lambda root: ContactPoseLayout(root) if is_contactpose(root) else None,
    ),
)
