"""Folders of weights, in the form of model hubs: `weights.safetensors`, `config.json` and the model card `README.md`.

`config.json` repeats the description inside of the weights, for people and for hubs: the recipe's parts (backbone,
grid, hand) and the training. HPF reads the weights' own description. It refuses a folder whose `config.json` differs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpf_core.errors import DataError, InputError
from hpf_core.files.hub import FILES
from hpf_core.runs import checkpoint

FORMAT = "hpf-weights/1"

_COMPARED = ("backbone", "grid", "hand")


def weights_file(place: Path) -> Path:
    """The file of weights of a folder of weights; a file stays as it is."""
    return place / FILES[0] if place.is_dir() else place


def weights_name(path: Path) -> str:
    """A short name for people: that of the folder of weights, or of the file."""
    return path.parent.name if path.name == FILES[0] and (path.parent / FILES[1]).is_file() else path.name


def config_text(about: Mapping[str, Any]) -> str:
    """The text of `config.json` for weights with this description."""
    return json.dumps({"format": FORMAT, **about}, indent=2, sort_keys=True) + "\n"


def check_description(about: Mapping[str, Any], path: Path, hand: str, cube_mm: float) -> None:
    """Check that weights were trained for a hand model and a cube. Another size of the grid is no obstacle.

    Args:
        about: the description of the weights; older weights lack parts of it.
        path: their file, for the message.
        hand: name of the recipe's hand model.
        cube_mm: side of the recipe's cube.

    Raises:
        InputError: they were trained for another hand model or cube, so their points mean something else.
    """
    trained, grid = about.get("hand"), about.get("grid")
    if isinstance(trained, str) and trained.replace("-", "_") != hand.replace("-", "_"):
        raise InputError(
            f"{path}: these weights were trained with the hand model '{trained}', but the recipe's is '{hand}'."
        )
    theirs = grid.get("cube_mm") if isinstance(grid, Mapping) else None
    if isinstance(theirs, int | float) and theirs != cube_mm:
        raise InputError(
            f"{path}: these weights were trained for a cube of {theirs:g} mm, but the recipe's is {cube_mm:g} mm. Set "
            f"grid.cube_mm={theirs:g}, or choose other weights."
        )


def check_config(folder: Path) -> None:
    """Check that a folder's `config.json`, if there is one, describes its weights.

    Raises:
        InputError: it describes other weights, or isn't in HPF's format.
        DataError: a file is damaged.
    """
    path = folder / FILES[1]
    if not path.is_file():
        return
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = config.get("format", "none") if isinstance(config, dict) else "none"
        raise InputError(f"{path} doesn't describe weights of HPF: its format is {found}, but {FORMAT} was expected.")
    about = checkpoint.read(folder / FILES[0]).about
    for name in _COMPARED:
        if config.get(name) != about.get(name):
            raise InputError(
                f"{path} belongs to other weights: its {name} is {config.get(name)}, but that of {FILES[0]} is "
                f"{about.get(name)}."
            )
