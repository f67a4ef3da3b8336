"""Common drawing functions: dots, skeletons, depth maps, and the relevant part of a map."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.patheffects import withStroke

from hpf_core.figures.colours import GRID, IGNORED, MAP

DIFFERENCE_MM = 30.0
"""End of the scale for depth differences."""

_RIM = 0.04  # of the axes' width: dots may stand this far beyond their border


def to_pixels(points: np.ndarray, size: int, cube_mm: float) -> np.ndarray:
    """(..., 2) pixels of points (..., 3) mm in the crop's frame, on the orthographic size x size grid."""
    return np.asarray(points, dtype=np.float64)[..., :2] * (size / cube_mm) + size / 2


def dots(axes: Axes, at: np.ndarray, colour: str, size: float, alpha: float = 1.0, zorder: float = 3.0) -> None:
    """Draw dots at (N, 2), in the units of the axes, `size` points wide.

    One path of lines with zero length and round ends draws all dots. In SVG, markers take four times the space.
    """
    at = np.asarray(at, dtype=np.float64).reshape(-1, 2)
    at = at[np.isfinite(at).all(axis=1)]
    span = abs(axes.get_xlim()[1] - axes.get_xlim()[0])
    if not axes.get_autoscale_on():
        at = at[_within(at, axes, _RIM * span)]  # a dot far outside would cover a title or another panel
    if not len(at):
        return
    vertices = np.repeat(at, 2, axis=0)
    vertices[1::2, 0] += 1e-5 * span  # Agg omits a line of length 0.
    codes = np.tile([Path.MOVETO, Path.LINETO], len(at))
    path = Path(vertices, codes)
    path.should_simplify = False
    patch = PathPatch(
        path,
        fill=False,
        edgecolor=colour,
        linewidth=size,
        capstyle="round",
        alpha=alpha,
        zorder=zorder,
        clip_on=False,
        snap=False,  # With snapping to pixels, the lines would have length 0.
    )
    axes.add_patch(patch)


def _within(at: np.ndarray, axes: Axes, rim: float) -> np.ndarray:
    """(N,) bool, whether points (N, 2) lie in the axes' limits, or beyond them by at most `rim`."""
    low, high = np.sort([axes.get_xlim(), axes.get_ylim()], axis=1).T
    return ((at >= low - rim) & (at <= high + rim)).all(axis=1)


def segments(
    axes: Axes,
    starts: np.ndarray,
    ends: np.ndarray,
    colour: str,
    width: float,
    *,
    halo: bool = False,
    zorder: float = 2.5,
) -> None:
    """Draw lines from (N, 2) to (N, 2) as one path, with an optional white halo."""
    gap = np.full_like(np.asarray(starts, dtype=np.float64), np.nan)
    path = np.stack([starts, ends, gap], axis=1).reshape(-1, 2)
    effects = [withStroke(linewidth=width + 1.2, foreground="white", alpha=0.7)] if halo else None
    axes.plot(
        path[:, 0],
        path[:, 1],
        color=colour,
        linewidth=width,
        solid_capstyle="round",
        path_effects=effects,
        zorder=zorder,
        clip_on=True,
    )


def skeleton(axes: Axes, points: np.ndarray, links: Sequence[tuple[int, int]], colour: str, width: float = 1.1) -> None:
    """Draw points (J, 2) px and their links."""
    if len(links):
        first, second = np.asarray(links).T
        segments(axes, points[first], points[second], colour, width, halo=True)
    dots(axes, points, colour, 2 * width)


def tile(axes: Axes) -> None:
    """Prepare axes for a map: no ticks, no grid, a thin rim."""
    axes.set_facecolor(MAP)
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(True)
        side.set_color(GRID)


def map_picture(
    values: np.ndarray, colours: Colormap, scale: Normalize, nothing: np.ndarray, ignored: np.ndarray | None = None
) -> np.ndarray:
    """Colour a map (H, W) as (H, W, 4) uint8: transparent background, and one colour for pixels that a loss ignores."""
    picture = np.asarray(colours(np.asarray(scale(values)), bytes=True))
    picture[nothing] = 0
    if ignored is not None:
        picture[ignored] = [int(IGNORED[k : k + 2], 16) for k in (1, 3, 5)] + [255]
    return picture


def show_map(axes: Axes, picture: np.ndarray, place: tuple[float, float, float]) -> None:
    """Show a map's part at `place` (left, top and side, px). Pixel (u, v) covers [u, u + 1) x [v, v + 1)."""
    left, top, side = place
    height, width = picture.shape[:2]
    u, v = max(int(left), 0), max(int(top), 0)
    right, bottom = min(math.ceil(left + side), width), min(math.ceil(top + side), height)
    axes.imshow(picture[v:bottom, u:right], extent=(u, right, bottom, v), interpolation="none", aspect="auto")
    axes.set_xlim(left, left + side)
    axes.set_ylim(top + side, top)


def window(
    size: tuple[int, int], inside: Iterable[np.ndarray], points: Iterable[np.ndarray]
) -> tuple[float, float, float]:
    """Left, top and side in pixels of a tight square around the visible content.

    Args:
        size: height and width of the maps.
        inside: maps (H, W) bool of the pixels to show.
        points: (N, 2) px to show. Points outside the map count as points at its edge.
    """
    height, width = size
    seen = np.zeros((height, width), dtype=bool)
    for one in inside:
        seen |= one
    for some in points:
        u, v = np.clip(np.nan_to_num(np.asarray(some).reshape(-1, 2).T), 0, [[width - 1], [height - 1]]).astype(int)
        seen[v, u] = True
    if not seen.any():
        return 0.0, 0.0, float(max(height, width))
    v, u = np.nonzero(seen)
    side = float(min(max(np.ptp(u), np.ptp(v)) + 1 + 0.05 * width, width, height))
    left = float(np.clip((u.min() + u.max() + 1 - side) / 2, 0, width - side))
    top = float(np.clip((v.min() + v.max() + 1 - side) / 2, 0, height - side))
    return left, top, side


def depth_scale(depth: np.ndarray, far_mm: float) -> Normalize:
    """One colour scale for several maps, from their hit pixels."""
    hit = depth[depth < far_mm]
    if not len(hit):
        return Normalize(-far_mm, far_mm)
    low, high = np.quantile(hit, [0.01, 0.99])
    return Normalize(float(low), float(max(high, low + 1.0)))


def depth_colours() -> Colormap:
    """Near is light, far is dark. The extremes are omitted, so that a hand never blends into the background."""
    shades = colormaps["Greys"](np.linspace(0.28, 0.88, 256))
    return LinearSegmentedColormap.from_list("hpf-depth", shades)


def difference_colours() -> Colormap:
    """Blue if a render is nearer than the input, red if it is farther."""
    return colormaps["RdBu_r"]


def difference_scale() -> Normalize:
    """From -30 to 30 mm."""
    return Normalize(-DIFFERENCE_MM, DIFFERENCE_MM)
