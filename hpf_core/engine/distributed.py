"""One run by several processes: PyTorch's process group as `torchrun` starts it, and what processes agree on.

Nothing here is a protocol of its own. Gradients are added up by `DistributedDataParallel` (NCCL between GPUs, gloo
between CPUs); the rest are sums and broadcasts of a few numbers. Rank 0 writes; the others see the same folders.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hpf_core.errors import HPFError, InputError, RunError, SaidElsewhere
from hpf_core.inference.build import choose_device
from hpf_core.process_group import is_launched

_T = TypeVar("_T")

_PATIENCE = timedelta(hours=12)  # others wait while one process makes a cache or evaluates; a dead one is seen at once
_HOST = torch.device("cpu")
_TELLS = 1  # the last rank that says that another one is gone: rank 0 may be the one


class World:
    """The processes of a run.

    Args:
        rank: this process' number; 0 writes.
        size: how many there are.
        local_rank: this process' number on its machine.
    """

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0) -> None:
        self.rank, self.size, self.local_rank = rank, size, local_rank
        self._shared: dict[int, DistributedDataParallel] = {}

    @property
    def alone(self) -> bool:
        """Whether this is the only process."""
        return self.size == 1

    @property
    def writes(self) -> bool:
        """Whether this process writes the run's folder."""
        return self.rank == 0

    def share(self, count: int) -> tuple[int, int]:
        """The first of `count` things that is this process', and how many are; the first processes have the rest."""
        each, rest = divmod(count, self.size)
        return self.rank * each + min(self.rank, rest), each + (self.rank < rest)

    # ---------------------------------------------------------------------------------------------------- few numbers

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, without gradient; `values` stay as they are."""
        if self.alone:
            return values.detach()
        found = values.detach().clone()
        dist.all_reduce(found)
        return found

    def count(self, *numbers: int) -> list[int]:
        """Sums over all processes of numbers on the host: no GPU waits for them."""
        return (
            [int(n) for n in self.sum(torch.tensor(numbers, dtype=torch.int64)).tolist()]
            if self.size > 1
            else [*numbers]
        )

    def broadcast(self, value: _T) -> _T:
        """What rank 0 gives here; what the others give is ignored."""
        if self.alone:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=_HOST)
        return box[0]

    # ----------------------------------------------------------------------------------------------- one after another

    def on_rank_zero(self, work: Callable[[], _T]) -> _T:
        """What `work` gives on rank 0, once, while the others wait; where it fails, all end, and rank 0 says why."""
        if self.alone:
            return work()
        if self.rank:
            done, result = self.broadcast((False, None))
            if not done:
                raise SaidElsewhere("rank 0 ended the run")
            return result  # type: ignore[return-value]
        try:
            made = work()
        except BaseException:
            with contextlib.suppress(RuntimeError):  # the others may be gone already
                self.broadcast((False, None))
            raise
        self.broadcast((True, made))
        return made

    def together(self, work: Callable[[], _T]) -> _T:
        """What `work` gives on each process; where it fails on some, all end, and the first of them says why."""
        if self.alone:
            return work()
        failed: HPFError | None = None
        try:
            result = work()
        except HPFError as error:
            failed = error
        first = torch.tensor(self.size if failed is None else self.rank)
        dist.all_reduce(first, dist.ReduceOp.MIN)
        if failed is not None and int(first) == self.rank:
            raise failed
        if int(first) < self.size:
            raise SaidElsewhere(f"rank {int(first)} ended the run") from failed
        return result

    def in_turn(self, work: Callable[[], None]) -> None:
        """Rank 0 first, then the first process of each other machine, then the rest: for what is made once and kept.

        Whoever comes later finds it in the cache, on a shared disk or on its machine's own.
        """
        self.on_rank_zero(work)
        if self.alone:
            return
        for now in (True, False):
            mine = self.rank > 0 and (self.local_rank == 0) == now
            self.together(work if mine else _nothing)

    # ------------------------------------------------------------------------------------------------------ gradients

    def shared(self, backbone: nn.Module) -> DistributedDataParallel:
        """The network's parameters under DDP, made once for a run: call it with a function that gives the loss.

        DDP then divides by the number of processes what they summed up.
        """
        if id(backbone) not in self._shared:
            self._shared[id(backbone)] = DistributedDataParallel(
                _Loss(backbone),
                broadcast_buffers=False,  # they are the same everywhere, or of what each process saw
                find_unused_parameters=True,  # a share may lack what a part of the network is for
            )
        return self._shared[id(backbone)]

    def release(self) -> None:
        """Let go of the networks under DDP, before the process group goes.

        Each holds the group. Were one of them the last to, the group would end within a destructor that keeps Python
        waiting: it joins gloo's threads, and one of these may want Python to free a tensor. Both would wait for ever.
        """
        for shared in self._shared.values():
            with contextlib.suppress(AttributeError):
                del shared.logger, shared.reducer  # whatever else still refers to `shared`, such as a traceback
        self._shared.clear()


class _Loss(nn.Module):
    """DDP sees the network's parameters and one loss, so that it knows exactly which of them the loss depends on."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, loss: Callable[[], Tensor]) -> Tensor:
        return loss()


