"""`nyu`: the NYU Hand Pose Dataset as its authors published it (Tompson et al., ACM TOG 33(5), 2014).

It reads any capture in that layout, such as those of `hpf data simulate`; their `capture.json` names who is seen when.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from hpf_core.data.captures import Capture
from hpf_core.data.layouts.nyu import NyuLayout, capture_near, count_frames
from hpf_core.data.sidecar import Segment, Sidecar, read_sidecar
from hpf_core.errors import DataError
from hpf_core.interfaces import Build, PluginSpec, PublicData
from hpf_plugins.datasets.cropped import CroppedConfig, dataset_of

_TRAIN, _TEST, _SWITCH = 72757, 8252, 2440
"""Of NYU's 8,252 test frames, 1 to 2440 show the training set's subject. The others show a new subject, whose bones are
0.83-0.85 as long. NYU has no file with this information."""


def _is_nyus(test: int) -> bool:
    """Whether a `test` split that ends with this frame (counted from 1) has NYU's two people. NYU's last frames may be
    missing. Other captures name their people in `capture.json`."""
    return _SWITCH < test <= _TEST


def _about(root: Path, views: tuple[int, ...]) -> Sidecar:
    """Which person each frame shows: from the sidecar, else as in NYU, else one person and one recording for each
    split."""
    written = read_sidecar(root)
    if written is not None:
        return written
    test = count_frames(root / "test", views) if (root / "test").is_dir() else 0
    if not _is_nyus(test):
        return Sidecar.of_one_subject(("train", "test"))
    return Sidecar(
        rate_hz=None,
        subject_names={0: "training subject", 1: "new subject"},
        segments={
            "train": (Segment(first=0, frames=_TRAIN, sequence=0, subject=0),),
            "test": (
                Segment(first=0, frames=_SWITCH, sequence=1, subject=0),
                Segment(first=_SWITCH, frames=_TEST - _SWITCH, sequence=2, subject=1),
            ),
        },
    )


_HELP = """\
The NYU Hand Pose Dataset is needed for this recipe, but {problem}.

  What:   the dataset of Tompson, Stein, LeCun and Perlin (2014; licence CC-BY-4.0), about 90 GB, from its authors'
          page at New York University: search for "NYU Hand Pose Dataset".
  Where:  unpack it anywhere, so that ROOT/train/depth_1_0000001.png and ROOT/train/joint_data.mat are there, the same
          for ROOT/test, and set HPF_NYU_ROOT=ROOT (or `root:` in the recipe).
  Or:     run recipes/quickstart.yaml, which needs no dataset: it makes a small simulated one by itself."""


class NyuConfig(CroppedConfig):
    """Selects a part of the dataset and how to crop it."""

    root: str = Field("", description="Folder with `train` and `test`; recipes write ${HPF_NYU_ROOT}.")
    views: tuple[int, ...] = Field(
        (1, 2, 3),
        description="Cameras used, by their numbers in the files' names: NYU has three, other captures as many as they "
        "have; the first one is evaluated and is the rig's frame.",
    )
    calibration: Literal["hand", "annotated"] = Field(
        "annotated",
        description="Poses of the cameras, which NYU's files don't have: 'annotated', from the annotated joints; or "
        "'hand', from the hands that the cameras see, without labels.",
    )
    limit: int | None = Field(
        None, ge=1, description="Largest number of frames per split, spread over it, for quick tests; null for all."
    )

    @field_validator("views")
    @classmethod
    def _known(cls, views: tuple[int, ...]) -> tuple[int, ...]:
        if not views or len(set(views)) < len(views) or min(views) < 1:
            raise ValueError(f"needs different numbers, counted from 1, but is {list(views)}")
        return views


def _make(config: NyuConfig, build: Build) -> Capture:
    root = _checked(config.root)
    views = tuple(view - 1 for view in config.views)
    about, method = _about(root, views), config.calibration
    return dataset_of("nyu", NyuLayout(root, views), views, about, config, build, config.limit, method)


def _checked(root: str) -> Path:
    """The dataset's folder. If it is missing, the error explains how to get the dataset."""
    if not root.strip():
        raise DataError(_HELP.format(problem="no folder is given (HPF_NYU_ROOT is empty or not set)"))
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise DataError(_HELP.format(problem=f"there is no folder {folder}"))
    if not any((folder / split).is_dir() for split in ("train", "test")):
        meant = capture_near(folder)
        hint = "" if meant is None else f"; {meant} looks like the capture: set HPF_NYU_ROOT={meant}"
        raise DataError(_HELP.format(problem=f"{folder} has neither a folder `train` nor `test`{hint}"))
    return folder


SPEC = PluginSpec(
    kind="dataset",
    name="nyu",
    config=NyuConfig,
    factory=_make,
    summary="the NYU Hand Pose Dataset in its raw layout: three calibrated views, two test subjects",
    source="Tompson et al., ACM TOG 33(5), 2014",
    public=PublicData(
        views=3,
        licence="CC-BY-4.0",
        page="its authors' page at New York University: search for NYU Hand Pose Dataset",
        size="about 90 GB; 72,757 training and 8,252 test frames",
        unpack="ROOT/train and ROOT/test, each with depth_1_0000001.png, ... and joint_data.mat",
        checked="made-up files only",
    ),
)
