"""Device and shape errors of a GPU run, seen without a GPU: its code with fake tensors on `cuda` (`fake_cuda/`)."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent / "fake_cuda"
CUDA = ["cuda:0"]
STEPS = ("pretrain", "fit", "fit, other options")

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("g++") is None or torch.version.cuda is not None,
    reason="needs Linux, g++ and a build of PyTorch for CPUs",
)


@pytest.fixture(scope="module")
def walk(tmp_path_factory, cache):
    """What `walk.py` saw."""
    folder = tmp_path_factory.mktemp("fake")
    torch_folder = Path(torch.__file__).parent
    library = folder / "fake_cuda.so"
    command = ["g++", "-std=c++20", "-O0", "-shared", "-fPIC", f"-I{torch_folder / 'include'}"]
    command += [str(HERE / "fake_cuda.cpp"), "-o", str(library), f"-L{torch_folder / 'lib'}", "-lc10", "-ltorch_cpu"]
    subprocess.run(command, check=True, timeout=120)
    from .conftest import TINY

    recipe = folder / "tiny.yaml"
    recipe.write_text(TINY)
    done = subprocess.run(
        [sys.executable, str(HERE / "walk.py"), str(library), str(recipe)],
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "HPF_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_walk_notices_two_devices_and_values_that_the_host_reads(walk):
    assert walk["seen"] == {
        "two devices": "FakeTensorDeviceMismatchError",
        "item": "DataDependentOutputException",
        "truth": "DataDependentOutputException",
        "mask": "DynamicOutputShapeException",
    }


@pytest.mark.parametrize("name", STEPS)
def test_a_step_stays_on_the_device(walk, name):
    """Samples, network, terms, gradients, their norm and the optimiser."""
    assert walk[name]["devices"] == CUDA
    assert walk[name]["work"] > 500


@pytest.mark.parametrize("name", STEPS)
def test_the_next_batch_is_read_while_the_device_works(walk, name):
    """From the second step on, the host never waits. So it reads, pins and copies a batch while earlier work runs."""
    second = walk[name]["steps"][1]
    assert not [event for event in second if event.startswith("wait")]
    copies = second.count("copy")
    assert second == ["copy"] * copies + ["work"], "all copies come before the step's first operation"
    assert bool(copies) == (name != "pretrain"), "synthetic samples are drawn on the device"
    assert walk[name]["pinned"] == 2 * copies, "a copy from pageable memory would wait"


def test_evaluation_predicts_on_the_device(walk):
    assert walk["predict"]["devices"] == CUDA
    assert walk["predict"]["shape"] == [5, 41, 3]
