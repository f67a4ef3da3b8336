"""The cache of small networks that plugins train in advance on samples of the hand model.

Priors and refiners use it in their `prepare`. The file's name should hash everything that the training depends on
(`cache.content_key`), including the hand model (`HandModel.fingerprint`).
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
    """Write weights on the CPU, figures about them, and a checksum.

    Raises:
        RunError: the cache can't be written.
    """
    metadata = {name: repr(value) for name, value in figures.items()} | {_SUM: _digest(weights)}
    write_atomic(path, lambda temporary: save_file(dict(weights), temporary, metadata))


def take(path: Path, into: Callable[[dict[str, Tensor], dict[str, float]], None], whose: str) -> bool:
    """Read the weights and figures that `keep` wrote, and pass them to `into`.

    Args:
        path: the file.
        into: receives the values. KeyError, RuntimeError or ValueError from `into` means that they don't fit.
        whose: name of the network in a warning about a damaged or unfitting file, such as "vae prior".

    Returns:
        True if `into` accepted the values; False if the file is missing, or damaged (with a warning).
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
    """SHA-256 of names, shapes and bytes."""
    return content_key({name: [list(w.shape), bytes_key(w.numpy().tobytes())] for name, w in weights.items()})
