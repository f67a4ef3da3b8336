"""Several processes make the run of one: the same steps, whatever the number of processes, and whoever dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch

from hpf_core import recipe as recipes
from hpf_core.engine.distributed import ALONE, World
from hpf_core.engine.draw import chunks
from hpf_core.engine.run import Run
from hpf_core.interfaces import Observer
from hpf_core.runs import checkpoint as files
from hpf_core.runs.folder import RunFolder

from . import shares
from .conftest import rows_of

SHARED = """
transforms: [{use: shrink, share: 0.7}]
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("count", [0, 1, 5, 63, 64, 1000])
def test_shares_have_neither_gaps_nor_repeats(size, count):
    found = [World(rank, size).share(count) for rank in range(size)]
    assert [n for first, many in found for n in range(first, first + many)] == list(range(count))
    assert max(many for _, many in found) - min(many for _, many in found) <= 1
    assert found[0][1] == max(many for _, many in found), "rank 0, which draws pictures, has the most"


@pytest.mark.parametrize(("first", "count", "total"), [(0, 5, 5), (3, 4, 20), (7, 9, 16), (16, 1, 17), (0, 30, 30)])
def test_chunks_hold_what_is_asked_for(first, count, total):
    found = [number * 8 + k for number, size, wanted in chunks(first, count, total, 8) for k in range(size)[wanted]]
    assert found == list(range(first, first + count))
    assert all(size == min(8, total - 8 * number) for number, size, _ in chunks(first, count, total, 8))


def test_alone_nothing_is_asked_of_others():
    assert ALONE.count(3, 1) == [3, 1]
    assert ALONE.broadcast("x") == ALONE.on_rank_zero(lambda: "x") == ALONE.together(lambda: "x") == "x"
    value = torch.ones(2, requires_grad=True)
    assert not ALONE.sum(value).requires_grad


