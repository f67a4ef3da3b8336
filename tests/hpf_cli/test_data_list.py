"""`hpf data list`."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from hpf_cli.main import app


def test_the_documents_fields() -> None:
    done = CliRunner().invoke(app, ["data", "list", "--json"])
    assert done.exit_code == 0, done.output
    found = {one["name"]: one for one in json.loads(done.stdout)["datasets"]}
    assert {"mvhand", "nyu", "icvl", "stb"} <= found.keys()
    assert "redistribution" in found["fpha"]["terms"]
    assert found["mvhand"]["terms"] == ""
    assert (found["mvhand"]["views"], found["mvhand"]["licence"]) == (4, "MIT")
    assert found["mvhand"]["checked"] == "made-up files only"
    assert found["nyu"]["licence"] == "CC-BY-4.0"


def test_each_dataset_can_be_prepared() -> None:
    done = CliRunner().invoke(app, ["data", "list"])
    assert "hpf data prepare mvhand" in done.stdout
    assert "hpf data prepare nyu" in done.stdout
