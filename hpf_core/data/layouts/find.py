"""Finds the layout of a capture from the files in its folder."""

from __future__ import annotations

from pathlib import Path

from hpf_core.data.layouts.base import Layout
from hpf_core.data.layouts.capture import CaptureLayout
from hpf_core.data.layouts.mvhand import MvhandLayout, is_session
from hpf_core.data.rig_file import RIG_FILE


def find_layout(root: Path) -> Layout | None:
    """The layout of a capture that describes its own cameras; None for any other folder, such as one of NYU.

    Raises:
        DataError: the description of the cameras is wrong, or no image matches it.
    """
    if (root / RIG_FILE).exists():
        return CaptureLayout(root)
    return MvhandLayout(root) if is_session(root) else None
