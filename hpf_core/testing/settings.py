"""Global settings of the process, which a plugin must not change."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

_READ: dict[str, Callable[[], Any]] = {
    "whether gradients are made (torch.set_grad_enabled)": torch.is_grad_enabled,
    "the default type (torch.set_default_dtype)": torch.get_default_dtype,
    "the number of threads (torch.set_num_threads)": torch.get_num_threads,
    "determinism (torch.use_deterministic_algorithms)": torch.are_deterministic_algorithms_enabled,
    "the working directory (os.chdir)": os.getcwd,
    "what Ctrl-C does (signal.signal)": lambda: signal.getsignal(signal.SIGINT),
    "what SIGTERM does (signal.signal)": lambda: signal.getsignal(signal.SIGTERM),
}
_WRITE: tuple[Callable[[Any], Any], ...] = (
    torch.set_grad_enabled,
    torch.set_default_dtype,
    torch.set_num_threads,
    torch.use_deterministic_algorithms,
    os.chdir,
    lambda handler: signal.signal(signal.SIGINT, handler),
    lambda handler: signal.signal(signal.SIGTERM, handler),
)


class Settings:
    """Attributes:
    changed: differences between before and after each `kept`, in words.
    """

    def __init__(self) -> None:
        self.changed: list[str] = []

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Record changes in this context and undo them at its end, so that later code doesn't see them."""
        before = [read() for read in _READ.values()]
        try:
            yield
        finally:
            for (name, read), write, value in zip(_READ.items(), _WRITE, before, strict=True):
                if read() != value:
                    write(value)
                    self.changed.append(name)
