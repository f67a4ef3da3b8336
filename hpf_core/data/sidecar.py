"""`capture.json` beside a capture's splits, for information that NYU's layout lacks: subjects and origin.

Every simulated capture has it; a real capture in the same layout may have it. Without it, the subjects are unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from hpf_core.errors import DataError
from hpf_core.files.cache import write_atomic
from hpf_core.interfaces import Config

SIDECAR = "capture.json"


@dataclass(frozen=True)
class Segment:
    """Consecutive frames of one recording of one person. `first` counts from 0 in its split."""

    first: int
    frames: int
    sequence: int
    subject: int


class Sidecar(Config):
    """The content of `capture.json`.

    Attributes:
        simulated: whether `hpf data simulate` made the images. Results on them carry this mark.
        rate_hz: frames a second, or None if unknown.
        subject_names: name of each subject number.
        segments: for each split, the person in each stretch of frames, in order, from frame 0 without a gap.
        made: for a simulated capture, all options; empty for a real one.
    """

    simulated: bool = False
    rate_hz: float | None = Field(None, gt=0)
    subject_names: dict[int, str] = Field(default_factory=dict)
    segments: dict[str, tuple[Segment, ...]] = Field(default_factory=dict)
    made: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def of_one_subject(cls, splits: Iterable[str]) -> Sidecar:
        """One person, and one recording for each split: for a capture without a `capture.json`."""
        segments: dict[str, tuple[Segment, ...]] = {
            split: (Segment(first=0, frames=1, sequence=k, subject=0),) for k, split in enumerate(splits)
        }
        return cls(rate_hz=None, subject_names={0: "subject"}, segments=segments)

    @model_validator(mode="after")
    def _in_order(self) -> Sidecar:
        for split, parts in self.segments.items():
            if any(part.frames < 1 for part in parts):
                raise ValueError(f"segments of '{split}': each needs 1 frame or more")
            if parts and parts[0].first != 0:
                raise ValueError(f"segments of '{split}' begin at frame {parts[0].first}, not at 0")
            for before, after in pairwise(parts):
                if after.first != before.first + before.frames:
                    raise ValueError(
                        f"segments of '{split}': one begins at frame {after.first}, but the one before it ends at "
                        f"{before.first + before.frames}"
                    )
            unnamed = sorted({part.subject for part in parts} - set(self.subject_names))
            if unnamed:
                raise ValueError(f"segments of '{split}': subject {unnamed[0]} has no name in subject_names")
        return self

    def save(self, root: Path) -> None:
        """Write the sidecar into a capture's folder, atomically.

        Raises:
            RunError: the folder can't be written.
        """
        text = json.dumps(self.model_dump(mode="json"), indent=1) + "\n"

        def write(file: Path) -> None:
            file.write_text(text, encoding="utf-8")

        write_atomic(root / SIDECAR, write)


def read_sidecar(root: Path) -> Sidecar | None:
    """Read the sidecar of the capture in `root`; None if there is none, as for NYU itself.

    Raises:
        DataError: the file exists, but it is damaged or contains impossible values.
    """
    path = root / SIDECAR
    try:
        return Sidecar.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise DataError(
            f"{path} is damaged: {where + ': ' if where else ''}{said}. It contains the subject of each frame. "
            "Restore it, or simulate the capture again."
        ) from error
