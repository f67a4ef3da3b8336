"""Writes the shares of the kinds of poses into docs/hand.md.

python tools/hand_poses.py
"""

from __future__ import annotations

import re
from pathlib import Path

from hpf_plugins.hands.mixture import KINDS, SHARE_ON_THE_WAY

PAGE = Path(__file__).parents[1] / "docs" / "hand.md"

_PLACE = re.compile(r"(<!-- poses: .*? -->\n).*?(<!-- end -->\n)", re.DOTALL)


def written(page: str) -> str:
    """The page with the shares as they are in the code."""
    rows = [f"| {kind} | {100 * share:.0f} % |" for kind, share in KINDS.items()]
    table = "\n".join(["| kind | share |", "| --- | --- |", *rows])
    on_the_way = f"{100 * SHARE_ON_THE_WAY:.0f} % are on the way from one such pose to another."
    text, found = _PLACE.subn(lambda place: f"{place[1]}{table}\n\n{on_the_way}\n{place[2]}", page)
    assert found == 1, f"{PAGE.name} has no place for the table"
    return text


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
