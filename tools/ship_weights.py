"""Take a finished run of an initial network into the package: weights, card, and the curve of its error.

    python tools/ship_weights.py RUN NAME

writes the folder of weights `hpf_plugins/weights/NAME`: `weights.safetensors` (the run's last weights and their
description), `config.json`, `README.md` (the card, with figures from the run) and `curve.png` (error against images
seen).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from hpf_core.figures.colours import FIT
from hpf_core.figures.style import house_style, new_axes, titles, write_figure
from hpf_core.files.hub import FILES
from hpf_core.inference.weights_folder import FRONT_MATTER
from hpf_core.runs import checkpoint
from hpf_core.runs.folder import RunFolder
from hpf_core.runs.weights import config_text

HERE = Path(__file__).resolve().parent.parent / "hpf_plugins" / "weights"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run on synthetic samples alone")
    parser.add_argument("name", help="name of the weights, such as hourglass48")
    given = parser.parse_args()
    folder = RunFolder(given.run)
    summary = folder.ended()
    if summary is None:
        parser.error(f"{given.run} holds no finished run")
    weights = checkpoint.read(folder.weights)
    place = HERE / given.name
    checkpoint.save(place / FILES[0], weights.tensors, weights.about)
    (place / FILES[1]).write_text(config_text(weights.about), encoding="utf-8")
    rows = [r for r in folder.read_metrics() if r.get("unseen_mm") is not None]
    _curve(place / "curve.png", rows)
    recipe = YAML(typ="safe").load(folder.recipe.read_text(encoding="utf-8"))
    card = _card(given.name, recipe, summary, rows, json.loads(folder.about.read_text(encoding="utf-8")))
    (place / FILES[2]).write_text(card, encoding="utf-8")


def _curve(path: Path, rows: list[dict[str, Any]]) -> None:
    with house_style():
        figure, axes = new_axes(5.2, 3.4)
        axes.plot([r["images"] / 1e6 for r in rows], [r["unseen_mm"] for r in rows], color=FIT, linewidth=1.4)
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.set_xlabel("images seen (million)")
        axes.set_ylabel("mean error over 14 joints (mm)")
        titles(figure, "Error of the initial network", "simulated data: 1,000 unseen synthetic samples")
        write_figure(path, figure)


def _card(
    name: str, recipe: dict[str, Any], summary: dict[str, Any], rows: list[dict[str, Any]], about: dict[str, Any]
) -> str:
    (measured,) = summary["evaluation"]
    (stage,) = summary["stages"]
    draw = recipe["stages"][stage["name"]]["draw"]["synthetic"]
    success = ", ".join(f"{share:.1%} within {mm} mm" for mm, share in measured["success"].items())
    picked = [rows[round(k * (len(rows) - 1) / 9)] for k in range(10)] if len(rows) > 10 else rows
    curve = "\n".join(f"| {r['images']:,} | {r['unseen_mm']:.2f} |" for r in picked)
    joints = "\n".join(f"| {joint} | {mm:.2f} |" for joint, mm in measured["per_joint_mm"].items())
    options = ", ".join(f"{k}: {v}" for k, v in recipe["backbone"].items())
    data = {k: v for k, v in recipe["data"]["synthetic"].items() if k not in ("use", "noise")}
    sampled = ", ".join(f"{k}: {v}" for k, v in data.items())
    hours = stage["seconds"] / 3600
    return f"""{FRONT_MATTER}
# {name}: an initial network

Trained on synthetic depth maps alone, with noise, without a real image or a label of one. It is where `init: shipped`
starts; for real images it wants fitting.

| | |
| --- | --- |
| network | {options} |
| input | {recipe["grid"]["size"]} x {recipe["grid"]["size"]} pixels over a cube of {recipe["grid"]["cube_mm"]:g} mm |
| synthetic samples | {sampled}; noise as in the recipe |
| recipe | `recipes/{recipe["name"]}.yaml`, seed {summary["seed"]} |
| steps | {stage["steps"]:,} of {draw} images: {stage["steps"] * draw:,} images, none twice |
| made on | {about["machine"]["processor"]}, {about["machine"]["threads"]} CPU thread(s), \
{hours:.2f} hours beside other work, {stage["images_per_second"]:.0f} images a second; \
PyTorch {about["versions"]["torch"]} |
| licence | that of HPF, MIT |

Made by `hpf run recipes/{recipe["name"]}.yaml --out RUN`; a stopped run can be resumed with `--resume`.
To train it further, give another recipe `init: shipped`.

## Errors

On {measured["frames"]:,} synthetic samples that it never saw (of the same hands, poses, views and noise; crops
jittered), NYU's 14 joints: **{measured["mean_error_mm"]:.2f} mm** mean, {measured["median_error_mm"]:.2f} mm median, \
fingertips {measured["fingertip_error_mm"]:.2f} mm; all joints {success}.

These numbers do not show the accuracy on real hands. On the simulated capture: `docs/results.md`.

## Limits

The network saw right hands, with the forearm below the hand, within 90 degrees of upright. It saw no objects in the
hand and no second hand. `hpf predict` finds left hands by mirroring.

![Error against images seen.](curve.png)

| images seen | mean error, mm (1,000 unseen samples) |
| --- | --- |
{curve}

| joint | mean error, mm |
| --- | --- |
{joints}
"""


if __name__ == "__main__":
    main()
