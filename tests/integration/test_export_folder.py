"""`hpf export RUN FOLDER --folder`: the card has the run's errors, and the folder is a start for another run."""

from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.inference.build import build_parts, load_init
from hpf_core.inference.hand_network import load_network

from .conftest import same_tensors


def test_a_runs_weights_with_their_card(whole, load, tmp_path):
    run, summary = whole
    result = CliRunner().invoke(app, ["export", str(run), str(tmp_path / "hand"), "--folder"])
    assert result.exit_code == 0, result.output
    card = (tmp_path / "hand" / "README.md").read_text()
    for entry in summary["evaluation"]:
        errors = f"{entry['mean_error_mm']:.2f} | {entry['median_error_mm']:.2f} |"
        assert f"| {entry['after']} | simulated (simulated), test | 4 | 14 | {errors}" in card
    assert same_tensors(run / "weights.safetensors", tmp_path / "hand" / "weights.safetensors")
    assert load_network(tmp_path / "hand").grid.size == 32
    resolved = load(sets=[f"init={tmp_path / 'hand'}"])
    load_init(resolved, build_parts(resolved))
