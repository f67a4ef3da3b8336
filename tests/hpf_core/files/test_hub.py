"""Weights on a model hub: pinned to a commit, compared with the hub's hash, kept, and read again without a network.

A module of the test takes the place of huggingface_hub, so that the tests need no package. Where the package is
installed, it fetches from a hub on this machine.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hub import COMMIT, local_hub

from hpf_core import recipe as recipes
from hpf_core.errors import DataError, InputError
from hpf_core.files import hub
from hpf_core.inference.build import build_parts, load_init
from hpf_core.inference.hand_network import load_network
from hpf_core.inference.weights_folder import write_weights_folder
from hpf_core.plugins import PluginHost
from hpf_core.recipe import InvalidRecipe

PLACE = f"hf://hands/trial@{COMMIT}"
RECIPE = """
name: trial
backbone: {use: hourglass, width: 48, stem: 16, depth: 3, growth: 64}
data: {synthetic: {use: synthetic}}
stages: {pretrain: {draw: {synthetic: 4}, steps: 1, terms: [supervised]}}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("weights")
    write_weights_folder(load_network("shipped"), folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path / "cache"))


class StandIn:
    """As much of huggingface_hub as HPF calls."""

    def __init__(self, files: dict[str, bytes], sha256: str | None = None) -> None:
        self.files, self.calls = files, []
        self.sha256 = sha256 or hashlib.sha256(files["weights.safetensors"]).hexdigest()

    def hf_hub_download(self, repository: str, name: str, *, revision: str, local_dir: Path) -> str:
        self.calls.append((repository, name, revision))
        if name not in self.files:
            raise OSError(f"404: no {name} in {repository}\nand more lines")
        local_dir.mkdir(exist_ok=True)
        (local_dir / name).write_bytes(self.files[name])
        return str(local_dir / name)

    def HfApi(self) -> StandIn:
        return self

    def get_paths_info(self, repository: str, paths: list[str], *, revision: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(path=path, lfs=SimpleNamespace(sha256=self.sha256)) for path in paths]

    def model_info(self, repository: str, *, revision: str | None) -> SimpleNamespace:
        assert revision in (None, "main")
        return SimpleNamespace(sha=COMMIT)


@pytest.fixture
def stand_in(files, monkeypatch) -> StandIn:
    made = StandIn(files)
    monkeypatch.setitem(sys.modules, "huggingface_hub", made)  # type: ignore[arg-type]
    return made


def test_a_network_is_fetched_once(stand_in, monkeypatch):
    maps = torch.linspace(-150, 150, 64 * 64).view(1, 64, 64)
    points = load_network("shipped").estimate(maps).points
    assert torch.equal(load_network(PLACE).estimate(maps).points, points)
    assert stand_in.calls == [("hands/trial", name, COMMIT) for name in hub.FILES]
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as if it were not installed
    assert torch.equal(load_network(PLACE).estimate(maps).points, points)
    place = hub.parse_hub(PLACE).folder
    assert sorted(path.name for path in place.parent.iterdir()) == [place.name]  # nothing temporary is left


def test_a_recipe_begins_with_it(stand_in, tmp_path):
    (tmp_path / "trial.yaml").write_text(f"init: {PLACE}\n{RECIPE}")
    resolved = recipes.load(tmp_path / "trial.yaml", host=PluginHost.load())
    assert resolved.recipe.init == PLACE
    assert stand_in.calls == []  # to read a recipe fetches nothing
    parts = build_parts(resolved)
    load_init(resolved, parts)
    wanted = load_network("shipped").backbone.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in parts.backbone.state_dict().items())
    (tmp_path / "wrong.yaml").write_text(f"init: hf://hands\n{RECIPE}")
    with pytest.raises(InvalidRecipe, match=r"isn't a place on a model hub: hf://OWNER/NAME@COMMIT"):
        recipes.load(tmp_path / "wrong.yaml", host=PluginHost.load())


@pytest.mark.parametrize("text", ["hf://hands/trial", "hf://hands/trial@main"])
def test_a_branch_is_refused_with_its_commit(stand_in, text, monkeypatch):
    with pytest.raises(InputError, match=f"can change. At the moment it is {PLACE}"):
        load_network(text)
    assert stand_in.calls == []
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="the 40 digits of a commit"):
        load_network(text)


@pytest.mark.parametrize("text", ["hf://", "hf://hands", "hf://a/b/c", "hf://a/b@", "hf://a/b@x y"])
def test_what_is_no_place_is_refused(text):
    with pytest.raises(InputError, match="hf://OWNER/NAME@COMMIT was expected"):
        load_network(text)


def test_without_the_package_a_message_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        InputError, match=r"huggingface_hub, which isn't installed: pip install 'hand-pose-fitting\[hub\]'"
    ):
        load_network(PLACE)


def test_other_weights_than_the_hubs_are_refused(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", StandIn(files, sha256="0" * 64))  # type: ignore[misc]
    with pytest.raises(DataError, match="but the hub's is 0000"):
        load_network(PLACE)
    assert not hub.parse_hub(PLACE).folder.exists()


def test_a_repository_without_a_file_is_refused(files, monkeypatch):
    some = {name: content for name, content in files.items() if name != "config.json"}
    monkeypatch.setitem(sys.modules, "huggingface_hub", StandIn(some))  # type: ignore[misc]
    with pytest.raises(InputError, match=r"can't be fetched: 404: no config.json in hands/trial\. A folder"):
        load_network(PLACE)
    assert not hub.parse_hub(PLACE).folder.exists()


def test_kept_files_that_were_changed_are_refused(stand_in):
    folder = hub.fetch_weights(PLACE)
    (folder / "config.json").write_text("{}")
    with pytest.raises(DataError, match=r"config\.json was changed after its download\. Delete this folder"):
        load_network(PLACE)
    (folder / "config.json").unlink()
    with pytest.raises(DataError, match="is damaged"):
        load_network(PLACE)
    shutil.rmtree(folder)
    assert load_network(PLACE).grid.size == 64


def test_the_package_itself_fetches_from_a_hub(files, tmp_path):
    """With huggingface_hub as it is installed, in a process of its own, and a server that answers like the hub."""
    pytest.importorskip("huggingface_hub")
    code = """
import sys
from hpf_core.errors import HPFError
from hpf_core.inference.hand_network import load_network
try:
    print("size", load_network(sys.argv[1]).grid.size)
except HPFError as error:
    print(type(error).__name__, error)
"""

    def said(url: str, place: str) -> str:
        changed = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
        command = [sys.executable, "-c", code, place]
        done = subprocess.run(
            command, env=os.environ | changed, capture_output=True, text=True, check=True, timeout=200
        )
        return done.stdout

    with local_hub(files) as served:
        assert f"At the moment it is {PLACE}" in said(served.url, "hf://hands/trial@main")
        assert said(served.url, PLACE) == "size 64\n"
        assert any(path.endswith(f"{COMMIT}/weights.safetensors") for path in served.requests)
        asked = len(served.requests)
        assert said(served.url, PLACE) == "size 64\n"
        assert len(served.requests) == asked  # the second time from the cache
        shutil.rmtree(hub.parse_hub(PLACE).folder)
        served.said["weights.safetensors"] = "1" * 64
        assert "but the hub's is 1111" in said(served.url, PLACE)
        assert "can't be fetched" in said(served.url, f"hf://hands/other@{COMMIT}")
