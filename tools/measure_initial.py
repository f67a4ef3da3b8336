"""Measure weights on the unseen synthetic samples of a recipe, whatever samples they were trained on.

    python tools/measure_initial.py recipes/unseen.yaml shipped
    python tools/measure_initial.py recipes/unseen.yaml RUN/weights.safetensors --limit 2000
    python tools/measure_initial.py recipes/unseen.yaml long_run/00010000.safetensors --average

A checkpoint doesn't know the network's options: `--recipe` names a recipe that has them. The tool prints one line of
JSON: errors over NYU's 14 joints, swapped fingers (tips nearer to another finger's true tip than to their own), and the
CPU time, in ms, of the network alone for one crop on one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hpf_core.engine.average import PREFIX
from hpf_core.files.cache import cache_folder
from hpf_core.inference import unseen
from hpf_core.inference.build import Parts, build_parts, load_init
from hpf_core.inference.estimate import last_estimate
from hpf_core.plugins import PluginHost
from hpf_core.recipe import load
from hpf_core.runs import checkpoint


def swapped_share(joints: np.ndarray, truth: np.ndarray, tips: list[int]) -> float:
    """Share of the tips (F, T) whose estimate lies nearer to another finger's true tip than to their own."""
    apart = np.linalg.norm(joints[:, tips, None] - truth[:, None, tips], axis=-1)
    return float((apart.argmin(axis=-1) != np.arange(len(tips))).mean())


def crop_ms(parts: Parts) -> float:
    """Median CPU time of the network alone on one crop, ms."""
    depth = torch.zeros(1, parts.grid.size, parts.grid.size)
    times = []
    with torch.inference_mode():
        for _ in range(60):
            began = time.process_time()
            last_estimate(parts.backbone, depth)
            times.append(1000 * (time.process_time() - began))
    return statistics.median(times[10:])


def main() -> None:
    parser = argparse.ArgumentParser(description="Errors of weights on unseen synthetic samples.")
    parser.add_argument("data", type=Path, help="recipe whose data.synthetic is measured on")
    parser.add_argument("weights", help="`shipped`, a weights file, or a checkpoint with --recipe")
    parser.add_argument("--recipe", type=Path, help="recipe of the network; the weights' own options, if not given")
    parser.add_argument("--average", action="store_true", help="measure the checkpoint's average of the weights")
    parser.add_argument("--limit", type=int, default=10000, help="samples")
    options = parser.parse_args()
    torch.set_num_threads(1)
    host = PluginHost.load()
    if options.weights != "shipped":
        file = checkpoint.read(Path(options.weights))
        backbone = file.about.get("backbone")
        if options.recipe is not None:
            network = load(options.recipe, host=host).backbone
            backbone = checkpoint.options_of(network.spec.name, network.config)
        resolved = load(options.data, host=host, sets=[f"backbone={json.dumps(backbone)}"])
        parts = build_parts(resolved, cache_folder())
        if options.average:
            averaged = {f"model.{k.removeprefix(PREFIX)}": v for k, v in file.tensors.items() if k.startswith(PREFIX)}
            if not averaged:
                parser.error(f"{options.weights} holds no average of the weights: the stage needs the option ema")
            file = replace(file, tensors={**file.tensors, **averaged})
        checkpoint.load_model(parts.backbone, file, Path(options.weights))
    else:
        resolved = load(options.data, host=host, sets=["init=shipped"])
        parts = build_parts(resolved, cache_folder())
        load_init(resolved, parts)
    result = unseen.evaluate(parts, torch.device("cpu"), options.limit)
    tips = [k for k, name in enumerate(result.measured.joint_names) if name.endswith("KNU3_A")]
    document = {
        "data": options.data.name,
        "weights": str(options.weights),
        "samples": result.measured.frames,
        "mean_error_mm": round(result.measured.mean, 2),
        "median_error_mm": round(result.measured.median, 2),
        "fingertip_error_mm": round(result.measured.fingertip or 0.0, 2),
        "swapped_fingers": round(swapped_share(result.joints, result.truth, tips), 4),
        "parameters": sum(p.numel() for p in parts.backbone.parameters()),
        "crop_ms": round(crop_ms(parts), 2),
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
