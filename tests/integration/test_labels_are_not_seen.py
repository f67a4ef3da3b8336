"""Labels serve calibration, centring and evaluation; with those fixed, no label reaches the weights."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from hpf_core import recipe as recipes
from hpf_core.engine.run import Run
from hpf_core.simulation.simulate import CaptureConfig, simulate

from .conftest import TINY, same_tensors

pytestmark = pytest.mark.usefixtures("_no_figures")


@pytest.fixture
def capture(tmp_path, load):
    """A small simulated capture in NYU's raw layout."""
    from hpf_core.inference.build import build_parts

    root = tmp_path / "raw"
    simulate(root, build_parts(load(stages=["pretrain"])).hand, CaptureConfig(train=6, validation=1, test=4))
    return root


@pytest.fixture
def make_nyu(tmp_path, host):
    """Makes the tiny recipe on a capture through the `nyu` dataset."""

    def made(root):
        text = TINY.replace("{use: simulated, train: 6, validation: 2, test: 4}", f"{{use: nyu, root: '{root}'}}")
        path = tmp_path / "nyu.yaml"
        path.write_text(text)

        def loaded(**changes):
            return recipes.load(path, host=host, **changes)

        return loaded

    return made


@pytest.fixture
def nyu(make_nyu, capture):
    """The tiny recipe on that capture."""
    return make_nyu(capture)


def spoil(path, seed):
    """Other labels in the same file."""
    content = scipy.io.loadmat(path)
    rng = np.random.default_rng(seed)
    for key in ("joint_xyz", "joint_uvd"):
        content[key] = content[key] + rng.normal(0, 50, content[key].shape)
    scipy.io.savemat(path, {k: v for k, v in content.items() if not k.startswith("__")})


@pytest.mark.parametrize("centre", ["annotated", "refined"])
def test_weights_are_bit_identical_with_other_labels_and_without_any(nyu, capture, tmp_path, centre):
    cache, centred = tmp_path / "cache", [f"data.real.centre={centre}"]
    first = Run(nyu(sets=centred), tmp_path / "first", cache=cache).execute()
    assert first["evaluation"][-1]["frames"] == 4
    assert first["evaluation"][-1]["centre"] == centre

    for split in ("train", "test"):
        spoil(capture / split / "joint_data.mat", seed=1)
    Run(nyu(sets=[*centred, "evaluate=null"]), tmp_path / "spoilt", cache=cache).execute()

    for split in ("train", "test"):
        (capture / split / "joint_data.mat").unlink()
    Run(nyu(sets=[*centred, "evaluate=null"]), tmp_path / "bare", cache=cache).execute()

    kept = ["weights.safetensors"] + (["centres/fit.safetensors"] if centre == "refined" else [])
    for other in ("spoilt", "bare"):
        for file in kept:
            assert same_tensors(tmp_path / "first" / file, tmp_path / other / file)


def test_refined_crops_need_no_label_but_for_the_calibration(nyu, capture, tmp_path):
    """Not even their start: with the calibration alone in the cache, other labels give the same crops and weights."""
    cache, sets = tmp_path / "cache", ["data.real.centre=refined", "evaluate=null"]
    Run(nyu(sets=sets), tmp_path / "first", cache=cache).execute()
    for path in cache.glob("captures/*/*/*"):
        if path.name != "calibration.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for split in ("train", "test"):
        (capture / split / "joint_data.mat").unlink()
    Run(nyu(sets=sets), tmp_path / "bare", cache=cache).execute()
    for file in ("weights.safetensors", "centres/fit.safetensors"):
        assert same_tensors(tmp_path / "first" / file, tmp_path / "bare" / file)


@pytest.mark.parametrize("recipe", ["quickstart", "simulated"])
def test_the_quickstart_reads_no_label_before_its_evaluation(recipe, host):
    path = Path(__file__).parents[2] / "recipes" / f"{recipe}.yaml"
    real = recipes.load(path, host=host).real.config
    assert (real.calibration, real.centre) == ("hand", "refined")