def test_two_and_three_processes_make_the_steps_of_one(tiny, tmp_path):
    """Gradients and weights after 20 steps, in float64: uneven shares, absent views, a transform, a process that has
    no frame, and one that has nothing at all."""
    tiny.write_text(
        tiny.read_text()
        .replace("name: tiny", "name: tiny" + SHARED)
        .replace("    lr: 1e-4", "    lr: 1e-4\n    clip_norm: 1.0")
    )
    draws = [(2, 5), (1, 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = {draw: shares.steps(tiny, draw, ALONE) for draw in draws}
    ports = [(3, free_port()), (2, free_port())]
    torch.multiprocessing.spawn(shares.work, (tiny, draws, tmp_path, ports), nprocs=3)
    for draw in draws:
        for size, rank in [(3, 0), (3, 1), (3, 2), (2, 0), (2, 1)]:
            found = torch.load(tmp_path / f"{draw}-{size}-{rank}.pt")
            assert found.keys() == wanted[draw].keys()
            for name, value in wanted[draw].items():
                torch.testing.assert_close(
                    found[name], value, rtol=1e-9, atol=1e-9, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}"
                )
    assert wanted[draws[0]]["images"] > wanted[draws[1]]["images"]


def test_processes_end_and_do_not_wait_for_one_another(tmp_path):
    """A group that ended with the last of its networks hung in one of some twenty runs: gloo's thread waited for
    Python, and Python for the thread."""
    going = torch.multiprocessing.spawn(shares.ends, (tmp_path, 40), nprocs=2, join=False)
    until = time.monotonic() + 120
    while not (ended := going.join(timeout=1)) and time.monotonic() < until:
        pass
    for process in going.processes:
        process.kill()
    assert ended


# ------------------------------------------------------------------------------------------------------------ torchrun

BRIEF = """
name: brief
backbone: {use: hourglass, width: 8, stem: 8, depth: 1}
grid: {size: 32}
data:
  synthetic: {use: synthetic}
stages:
  pretrain: {draw: {synthetic: 5}, steps: 60, terms: [supervised], lr: 1e-3}
evaluate: {data: synthetic, limit: 10}
log: {every: 1, pictures_every: 1000, checkpoint_every: 5, gradients_every: 50}
"""


@pytest.fixture(scope="module")
def brief(tmp_path_factory, host):
    """A recipe's file, and the folder of its run by one process."""
    root = tmp_path_factory.mktemp("brief")
    (root / "brief.yaml").write_text(BRIEF)
    Run(recipes.load(root / "brief.yaml", host=host), root / "one").execute()
    return root / "brief.yaml", root / "one"


@pytest.fixture
def torchrun():
    """Starts torchrun; whatever is still there at the end goes."""
    begun = []

    def start(*arguments):
        command = [sys.executable, "-m", "torch.distributed.run", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        begun.append(
            subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        )
        return begun[-1]

    yield start
    for process in begun:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
        process.stderr.close()
        process.stdout.close()


def alike(one, other):
    """The same steps, logged once each, up to the order of float32's sums; the same figures in the end."""
    a, b = rows_of(one), rows_of(other)
    assert [(r["stage"], r["step"], r["images"]) for r in a] == [(r["stage"], r["step"], r["images"]) for r in b]
    assert [r["loss"] for r in a] == pytest.approx([r["loss"] for r in b], rel=1e-3)
    errors = [json.loads((f / "summary.json").read_text())["evaluation"][-1]["mean_error_mm"] for f in (one, other)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)


def worker_of(launcher, rank):
    """The process number of a rank, as /proc has it."""
    for children in Path(f"/proc/{launcher.pid}/task").glob("*/children"):
        for child in children.read_text().split():
            environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            if f"RANK={rank}".encode() in environment:
                return int(child)
    raise AssertionError(f"no process of rank {rank}")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the process in /proc")
def test_a_killed_worker_ends_the_run_and_one_process_goes_on(brief, host, torchrun, tmp_path):
    recipe, one = brief
    folder = tmp_path / "run"
    launched = torchrun("--nproc-per-node", 2, "-m", "hpf", "run", recipe, "--out", folder)
    checkpoints = RunFolder(folder).checkpoints
    while not checkpoints("pretrain"):
        assert launched.poll() is None, launched.communicate()
        time.sleep(0.02)
    os.kill(worker_of(launched, 1), signal.SIGKILL)
    _, said = launched.communicate(timeout=120)
    assert launched.returncode == 1
    assert said.count("error: another process of this run ended") == 1
    assert "The last checkpoint is valid" in said
    assert "This is a bug" not in said
    files.read(checkpoints("pretrain")[-1])
    assert not (folder / "summary.json").exists()
    Run(recipes.load(recipe, host=host), folder, resume=True).execute()
    alike(one, folder)


class Stops(Observer):
    """Ends a run after some step, as Ctrl-C does."""

    def step_done(self, stage, step, metrics):
        if step == 33:
            signal.raise_signal(signal.SIGINT)


def test_what_one_process_began_three_on_two_machines_finish(brief, host, torchrun, tmp_path):
    """`--nnodes 2` on the loopback: a torchrun with two processes and one with one."""
    recipe, one = brief
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        Run(recipes.load(recipe, host=host), folder, observers=[Stops()]).execute()
    meet = f"127.0.0.1:{free_port()}"
    both = [
        torchrun(
            "--nnodes", 2, "--nproc-per-node", processes, "--rdzv-backend", "c10d", "--rdzv-endpoint", meet,
            "--rdzv-id", "brief", "-m", "hpf", "run", recipe, "--out", folder, "--resume",
        )
        for processes in (2, 1)
    ]  # fmt: skip
    said = [launched.communicate(timeout=200) for launched in both]
    assert [launched.returncode for launched in both] == [0, 0], said
    assert sum(out.count("after") for out, _ in said) == 1, "one process shows the table"
    alike(one, folder)