ALONE = World()
"""A run of one process."""


def _nothing() -> None:
    return None


@contextlib.contextmanager
def processes(device: str) -> Iterator[tuple[World, torch.device]]:
    """The processes that `torchrun` started, as one group while in use, and this one's device; else one process alone.

    Args:
        device: as a recipe names it; `auto` and `cuda` are one GPU for each process.

    Raises:
        InputError: the device can't be used here.
        RunError: another process is gone, or can't be reached.
    """
    if not dist.is_initialized() and not is_launched():
        yield ALONE, choose_device(device)
        return
    local = int(os.environ.get("LOCAL_RANK", "") or 0)
    mine, failed = _HOST, None
    try:
        mine = _device(device, local)
    except InputError as error:  # the others, who wait, must hear of it
        failed = error
    begun, world = not dist.is_initialized(), ALONE
    try:
        if begun:
            dist.init_process_group("cpu:gloo,cuda:nccl" if mine.type == "cuda" else "gloo", timeout=_PATIENCE)
        world = World(dist.get_rank(), dist.get_world_size(), local)
        with _quiet():
            world.together(lambda: _raise(failed))
            yield world, mine
    except RuntimeError as error:
        if not _is_loss(error):
            raise
        raise _gone(error) from error
    finally:
        world.release()
        if begun and dist.is_initialized():
            with contextlib.suppress(RuntimeError):
                dist.destroy_process_group()


def _device(wanted: str, local: int) -> torch.device:
    gpus = torch.cuda.device_count() if wanted.startswith(("auto", "cuda")) else 0
    if wanted.startswith("cuda:"):
        raise InputError(f"device '{wanted}' is one GPU, but each process needs its own: give auto, cuda or cpu")
    if gpus == 0:
        return choose_device(wanted)
    if local >= gpus:
        raise InputError(f"process {local} of this machine has no GPU: it has {gpus}. Start at most {gpus} on it")
    torch.cuda.set_device(local)
    return choose_device(f"cuda:{local}")


def _raise(error: HPFError | None) -> None:
    if error is not None:
        raise error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what DDP warns of each network: no parameter was unused, 1 x 1 kernels have two names for one layout, and
    an argument has a new name in PyTorch 2.13 which 2.11 doesn't know."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*find_unused_parameters=True was specified.*")
        warnings.filterwarnings("ignore", message=".*broadcast_buffers. is deprecated.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*Grad strides do not match bucket view strides.*")
        yield


def _is_loss(error: RuntimeError) -> bool:
    """Whether it says that another process can't be reached."""
    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    return any(sign in text for sign in ("gloo", "nccl", "connection closed by peer", "connection reset by peer"))


def _gone(error: RuntimeError) -> HPFError:
    if dist.is_initialized() and dist.get_rank() > _TELLS:
        return SaidElsewhere("another process of this run is gone")
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return RunError(
        "another process of this run ended, or can't be reached any more, and the run ends with it; the last "
        f"checkpoint stands. What that process said, if anything, is above; seen here: {reason}"
    )
