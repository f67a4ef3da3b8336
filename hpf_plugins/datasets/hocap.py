"""`hocap`: one sequence of HO-Cap, eight calibrated RealSense cameras and 21 joints (Wang et al., 2024)."""

from __future__ import annotations

from pathlib import Path

from hpf_core.data.captures import Capture
from hpf_core.data.layouts.hocap import HocapLayout, is_hocap
from hpf_core.errors import DataError
from hpf_core.interfaces import Build, PluginSpec, PublicData
from hpf_plugins.datasets.sequence import SequenceConfig, sequence


def _make(config: SequenceConfig, build: Build) -> Capture:
    root = Path(config.root).expanduser()
    if not config.root.strip() or not (root / "meta.yaml").exists():
        raise DataError(
            f"The dataset 'hocap' needs one sequence, but {root / 'meta.yaml'} is missing: --set "
            "data.real.root=subject_1/SEQUENCE (or `root:` in the recipe). `hpf data list` says where to get it."
        )
    return sequence(HocapLayout(root, config.test_share), config, build)


SPEC = PluginSpec(
    kind="dataset",
    name="hocap",
    config=SequenceConfig,
    factory=_make,
    summary="a sequence of HO-Cap: eight calibrated views, 21 joints, an object; tested on made-up files only",
    source="Wang et al., 2024",
    public=PublicData(
        views=8,
        licence="none stated",
        page="https://github.com/IRVLUTD/HO-Cap",
        size="656,000 images of 9 people",
        unpack="subject_N/SEQUENCE/meta.yaml and SERIAL/depth_000000.png, ..., beside calibration",
        checked="made-up files only",
        terms="Its licence isn't known to HPF: ask the authors before you redistribute it.",
        layout=lambda root: HocapLayout(root) if is_hocap(root) else None,
    ),
)
