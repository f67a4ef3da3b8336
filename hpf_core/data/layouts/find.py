"""Finds the layout of a user's own capture from the files in its folder."""

from __future__ import annotations

from pathlib import Path

from hpf_core.data.layouts.base import Layout
from hpf_core.data.layouts.capture import CaptureLayout
from hpf_core.data.rig_file import RIG_FILE


def find_own_layout(root: Path) -> Layout | None:
    """The layout of a folder with a `rig.yaml`; None for any other folder.

    Public datasets register their layouts with their plugins (`PublicData.layout`).

    Raises:
        DataError: the description of the cameras is wrong, or no image matches it.
    """
    return CaptureLayout(root) if (root / RIG_FILE).exists() else None
