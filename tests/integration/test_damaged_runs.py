"""Documents and weights of a run, changed at random: every reader gives a result or an error with a message.

The seeds are fixed. What a mutant must never do is end a reader with anything but an `HPFError`, or reach a terminal
with control characters.
"""

import json
import random
import shutil
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.ablation.controls import differences, draws_real
from hpf_core.ablation.results import read_run as read_result
from hpf_core.errors import HPFError
from hpf_core.inference.build import build_parts
from hpf_core.report.material import read_run as read_material
from hpf_core.report.page import render
from hpf_core.runs import checkpoint
from hpf_core.runs.folder import RunFolder
from hpf_core.runs.lineage import Lineage

DOCUMENTS = ("summary.json", "run.json", "evaluation/fit.json", "metrics.jsonl", "recipe.yaml")
MUTANTS = 8  # of each document

VALUES = [None, True, -1, 0, 10**30, 1.5, 1e300, "", "x", "\x1b[31mred", "../..", "é" * 3000, [], [[]], {}, {"a": None}]
TEXTS = ["[" * 30_000, "{" * 30_000, "9" * 5000, "NaN", '"', "\x00", "\ufeff", "&a [*a]", "!!python/object:os.system x"]


def places(value, path=()):
    """The paths of all values in a document."""
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


def with_other_value(document, draw):
    """The document with one value replaced or removed."""
    path = draw.choice(list(places(document))[1:])
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    if draw.random() < 0.2:
        del parent[path[-1]]
    else:
        parent[path[-1]] = draw.choice(VALUES)
    return document


def mutant(text, name, draw):
    """Bytes of a document with something wrong in it, or not: some mutants are valid."""
    kind = draw.random()
    if kind < 0.7 and name.endswith(".json"):
        return json.dumps(with_other_value(json.loads(text), draw)).encode()
    if kind < 0.7 and name.endswith(".jsonl"):
        lines = text.splitlines()
        number = draw.randrange(len(lines))
        lines[number] = json.dumps(with_other_value(json.loads(lines[number]), draw))
        return "\n".join(lines).encode()
    if kind < 0.85:  # a value as YAML or JSON has it, or a piece of the text
        words = text.split(" ")
        words[draw.randrange(len(words))] = draw.choice([*TEXTS, *(json.dumps(value) for value in VALUES)])
        return " ".join(words).encode(errors="surrogatepass")
    data = bytearray(text.encode())
    if kind < 0.95:
        data[draw.randrange(len(data))] = draw.randrange(256)
        return bytes(data)
    return bytes(data[: draw.randrange(len(data))])


def refusal(call):
    """The message of the error that it raises for people, or None where it raises none."""
    try:
        call()
    except HPFError as error:
        return str(error)
    return None


def readers(folder, resolved):
    """All that reads a run's documents, cheap ones first."""

    def resume():
        RunFolder(folder).check(resolved, resume=True)
        ended = RunFolder(folder).ended()
        if ended is not None and ended.get("stages"):
            Lineage.of_summary(ended)
        RunFolder(folder).changes()
        for stage in ("pretrain", "fit", "control"):
            RunFolder(folder).evaluated(stage)

    return {
        "resume": resume,
        "ablate": lambda: (read_result(folder, 0), differences(folder, folder, "fit"), draws_real(folder, "fit")),
        "report": lambda: read_material(folder),
    }


@pytest.fixture
def copy(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.filterwarnings("ignore::hpf_core.errors.ReportWarning")
def test_documents(name, copy, load):
    """Read by a resume, an ablation, `hpf report` and `hpf eval`."""
    resolved, text = load(), (copy / name).read_text()
    refused = 0
    for seed in range(MUTANTS):
        data = mutant(text, name, random.Random(f"{name} {seed}"))
        (copy / name).write_bytes(data)
        for what, reader in readers(copy, resolved).items():
            said = refusal(reader)
            refused += said is not None
            assert said is None or str(copy) in said, (what, seed, data)
        if name == "summary.json":
            shown = CliRunner().invoke(app, ["eval", str(copy)])
            assert shown.exit_code in (0, 2), (seed, data, shown.output)
            assert "\x1b[31mred" not in shown.output
            refused += shown.exit_code == 2
    # A damaged run.json, evaluation or row of metrics is made again or left out, the others are refused.
    assert (refused > 0) == (name in ("summary.json", "recipe.yaml"))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_pages_of_damaged_runs(name, copy):
    """A page is made of what is left, or the recipe is named."""
    text = (copy / name).read_text()
    for seed in range(1000, 1003):
        (copy / name).write_bytes(mutant(text, name, random.Random(f"{name} {seed}")))
        pages = []
        said = refusal(lambda made=pages: made.append(render(read_material(copy))))
        assert said is None or (name == "recipe.yaml" and str(copy / name) in said)
        assert not any("\x1b" in page for page in pages)


def test_weights(copy, load, cache):
    """Changed bytes, cut files, other tensors, other descriptions: loaded bit for bit, or refused by name."""
    path = copy / "weights.safetensors"
    whole = path.read_bytes()
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}  # no longer mapped from the file
    network = build_parts(load(stages=["pretrain"]), cache).backbone
    header = int.from_bytes(whole[:8], "little")
    same = 0
    for seed in range(45):
        draw = random.Random(f"weights {seed}")
        data = bytearray(whole)
        if seed % 3 == 0:  # in the header or its length
            data[draw.randrange(8 + header)] = draw.randrange(256)
        elif seed % 3 == 1:
            data = data[: draw.randrange(len(data))] if seed % 2 else data
            data[draw.randrange(len(data) or 1) : 0] = b"" if seed % 2 else bytes([draw.randrange(256)])
        if seed % 3 < 2:
            path.write_bytes(data)
        else:
            changed, name = dict(tensors), draw.choice(list(tensors))
            kind = draw.choice([torch.int8, torch.float64, torch.float16, torch.bool])
            changed[name] = draw.choice(
                [changed[name].to(kind), changed[name] * torch.nan, changed[name][None], torch.zeros(0)]
            )
            save_file(changed, path, {"hpf": draw.choice([*TEXTS[:4], "7", "{}", '{"step": "x"}', '{"sha256": 3}'])})
        said = refusal(lambda: checkpoint.load_model(network, checkpoint.read(path), path))
        assert said is None or str(path) in said, seed
        if said is None:
            same += 1
            state = network.state_dict()
            assert all(torch.equal(state[k.removeprefix("model.")], v) for k, v in tensors.items())
    assert same < 15


def test_tensors_of_an_evaluation(copy):
    """Predictions and frames that were exchanged for something else: the report lacks them and says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(10):
            draw = random.Random(f"tensors {seed}")
            path = copy / draw.choice(["frames/fit.safetensors", "evaluation/fit.safetensors"])
            before = path.read_bytes()
            kept = checkpoint.read(path)
            changed, name = dict(kept.tensors), draw.choice(list(kept.tensors))
            value = changed[name]
            changed[name] = draw.choice([value[:0], value[None], value.to(torch.complex64), value.float() * torch.nan])
            about = dict(kept.about)
            if about and seed % 2:
                with_other_value(about, draw)
            checkpoint.save(path, changed, json.loads(json.dumps(about)))
            material = read_material(copy)
            assert "\x1b" not in render(material)
            path.write_bytes(before)
