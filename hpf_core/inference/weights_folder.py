"""Writes networks as folders of weights for model hubs: `weights.safetensors`, `config.json` and the model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpf_core.errors import DataError, InputError
from hpf_core.files.cache import write_atomic
from hpf_core.files.hub import FILES
from hpf_core.inference.hand_network import HandNetwork
from hpf_core.runs import checkpoint
from hpf_core.runs.documents import read_summary
from hpf_core.runs.weights import config_text


def write_weights_folder(network: HandNetwork, folder: Path) -> list[str]:
    """Write a network as a folder for `load_network` and `init:`. Returns the files' names.

    The weights are the last file that appears: a folder with weights is complete.

    Raises:
        InputError: the network is an ONNX file.
        RunError: the folder isn't writable.
    """
    if network.backbone is None:
        raise InputError(f"{network.source} is an ONNX file: give the run or the weights that it was made from.")
    about = {**network.about, "ray_aligned": network.ray_aligned}
    write_atomic(folder / FILES[2], lambda temporary: _write(temporary, _card(network)))
    write_atomic(folder / FILES[1], lambda temporary: _write(temporary, config_text(about)))
    checkpoint.save(folder / FILES[0], checkpoint.model_tensors(network.backbone), about)
    return list(FILES)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


FRONT_MATTER = """---
license: mit
library_name: hpf
pipeline_tag: keypoint-detection
tags:
- hand-pose-estimation
- depth
---
"""
"""What a hub reads at the start of a model card."""


def _card(network: HandNetwork) -> str:
    about, grid = network.about, network.grid
    backbone = about.get("backbone")
    options = ", ".join(f"{name}: {value}" for name, value in backbone.items()) if isinstance(backbone, dict) else ""
    step = ", ".join(str(about.get(name, "unknown")) for name in ("recipe", "stage", "step"))
    axis = "along the ray through its centre" if network.ray_aligned else "along the camera's axis"
    return f"""{FRONT_MATTER}
# A hand pose network

3D joints of a right hand from a depth image (left hands by mirroring), made with HPF (hand pose by fitting).

| | |
| --- | --- |
| recipe, stage, step | {step} |
| network | {options} |
| input | {grid.size} x {grid.size} pixels over a cube of {grid.cube_mm:g} mm, depth in mm from its centre, {axis} |
| output | {len(network.hand.names)} points of the hand model, mm |
| hand model | {about.get("hand", "unknown")} |

Use it:

```sh
hpf predict depth.png --K fx,fy,cx,cy --weights THIS_FOLDER
```

## Training data and errors

{_measured(Path(network.source))}
## Licence and limits

The licence above is HPF's own. Set it to what holds for your training data. Say here on which data, sensors and hands
the network was not tested.
"""


def _measured(run: Path) -> str:
    """The training data and errors of a run; for other weights, a request to write them."""
    try:
        evaluations: list[dict[str, Any]] = read_summary(run)["evaluation"] if run.is_dir() else []
    except (DataError, InputError):
        evaluations = []
    if not evaluations:
        return "Say here what the network was trained on, and what errors you measured. HPF measured none.\n"
    rows = [
        f"| {entry['after']} | {entry['data']}{' (simulated)' if entry['simulated'] else ''}, {entry['split']} "
        f"| {entry['frames']:,} | {entry['joints']} | {entry['mean_error_mm']:.2f} | {entry['median_error_mm']:.2f} |"
        for entry in evaluations
    ]
    head = ("| after stage | data | frames | joints | mean error, mm | median, mm |", "|" + " --- |" * 6)
    return "\n".join(("The run measured these errors; the weights are those of its last stage.\n", *head, *rows, ""))
