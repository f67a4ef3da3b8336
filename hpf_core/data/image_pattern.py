"""The pattern of a capture's image paths, such as `{split}/{camera}/{frame:06d}.png`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from string import Formatter

from hpf_core.errors import nearest

_FIELDS = ("split", "camera", "sequence", "frame")
_DIGITS = re.compile(r"(?:0(\d+))?d?\Z")


def image_of(pattern: str, split: str, camera: str, sequence: str, frame: int) -> str:
    """The path of an image below the capture's folder."""
    return pattern.format(split=split, camera=camera, sequence=sequence, frame=frame)


def matcher_of(pattern: str, splits: Sequence[str], cameras: Sequence[str]) -> re.Pattern[str]:
    """A regular expression for the paths of a pattern, with a group for each field."""
    fields = {
        "split": "|".join(map(re.escape, splits)),
        "camera": "|".join(re.escape(name) for name in sorted(cameras, key=len, reverse=True)),
        "sequence": ".+",
    }
    found, text = set(), ""
    for literal, name, spec, _ in Formatter().parse(pattern):
        text += re.escape(literal)
        if name is None:
            continue
        if name in found:
            text += f"(?P={name})"
            continue
        found.add(name)
        if name == "frame":
            digits = _DIGITS.match(spec or "")
            width = digits[1] if digits and digits[1] else "1"
            text += rf"(?P<frame>\d{{{width},9}})"
        else:
            text += f"(?P<{name}>{fields[name]})"
    return re.compile(text + r"\Z")


def wrong_with_pattern(pattern: str, cameras: int) -> str:
    """Describe the error in a pattern, as a sentence without its end; empty for a valid pattern."""
    try:
        parts = [
            (name, spec, conversion) for _, name, spec, conversion in Formatter().parse(pattern) if name is not None
        ]
    except ValueError as error:
        return f"isn't a pattern ({error})"
    for name, spec, conversion in parts:
        if name not in _FIELDS:
            return f"has the field {{{name}}}. {nearest(name, _FIELDS)}"
        if conversion or (spec and (name != "frame" or not _DIGITS.match(spec))):
            return f"formats {{{name}}} in a way that isn't known; only {{frame:06d}} and the like are"
    names = {name for name, _, _ in parts}
    if "frame" not in names:
        return "has no {frame}, so the names of its images are not unique"
    if cameras > 1 and "camera" not in names:
        return f"has no {{camera}}, but there are {cameras} cameras"
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts or "\\" in pattern:
        return "leads out of the capture's folder; it must be a path below the folder, with / between its parts"
    return ""
