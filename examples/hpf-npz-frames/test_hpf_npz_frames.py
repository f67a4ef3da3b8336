"""The contract of a dataset, with and without labels, and the geometry of the crops against known places."""

import json
import os
import re
import tempfile
from pathlib import Path

import hpf_npz_frames
import numpy as np
import pytest
import torch
from hpf_npz_frames import SPEC, NpzFrames, NpzFramesConfig

import hpf
from hpf.plugin import Build, DataError, Grid, HPFError, PluginHost, State
from hpf.testing import contract

HERE = Path(__file__).parent
WIDTH, HEIGHT, F = 160, 120, 150.0
ASIDE_MM = 60.0  # the second camera is this far to the right of the first one
RADIUS_MM = 45.0
JOINTS = 14


def place(frame: int) -> np.ndarray:
    """The disc's middle, mm in the rig's frame."""
    return np.array([-20.0 + 8 * frame, 10.0, 520.0 + 5 * frame])


def image(middle: np.ndarray) -> np.ndarray:
    """A disc that faces the camera, and nothing behind it."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    x, y = (u - WIDTH / 2) * middle[2] / F, (v - HEIGHT / 2) * middle[2] / F
    seen = np.hypot(x - middle[0], y - middle[1]) < RADIUS_MM
    return np.where(seen, middle[2], 0).astype(np.uint16)


def write(root: Path, labelled: tuple[str, ...]) -> Path:
    camera = {"width": WIDTH, "height": HEIGHT, "fx": F, "fy": F, "cx": WIDTH / 2, "cy": HEIGHT / 2}
    other = np.eye(4)
    other[0, 3] = ASIDE_MM
    cameras = [camera | {"to_rig": pose.tolist()} for pose in (np.eye(4), other)]
    root.mkdir(parents=True)
    (root / "cameras.json").write_text(json.dumps({"cameras": cameras}))
    for split, count in (("train", 4), ("test", 3)):
        (root / split / "walk").mkdir(parents=True)
        for frame in range(count):
            middle = place(frame)
            depth = np.stack([image(middle), image(middle - [ASIDE_MM, 0, 0])])
            if (split, frame) == ("train", 1):
                depth[1] = 0  # a missing view
            joints = {"joints": middle + np.linspace(-20, 20, JOINTS)[:, None]} if split in labelled else {}
            np.savez(root / split / "walk" / f"{frame:06d}.npz", depth=depth, time=frame / 30, **joints)
    return root


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("npz")
    return {
        name: str(write(folder / name, labelled)) for name, labelled in (("labelled", ("test",)), ("unlabelled", ()))
    }


def with_labels() -> dict[str, str]:
    return {"root": str(write(Path(tempfile.mkdtemp()) / "capture", ("test",))), "annotation": "nyu14"}


def without_labels() -> dict[str, str]:
    return {"root": str(write(Path(tempfile.mkdtemp()) / "capture", ()))}


test_contract = contract(SPEC, with_labels)
test_contract_without_labels = contract(SPEC, without_labels)


def dataset(root: str | Path, cache: Path, annotation: str | None = None) -> NpzFrames:
    spec = PluginHost.load(only=[]).get("hand", "spheres41").spec
    build = Build(grid=Grid(size=32), seed=0, cache=cache)
    return NpzFrames(NpzFramesConfig(root=str(root), annotation=annotation), build.grid,
                     spec.factory(spec.config(), build), cache)  # fmt: skip


def test_crops_lie_where_the_disc_is(roots: dict[str, str], tmp_path: Path) -> None:
    """The middle of the disc, taken from a crop to the rig, is its place, in both views."""
    data = dataset(roots["labelled"], tmp_path, "nyu14")
    frames = data.frames("test", np.arange(3))
    for frame in range(3):
        for view in range(2):
            hit = frames.state[frame, view] == int(State.HIT)
            v, u = (axis.double().mean() for axis in torch.nonzero(hit, as_tuple=True))
            step = frames.cube_mm / 32
            x, y = (u + 0.5) * step - frames.cube_mm / 2, (v + 0.5) * step - frames.cube_mm / 2
            z = frames.depth[frame, view][hit].double().mean()
            found = frames.to_rig[frame, view].double() @ torch.stack([x, y, z, torch.ones(())])
            assert np.allclose(found[:3], place(frame), atol=2.5)  # the grid's step is 9.4 mm, an image's pixel 3.5
            assert hit.sum() * step**2 == pytest.approx(np.pi * RADIUS_MM**2, rel=0.1)
    labels = data.labels("test")
    assert labels is not None
    assert np.allclose(labels.joints.mean(axis=1), [place(frame) for frame in range(3)])
    assert data.labels("train") is None, "a split without joints has no labels"


def test_a_missing_view_is_marked(roots: dict[str, str], tmp_path: Path) -> None:
    frames = dataset(roots["unlabelled"], tmp_path).frames("train", np.arange(4))
    assert frames.present.tolist() == [[True, True], [True, False], [True, True], [True, True]]
    assert frames.views.counts == (2, 1, 2, 2)


def test_crops_are_read_from_the_cache_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = write(tmp_path / "capture", ()), tmp_path / "cache"
    first = dataset(root, cache).frames("train", np.arange(4))
    with monkeypatch.context() as patched:
        patched.setattr("hpf_npz_frames.read_frame", lambda *_: pytest.fail("an image is read again"))
        again = dataset(root, cache).frames("train", np.arange(4))
    assert torch.equal(first.depth, again.depth)
    changed = root / "train" / "walk" / "000000.npz"
    np.savez(changed, depth=np.stack([image(place(9))] * 2), time=0.0)
    os.utime(changed, ns=(1, 1))
    other = dataset(root, cache).frames("train", np.arange(4))
    assert not torch.equal(first.to_rig, other.to_rig)


def test_damaged_frames_are_left_out_with_a_reason(tmp_path: Path) -> None:
    root = write(tmp_path / "capture", ())
    (root / "train" / "walk" / "000002.npz").write_bytes(b"PK\x03\x04 damaged")
    np.savez(root / "train" / "walk" / "000003.npz", depth=np.zeros((2, HEIGHT, WIDTH), np.uint16), time=0.0)
    data = dataset(root, tmp_path / "cache")
    assert data.splits() == {"train": 2, "test": 3}
    damaged, empty = data.left_out("train")
    assert "000002.npz can't be read" in damaged
    assert empty.endswith("000003.npz: no view has a surface near the camera")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: (root / "cameras.json").unlink(), "cameras.json: expected cameras with width"),
        (lambda root: (root / "cameras.json").write_text('{"cameras": [{"fx": 1}]}'), "expected cameras with width"),
        (lambda root: [path.unlink() for path in root.rglob("*.npz")], "has no frames such as train/SEQUENCE"),
    ],
)
def test_a_wrong_folder_is_named(change, said: str, tmp_path: Path) -> None:
    root = write(tmp_path / "capture", ())
    change(root)
    with pytest.raises(DataError, match=said):
        dataset(root, tmp_path)


def test_an_unknown_annotation_is_named(roots: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"annotation is 'nyu15'\. Did you mean 'nyu14'"):
        dataset(roots["labelled"], tmp_path, "nyu15")


RECIPE = """
name: tiny
backbone: {{use: hourglass, width: 8, stem: 8, depth: 1}}
grid: {{size: 32}}
stages:
  fit: {{draw: {{real: 2}}, steps: 2, terms: [m2d, d2m], lr: 1e-3}}
