"""A run on a capture of which images are damaged or missing: it goes on without them and says how many."""

import io
import json

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_cli.progress import Live
from hpf_core import recipe as recipes
from hpf_core.data.layouts import nyu
from hpf_core.data.prepared.capture_cache import CaptureWarning
from hpf_core.engine.run import Run
from hpf_core.grid import Grid
from hpf_core.inference.build import build_parts
from hpf_core.interfaces import Build
from hpf_core.simulation.simulate import CaptureConfig, simulate

RECIPE = """
name: damaged
backbone: {{use: hourglass, width: 8, stem: 8, depth: 1}}
grid: {{size: 32}}
data: {{real: {{use: nyu, root: "{root}", multi_view_share: 0.5, single_view_share: 0.5}}}}
stages: {{fit: {{draw: {{real: 3}}, steps: 2, terms: [m2d, d2m], lr: 1e-4}}}}
evaluate: {{data: real, split: test}}
log: {{every: 1, pictures_every: 100, checkpoint_every: 100, gradients_every: 100}}
"""


@pytest.mark.usefixtures("_no_figures")
@pytest.mark.filterwarnings("ignore::hpf_core.data.prepared.capture_cache.CaptureWarning")
def test_training_and_evaluation_go_on_without_them(host, tmp_path):
    root = tmp_path / "damaged"
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(root=root))
    simulate(root, build_hand(host), CaptureConfig(train=5, validation=1, test=4))
    nyu.image_path(root / "test", 2, 1).write_bytes(b"no image")
    nyu.image_path(root / "train", 0, 0).unlink()
    resolved = recipes.load(tmp_path / "recipe.yaml", host=host)
    parts = build_parts(resolved, tmp_path / "cache")
    with pytest.warns(CaptureWarning, match="1 of 4 frames"):
        parts.prepare_data()
    assert parts.real.splits() == {"train": 4, "validation": 1, "test": 3}
    # Half with three views and half with one are one batch: rows for what is there, and for nothing else.
    batch = parts.real.frames("train", np.arange(4))
    assert batch.present.sum(dim=1).tolist() == [3, 3, 1, 1]
    assert (len(batch.views.rows), len(batch.views.source)) == (3 + 3 + 1 + 1, 9 + 9 + 1 + 1)
    summary = Run(resolved, tmp_path / "run", cache=tmp_path / "cache").execute()
    (found,) = summary["evaluation"]
    assert (found["frames"], found["left_out"]) == (3, 1)
    told = json.loads((tmp_path / "run" / found["left_out_list"]).read_text())
    assert (told["split"], len(told["left_out"])) == ("test", 1)
    assert "depth_3_0000002.png is damaged" in told["left_out"][0]
    shown = CliRunner().invoke(app, ["eval", str(tmp_path / "run")])
    line = "nyu/test: 1 frame left out because of missing or damaged images; listed in "
    assert line + str(tmp_path / "run" / "left_out.json") in shown.stdout.replace("\n", "")
    (document,) = json.loads(CliRunner().invoke(app, ["eval", str(tmp_path / "run"), "--json"]).stdout)["evaluation"]
    assert (document["left_out"], document["left_out_list"]) == (1, str(tmp_path / "run" / "left_out.json"))
    console = Console(record=True, width=200, force_terminal=False, file=io.StringIO())
    Live(console).evaluated("fit", found)
    assert "on 3 frames of nyu/test (simulated); 1 left out because" in console.export_text()


def build_hand(host):
    spec = host.get("hand", "spheres41").spec
    return spec.factory(spec.config(), Build(Grid(), 0, None))
