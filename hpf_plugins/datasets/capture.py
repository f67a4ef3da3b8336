"""`capture`: your own cameras, as `rig.yaml` in the capture's folder describes them (`docs/own-cameras.md`)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from hpf_core.data.calibration import Method
from hpf_core.data.captures import Capture
from hpf_core.data.hand_centre import Centring
from hpf_core.data.layouts.base import Layout, Mirrored
from hpf_core.data.layouts.capture import CaptureLayout
from hpf_core.data.sidecar import Sidecar, read_sidecar
from hpf_core.errors import DataError, nearest
from hpf_core.interfaces import Build, PluginSpec
from hpf_plugins.datasets.cropped import CroppedConfig, dataset_of, default_calibration


class CaptureDataConfig(CroppedConfig):
    """Selects a part of the capture and how to crop it."""

    root: str = Field("", description="The capture's folder, with `rig.yaml` in it.")
    views: tuple[str, ...] | None = Field(
        None,
        description="Cameras used, by their names in `rig.yaml`; the first one is evaluated and is the rig's frame. "
        "null for all.",
    )
    centre: Centring = Field(
        "refined",
        description="Where crops are centred: 'annotated', on the annotated PALM_3; 'mass', the centre of mass of the "
        "nearest object, fused over the views; or 'refined', which starts from 'mass' and follows the network's own "
        "estimate. 'mass' and 'refined' need no label.",
    )
    turned: bool = Field(True, description="Turn each crop so that its z runs along the ray through its centre.")
    calibration: Method | None = Field(
        None,
        description="Poses of the cameras: 'file', `to_rig` in `rig.yaml`; 'hand', from the hands that the cameras "
        "see, without labels; or 'annotated', from the joints in joints.npz. null for 'file' if `rig.yaml` has the "
        "poses, else for 'hand'.",
    )
    limit: int | None = Field(
        None, ge=1, description="Largest number of frames per split, spread over it, for quick tests; null for all."
    )

    @field_validator("views")
    @classmethod
    def _some(cls, views: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if views is not None and (not views or len(set(views)) < len(views)):
            raise ValueError(f"needs different names of cameras, but is {list(views)}")
        return views


def _make(config: CaptureDataConfig, build: Build) -> Capture:
    layout: Layout = _layout(config.root)
    views = _views(config.views, layout)
    calibration = config.calibration or default_calibration(layout)
    if calibration == "file":
        _ = layout.rig.take(views).poses  # refuse missing poses before any work
    about = _about(layout)
    if layout.rig.hand == "both":
        raise DataError(
            f"{layout.rig.where}: training can't use `hand: both`, because a crop doesn't show which hand it is. Write "
            "`right` or `left`, and put each hand's recordings into a separate capture."
        )
    if layout.rig.hand == "left":
        layout = Mirrored(layout)
    return dataset_of("capture", layout, views, about, config, build, config.limit, calibration)


def _layout(root: str) -> CaptureLayout:
    if not root.strip():
        raise DataError(
            "The dataset 'capture' needs a folder with a rig.yaml: --set data.real.root=FOLDER (or `root:` in the "
            "recipe). `hpf data simulate FOLDER --layout capture` makes one to try it on."
        )
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}, but the dataset 'capture' needs it.")
    return CaptureLayout(folder)


def _views(names: tuple[str, ...] | None, layout: Layout) -> tuple[int, ...]:
    known = layout.rig.names
    for name in names or ():
        if name not in known:
            raise DataError(f"{layout.rig.where} has no camera '{name}', which `views` names. {nearest(name, known)}")
    return tuple(range(len(known))) if names is None else tuple(known.index(name) for name in names)


def _about(layout: Layout) -> Sidecar:
    """Which person each recording shows: from `capture.json`, else one person and one recording for each split."""
    return read_sidecar(layout.root) or Sidecar.of_one_subject(layout.splits())


SPEC = PluginSpec(
    kind="dataset",
    name="capture",
    config=CaptureDataConfig,
    factory=_make,
    summary="your own cameras: depth images in any folders, with a rig.yaml; no labels needed",
    source="own work; the format is described in docs/own-cameras.md",
)