log: {{every: 1}}
{text}"""


def test_the_recipe_of_the_readme_trains_without_labels(
    roots: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", (HERE / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "recording").symlink_to(roots["unlabelled"])
    (tmp_path / "tiny.yaml").write_text(RECIPE.format(text=text))
    monkeypatch.chdir(tmp_path)
    host = PluginHost.load(only=[])
    host.add(hpf_npz_frames, "hpf-npz-frames", "0.1.0")
    run = hpf.run(hpf.load_recipe("tiny.yaml", host=host), tmp_path / "run", cache=tmp_path / "cache")
    assert run.summary["evaluation"] == []
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2]
    assert all(step["raw"]["m2d"] > 0 for step in steps)


def test_with_evaluation_it_says_that_labels_are_missing(roots: dict[str, str], tmp_path: Path) -> None:
    text = f"data: {{real: {{use: npz_frames, root: {roots['unlabelled']}}}}}\nevaluate: {{split: test}}"
    (tmp_path / "tiny.yaml").write_text(RECIPE.format(text=text))
    host = PluginHost.load(only=[])
    host.add(hpf_npz_frames, "hpf-npz-frames", "0.1.0")
    with pytest.raises(HPFError, match="evaluate: null"):
        hpf.run(hpf.load_recipe(tmp_path / "tiny.yaml", host=host), tmp_path / "run", cache=tmp_path / "cache")
