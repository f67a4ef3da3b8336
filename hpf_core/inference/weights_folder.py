"""Weights in the format of model hubs: a folder of `weights.safetensors`, `config.json` and `README.md`, the model
card."""

from __future__ import annotations

import json
from pathlib import Path

from hpf_core.errors import InputError
from hpf_core.files.cache import write_atomic
from hpf_core.inference.hand_network import HandNetwork
from hpf_core.runs import checkpoint

FILES = ("weights.safetensors", "config.json", "README.md")


def write_weights_folder(network: HandNetwork, folder: Path) -> list[str]:
    """Write a network as a folder for `load_network` and `init:`. Returns the files' names.

    Raises:
        InputError: the network is an ONNX file.
        RunError: the folder isn't writable.
    """
    if network.backbone is None:
        raise InputError(f"{network.source} is an ONNX file: give the run or the weights that it was made from.")
    about = {**network.about, "ray_aligned": network.ray_aligned}
    checkpoint.save(folder / FILES[0], checkpoint.model_tensors(network.backbone), about)
    config = json.dumps({"format": "hpf-weights/1", **about}, indent=2, sort_keys=True) + "\n"
    write_atomic(folder / FILES[1], lambda temporary: _write(temporary, config))
    write_atomic(folder / FILES[2], lambda temporary: _write(temporary, _card(network)))
    return list(FILES)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _card(network: HandNetwork) -> str:
    about, grid = network.about, network.grid
    backbone = about.get("backbone")
    options = ", ".join(f"{name}: {value}" for name, value in backbone.items()) if isinstance(backbone, dict) else ""
    step = ", ".join(str(about.get(name, "unknown")) for name in ("recipe", "stage", "step"))
    axis = "along the ray through its centre" if network.ray_aligned else "along the camera's axis"
    return f"""---
license: mit
library_name: hpf
pipeline_tag: keypoint-detection
tags: [hand-pose, depth]
---

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

## Licence, training data, errors, limits

Set the licence above to what holds for your training data. Say here what the network was trained on, and what it
measured. HPF measured nothing when it wrote this card.
"""