def test_paper_and_its_like_keep_the_annotation(host, monkeypatch):
    monkeypatch.setenv("HPF_NYU_ROOT", "nyu")
    for recipe in ("paper", "official", "as_printed"):
        path = Path(__file__).parents[2] / "recipes" / f"{recipe}.yaml"
        assert recipes.load(path, host=host).real.config.calibration == "annotated"


def test_with_calibration_from_hands_no_label_is_needed_from_an_empty_cache_on(tmp_path, load, make_nyu):
    """Unlike above, no run before has left anything in the cache: not even the calibration has seen a label.

    Training reads these files alone, as the tests above show.
    """
    from hpf_core.inference.build import build_parts

    root = tmp_path / "raw"
    config = CaptureConfig(train=15, validation=1, test=1, views=2)
    simulate(root, build_parts(load(stages=["pretrain"])).hand, config)
    sets = ["data.real.centre=refined", "data.real.calibration=hand", "data.real.views=[1,2]"]
    resolved = make_nyu(root)(sets=sets)

    def prepared(name):
        data = build_parts(resolved, tmp_path / name).real
        data.prepare(jobs=1)
        assert data.calibration("train").method == "hand"
        files = {path.relative_to(tmp_path / name): path for path in sorted((tmp_path / name).rglob("*"))}
        return {
            str(path): file.read_bytes()
            for path, file in files.items()
            if file.suffix in (".npy", ".bin") or file.name == "calibration.json"
        }

    labelled = prepared("labelled")
    assert {Path(name).name for name in labelled} >= {"calibration.json", "centres-start.npy", "centres.npy"}
    for split in ("train", "validation", "test"):
        (root / split / "joint_data.mat").unlink()
    assert prepared("bare") == labelled


def test_what_the_test_relies_on_labels_do_matter_to_evaluation(nyu, capture, tmp_path):
    """The control of the test above: evaluation does read them, so spoiling them is seen there."""
    cache = tmp_path / "cache"
    before = Run(nyu(), tmp_path / "first", cache=cache).execute()["evaluation"][-1]["mean_error_mm"]
    spoil(capture / "test" / "joint_data.mat", seed=2)
    after = Run(nyu(), tmp_path / "second", cache=cache).execute()["evaluation"][-1]["mean_error_mm"]
    assert after > before + 20
    shutil.rmtree(cache)


def test_real_frames_have_no_field_for_a_label():
    import dataclasses

    from hpf_core.frames import RealFrames

    fields = {f.name for f in dataclasses.fields(RealFrames)}
    assert fields == {
        "depth", "state", "present", "to_rig", "views", "sequence", "time", "index", "cube_mm",
        "radius_scale",  # measured on depth maps
    }  # fmt: skip


def test_nyu_without_its_data_says_what_to_do(tmp_path, host, monkeypatch):
    monkeypatch.delenv("HPF_NYU_ROOT", raising=False)
    from hpf_core.errors import DataError

    paper = Path(__file__).parents[2] / "recipes" / "paper.yaml"
    out = tmp_path / "run"
    with pytest.raises(DataError, match=r"(?s)HPF_NYU_ROOT.*quickstart\.yaml"):
        Run(recipes.load(paper, host=host), out).execute()
    assert not out.exists()


def test_the_summary_is_plain_json(nyu, tmp_path):
    Run(nyu(stages=["pretrain"]), tmp_path / "run", cache=tmp_path / "cache").execute()
    document = json.loads((tmp_path / "run" / "summary.json").read_text())
    wanted = {"after", "data", "split", "centre", "joints", "frames", "mean_error_mm", "median_error_mm", "success"}
    wanted |= {"fingertip_error_mm", "per_joint_mm", "subjects"}
    assert wanted <= document["evaluation"][0].keys()
    assert document["evaluation"][0]["simulated"] is False or document["evaluation"][0]["data"] == "nyu"
