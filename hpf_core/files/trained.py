"""Small networks that a plugin trains beforehand on what the hand model samples: kept in the cache, and taken from it.

For priors and refiners, in their `prepare`. The file's name should hash all that the training depends on
(`cache.content_key`), the hand model among it (`HandModel.fingerprint`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hpf_core.files.cache import bytes_key, content_key, write_atomic

log = logging.getLogger("hpf.trained")

_SUM = "sha256"


def keep(path: Path, weights: Mapping[str, Tensor], figures: Mapping[str, float]) -> None:
    """Write weights on the CPU, and figures about them, with a checksum.

    Raises:
        RunError: the cache can't be written.
    """
    metadata = {name: repr(value) for name, value in figures.items()} | {_SUM: _digest(weights)}
    write_atomic(path, lambda temporary: save_file(dict(weights), temporary, metadata))


def take(path: Path, into: Callable[[dict[str, Tensor], dict[str, float]], None], whose: str) -> bool:
    """Give `into` the weights and figures that `keep` wrote.

    Args:
        path: the file.
        into: takes them; what it raises of KeyError, RuntimeError and ValueError means that they don't fit.
        whose: for the warning where the file is damaged or doesn't fit, such as "vae prior".

    Returns:
        Whether they were taken: False where there is no file, or it is damaged (said in a warning).
    """
    if not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
        if metadata.pop(_SUM, None) != _digest(weights):
            raise ValueError("its checksum doesn't match")
        into(weights, {name: float(value) for name, value in metadata.items()})
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        log.warning("The %s's cache %s is damaged (%s): it is trained again.", whose, path, error)
        return False
    return True


def _digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and bytes."""
    return content_key({name: [list(w.shape), bytes_key(w.numpy().tobytes())] for name, w in weights.items()})
