"""What tests see of a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from hpf_core.figures.style import write_figure


def pixels_of(figure: Figure | None, path: Path) -> np.ndarray:
    """(h, w, 3) uint8 of a figure that is no blank page."""
    assert figure is not None
    with Image.open(write_figure(path, figure)) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 200
    assert pixels.std() > 5
    return pixels


def count(pixels: np.ndarray, colour: str) -> int:
    """How many pixels have this colour, '#rrggbb', within a little."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(pixels.astype(int) - wanted).max(axis=-1) <= 6).sum())


def texts_of(figure: Figure) -> list[str]:
    """All that is written in a figure and its axes."""
    found = [text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text"))]
    return [text for text in found if text]
