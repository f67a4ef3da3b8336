"""`dexycb`: one sequence of DexYCB, eight calibrated RealSense cameras and 21 joints (Chao et al., CVPR 2021)."""

from __future__ import annotations

from pathlib import Path

from hpf_core.data.captures import Capture
from hpf_core.data.layouts.dexycb import DexycbLayout, is_dexycb
from hpf_core.errors import DataError
from hpf_core.interfaces import Build, PluginSpec, PublicData
from hpf_plugins.datasets.sequence import SequenceConfig, sequence


def _make(config: SequenceConfig, build: Build) -> Capture:
    root = Path(config.root).expanduser()
    if not config.root.strip() or not (root / "meta.yml").exists():
        raise DataError(
            f"The dataset 'dexycb' needs one sequence of DexYCB, but {root / 'meta.yml'} is missing: --set "
            "data.real.root=SUBJECT/SEQUENCE (or `root:` in the recipe). `hpf data list` says where to get it."
        )
    return sequence(DexycbLayout(root, config.test_share), config, build)


SPEC = PluginSpec(
    kind="dataset",
    name="dexycb",
    config=SequenceConfig,
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
