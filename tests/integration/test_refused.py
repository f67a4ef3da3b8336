"""What is wrong with the input is found before any work starts, and leaves nothing behind."""

import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core import recipe as recipes
from hpf_core.engine.run import Run
from hpf_core.engine.train import StageTrainer
from hpf_core.errors import DataError, InputError, PluginError
from hpf_core.inference.build import Parts

from .conftest import TINY


@pytest.fixture
def untouched(tmp_path, monkeypatch):
    """A folder that isn't there, neither before nor after, while nothing is prepared or trained."""
    for where, what in ((Parts, "prepare_data"), (Parts, "prepare_terms"), (StageTrainer, "step")):
        monkeypatch.setattr(where, what, lambda *_, what=what: pytest.fail(f"{what} was called"))
    yield tmp_path / "run"
    assert not (tmp_path / "run").exists()


def test_weights_to_start_from(load, untouched, tmp_path):
    (tmp_path / "w.safetensors").write_text("no weights")
    with pytest.raises(DataError, match=r"w\.safetensors: not a weights file"):
        Run(load(sets=[f"init={tmp_path / 'w.safetensors'}"]), untouched).execute()
    with pytest.raises(InputError, match=r"of the recipe's network: hourglass48 was trained with backbone\.width 48"):
        Run(load(sets=["init=shipped"]), untouched).execute()


@pytest.mark.parametrize("device", ["meta", "quantum", "cuda:99"])
def test_devices(load, untouched, device):
    with pytest.raises(InputError, match=rf"device '{device}' can't be used.*This machine has: cpu"):
        Run(load(sets=[f"runtime.device={device}"]), untouched).execute()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.real={use: synthetic}", "generates labelled samples; it belongs under data.synthetic"),
        ("data.synthetic={use: simulated}", "holds real, unlabelled frames; it belongs under data.real"),
    ],
)
def test_a_dataset_of_the_other_kind(load, untouched, change, message):
    with pytest.raises(PluginError, match=message):
        Run(load(sets=[change]), untouched).execute()


@pytest.mark.parametrize("name", ["init", "Init"])
def test_a_stage_called_init(tmp_path, host, untouched, name):
    (tmp_path / "init.yaml").write_text(TINY.replace("pretrain:", f"{name}:"))
    with pytest.raises(InputError, match=f"can't be called '{name}'"):
        Run(recipes.load(tmp_path / "init.yaml", host=host), untouched).execute()


def test_folders_that_do_not_fit(whole, load, tmp_path, untouched):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="isn't empty: give"):
        Run(load(), tmp_path / "full").execute()
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    with pytest.raises(InputError, match="isn't empty: add --resume"):
        Run(load(), whole[0]).execute()
    with pytest.raises(InputError, match="no run to resume"):
        Run(load(), tmp_path / "none", resume=True).execute()
    with pytest.raises(InputError, match=r"another recipe.*they differ in stages"):
        Run(load(sets=["stages.fit.lr=0.5"]), whole[0], resume=True).execute()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        Run(load(), tmp_path / "file").execute()
    with pytest.raises(InputError, match=r"Can't use the folder .*file.run.*Not a directory"):
        Run(load(), tmp_path / "file" / "run").execute()
    with pytest.raises(InputError, match="too long"):
        Run(load(), tmp_path / ("x" * 300)).execute()


# ------------------------------------------------------------------------- what only the prepared data can tell


@pytest.fixture
def untrained(tmp_path, monkeypatch):
    monkeypatch.setattr(StageTrainer, "step", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(Parts, "prepare_terms", lambda *_: pytest.fail("a prior was trained"))
    yield tmp_path / "run"
    assert not (tmp_path / "run").exists()


def test_an_unknown_split(load, untrained):
    with pytest.raises(DataError, match=r"no split 'tset'\. Did you mean 'test'"):
        Run(load(sets=["evaluate.split=tset"]), untrained).execute()


def test_a_stage_that_draws_from_an_empty_split(load, untrained, monkeypatch):
    from hpf_core.data.captures import Capture

    monkeypatch.setattr(Capture, "splits", lambda self: {"test": 4})
    with pytest.raises(DataError, match=r"stage 'fit' draws real frames.*'train'.*test \(4\)"):
        Run(load(), untrained).execute()


def test_labels_that_are_missing(load, untrained, monkeypatch):
    from hpf_core.data.captures import Capture

    def missing(self, split):
        raise DataError("joint_data.mat isn't there")

    monkeypatch.setattr(Capture, "labels", missing)
    with pytest.raises(DataError, match="joint_data"):
        Run(load(), untrained).execute()


def test_a_hand_without_the_evaluated_joints(load, untrained, monkeypatch):
    from hpf_plugins.hands.spheres41 import Spheres41

    made = Spheres41.__init__

    def other(self, config):
        made(self, config)
        self.annotations = {"nyu36": self.annotations["nyu36"]}

    monkeypatch.setattr(Spheres41, "__init__", other)
    with pytest.raises(DataError, match=r"evaluated on the joints of 'nyu14'.*Did you mean 'nyu36'"):
        Run(load(), untrained).execute()


# ----------------------------------------------------------------------------------------------------------- full disks


def run_with_small_files(size, *arguments):
    """`hpf run` in a process in which no file can grow beyond so many bytes, as on a full disk.

    In a process of its own: the limit would cut off this one's log as well.
    """
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
from hpf_cli.main import main
main()
"""
    command = [sys.executable, "-c", code, "run", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_disk_that_is_full_from_the_start(tiny, tmp_path, whole):
    done = run_with_small_files(1000, tiny, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert re.search(r"error: Can't write\s.*recipe\.yaml:\sFile\stoo\slarge", done.stderr, re.DOTALL)
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "run").iterdir())


def test_a_disk_that_fills_up(tiny, tmp_path, whole):
    """An error with the checkpoint's path, and no half of it stays. A checkpoint is three times the weights."""
    size = (whole[0] / "stages" / "init.safetensors").stat().st_size
    folder = tmp_path / "run"
    done = run_with_small_files(size * 3 // 2, tiny, "--out", folder)
    assert done.returncode == 1
    assert re.search(r"error: Can't write\s.*00000003\.safetensors:\sFile\stoo\slarge", done.stderr, re.DOTALL)
    assert "Traceback" not in done.stderr
    assert not list((folder / "checkpoints" / "pretrain").iterdir())
    assert (folder / "stages" / "init.safetensors").is_file()


# -------------------------------------------------------------------------------------------------- the command line


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_exit_codes_and_how_to_go_on(tiny, tmp_path, monkeypatch, whole):
    refused = invoke("run", tiny, "--out", tmp_path / "a", "--device", "quantum")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "error: device 'quantum' can't be used" in refused.stderr

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "prepare_terms", interrupted)
        stopped = invoke("run", tiny, "--out", tmp_path / "a b", "--json")
    assert (stopped.exit_code, stopped.stdout) == (130, "")
    assert f"hpf run '{tmp_path}/a b/recipe.yaml' --out '{tmp_path}/a b' --resume" in stopped.stderr

    done = invoke("run", whole[0] / "recipe.yaml", "--out", whole[0], "--resume")
    assert done.exit_code == 0
    assert "already complete" in done.stderr
    assert "fit compared with its control" in done.stdout
