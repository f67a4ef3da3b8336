"""One run by several processes: PyTorch's process group, as `torchrun` starts it, and communication between them.

The module has no protocol of its own. `DistributedDataParallel` sums gradients (NCCL between GPUs, gloo between CPUs).
The rest are sums and broadcasts of a few numbers. Rank 0 writes; the others see the same folders.
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
_TELLS = 1  # the last rank reports a lost process: rank 0 may be the lost one


class World:
    """The processes of a run.

    Args:
        rank: index of this process; 0 writes.
        size: number of processes.
        local_rank: index of this process on its machine.
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
        """Start and length of this process' share of `count` items; the first processes take the remainder."""
        each, rest = divmod(count, self.size)
        return self.rank * each + min(self.rank, rest), each + (self.rank < rest)

    # ---------------------------------------------------------------------------------------------------- few numbers

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, without gradient; `values` stay unchanged."""
        if self.alone:
            return values.detach()
        found = values.detach().clone()
        dist.all_reduce(found)
        return found

    def count(self, *numbers: int) -> list[int]:
        """Sums of host numbers over all processes; they don't synchronise with a GPU."""
        return (
            [int(n) for n in self.sum(torch.tensor(numbers, dtype=torch.int64)).tolist()]
            if self.size > 1
            else [*numbers]
        )

    def broadcast(self, value: _T) -> _T:
        """The value on rank 0; values on other ranks are ignored."""
        if self.alone:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=_HOST)
        return box[0]

    # ----------------------------------------------------------------------------------------------- one after another

    def on_rank_zero(self, work: Callable[[], _T]) -> _T:
        """The result of `work` on rank 0, called once, while the others wait. On failure all end, and rank 0 gives the
        reason."""
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
            with contextlib.suppress(RuntimeError):  # the others may have ended already
                self.broadcast((False, None))
            raise
        self.broadcast((True, made))
        return made

    def together(self, work: Callable[[], _T]) -> _T:
        """The result of `work` on each process. If it fails on some, all end, and the first of them gives the
        reason."""
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
        """Call `work` on rank 0, then on one process of each other machine, then on the rest: fills a cache once.

        Later processes use the cache, on a shared disk or on their machine's own.
        """
        self.on_rank_zero(work)
        if self.alone:
            return
        for now in (True, False):
            mine = self.rank > 0 and (self.local_rank == 0) == now
            self.together(work if mine else _nothing)

    # ------------------------------------------------------------------------------------------------------ gradients

    def shared(self, backbone: nn.Module) -> DistributedDataParallel:
        """The network's parameters under DDP, once per run; call the result with a function that returns the loss.

        DDP divides the summed gradients by the number of processes.
        """
        if id(backbone) not in self._shared:
            self._shared[id(backbone)] = DistributedDataParallel(
                _Loss(backbone),
                broadcast_buffers=False,  # buffers are the same everywhere, or belong to each process' images
                find_unused_parameters=True,  # a share may not use all parts of the network
            )
        return self._shared[id(backbone)]

    def release(self) -> None:
        """Release the networks under DDP, before the process group ends.

        Each network holds the group. If a network is the last holder, its destructor ends the group while it blocks
        Python. The destructor joins gloo's threads, and one of these may wait for Python to free a tensor: a deadlock.
        """
        for shared in self._shared.values():
            with contextlib.suppress(AttributeError):
                del shared.logger, shared.reducer  # other references to `shared`, such as a traceback, may remain
        self._shared.clear()


class _Loss(nn.Module):
    """DDP sees the network's parameters and one loss: it determines exactly which parameters the loss depends on."""

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
    """The processes of `torchrun` as one group within this context, and this process' device; else a single process.

    Args:
        device: as in a recipe; `auto` and `cuda` are one GPU for each process.

    Raises:
        InputError: the device isn't usable here.
        RunError: another process has ended or is unreachable.
    """
    if not dist.is_initialized() and not is_launched():
        yield ALONE, choose_device(device)
        return
    local = int(os.environ.get("LOCAL_RANK", "") or 0)
    mine, failed = _HOST, None
    try:
        mine = _device(device, local)
    except InputError as error:  # the waiting processes must receive the error
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
    """Suppress DDP's warnings for each network: no parameter was unused; 1 x 1 kernels have two names for one layout;
    and PyTorch 2.13 renamed an argument that 2.11 knows by the old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*find_unused_parameters=True was specified.*")
        warnings.filterwarnings("ignore", message=".*broadcast_buffers. is deprecated.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*Grad strides do not match bucket view strides.*")
        yield


def _is_loss(error: RuntimeError) -> bool:
    """Whether the error means that another process is unreachable."""
    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    return any(sign in text for sign in ("gloo", "nccl", "connection closed by peer", "connection reset by peer"))


def _gone(error: RuntimeError) -> HPFError:
    if dist.is_initialized() and dist.get_rank() > _TELLS:
        return SaidElsewhere("another process of this run ended")
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return RunError(
        "another process of this run ended, or can't be reached any more, so this run ends. The last checkpoint "
        f"is valid. The message of that process, if any, is above; the error here: {reason}"
    )
