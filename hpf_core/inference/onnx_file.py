"""Networks as ONNX files: exports a trained network, reads it back, and compares both.

One file, opset 18 (ONNX Runtime has no kernel for the GroupNormalization of later opsets), any batch size. The input
`depth` (batch, S, S) is float32, mm from the crop's centre, half of the cube in pixels without a surface. The outputs
are `points` (batch, J, 3), mm in the crop's frame, and `variance` (batch, J), mm^2, if the network has it. Metadata
hold the rest. `hand.json` beside the file has the same metadata as text, with a crop and its points as a test for other
implementations.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import hpf_core
from hpf_core.errors import InputError, RunError
from hpf_core.files.cache import write_atomic
from hpf_core.frames import Estimate
from hpf_core.grid import Grid
from hpf_core.inference.estimate import last_estimate
from hpf_core.inference.hand_network import HandNetwork
from hpf_core.interfaces import Backbone
from hpf_core.runs.weights import weights_name

FORMAT = "hpf-hand/1"
OPSET = 18
TOLERANCE_MM = 0.01
"""Tolerance between ONNX Runtime's points and torch's."""

_EXTRA = "pip install 'hand-pose-fitting[onnx]'"


class Deployed(nn.Module):
    """The exported part of a backbone: the last stack's points, and its variance if it has one."""

    def __init__(self, backbone: Backbone, with_variance: bool) -> None:
        super().__init__()
        self.backbone, self.with_variance = backbone, with_variance

    def forward(self, depth: Tensor) -> tuple[Tensor, ...]:
        found = last_estimate(self.backbone, depth)
        assert not self.with_variance or found.variance is not None
        return (found.points, found.variance) if self.with_variance else (found.points,)  # type: ignore[return-value]


def export_onnx(network: HandNetwork, path: Path, opset: int = OPSET) -> dict[str, Any]:
    """Write a network to an ONNX file, and `hand.json` beside it.

    Args:
        network: a trained network; the file excludes refiners.
        path: the file, ending in `.onnx`.
        opset: of ONNX; 18 is the fastest in ONNX Runtime.

    Returns:
        The file's metadata.

    Raises:
        InputError: the extra `onnx` isn't installed, the network is an ONNX file itself, or its export fails.
        RunError: the file isn't writable.
    """
    _need("onnx", "onnxscript")
    if network.backbone is None:
        raise InputError(f"{network.source} is an ONNX file already.")
    if network.backbone.cannot_export:
        raise InputError(f"The network can't be written as ONNX. Its backbone says: {network.backbone.cannot_export}")
    about = _about(network)
    program = onnx_program(network.backbone, network.grid, opset)
    for name, value in about.items():
        program.model.metadata_props[f"hpf.{name}"] = value if isinstance(value, str) else json.dumps(value)
    write_atomic(path, lambda temporary: program.save(str(temporary), external_data=False))
    golden = _golden(network)
    document = {**about, "golden": golden}
    write_atomic(path.with_name("hand.json"), lambda temporary: _write(temporary, document))
    return about


def onnx_program(backbone: Backbone, grid: Grid, opset: int = OPSET) -> Any:
    """A backbone as torch's ONNX program, for any batch size.

    Raises:
        InputError: the export fails.
    """
    device = next((parameter.device for parameter in backbone.parameters()), torch.device("cpu"))
    example = torch.full((2, grid.size, grid.size), grid.far_mm, device=device)
    with torch.no_grad():
        with_variance = last_estimate(backbone, example).variance is not None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns about its own internals
            program = torch.onnx.export(
                Deployed(backbone, with_variance).eval(),
                (example,),
                dynamo=True,
                opset_version=opset,
                input_names=["depth"],
                output_names=["points", "variance"][: 1 + with_variance],
                dynamic_shapes={"depth": {0: torch.export.Dim("batch", min=1)}},
                verbose=False,
            )
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise InputError(
            f"The network can't be written as ONNX: {reason[0] if reason else type(error).__name__}. Its backbone may "
            "use operations without a counterpart there, and should give the reason in `cannot_export`."
        ) from error
    assert program is not None
    return program


def has_onnx() -> bool:
    """Whether the packages of the extra `onnx` are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxscript", "onnxruntime"))


def run_onnx(path: Path) -> Callable[[Tensor], Estimate]:
    """The network of an ONNX file in ONNX Runtime: depth maps (N, S, S) mm to an `Estimate`.

    Raises:
        InputError: ONNX Runtime isn't installed, or the file is damaged.
    """
    return _session(path)[0]


def check_onnx(network: HandNetwork, path: Path) -> float:
    """The largest distance in mm of ONNX Runtime's points from torch's, on maps of all kinds, in batches of 1 and 7.

    Raises:
        InputError: ONNX Runtime isn't installed.
        RunError: points differ by more than 0.01 mm, or variances by more than a thousandth.
    """
    run = run_onnx(path)
    maps = _trial_maps(network)
    worst = 0.0
    for batch in (maps[:1], maps[:7], maps):
        ours, theirs = network.network(batch), run(batch)
        worst = max(worst, float((ours.points - theirs.points).abs().max()))
        if ours.variance is not None and theirs.variance is not None:
            apart = ((ours.variance - theirs.variance).abs() / ours.variance.clamp(min=1.0)).max()
            if float(apart) > 1e-3:
                raise RunError(f"{path}: variances differ from torch's by {float(apart):.2g} of their size.")
    if not worst <= TOLERANCE_MM:
        raise RunError(f"{path}: points differ from torch's by up to {worst:.3g} mm, more than {TOLERANCE_MM:g} mm.")
    return worst


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file, ready to run.

    Attributes:
        run: depth maps (N, S, S) mm to an `Estimate`.
        about: its metadata.
    """

    run: Callable[[Tensor], Estimate]
    about: Mapping[str, Any]


def read_onnx(path: Path) -> OnnxFile:
    """Open a file from `export_onnx`.

    Raises:
        InputError: ONNX Runtime isn't installed, or the file isn't from `export_onnx`.
    """
    run, metadata = _session(path)
    about = {name.removeprefix("hpf."): value for name, value in metadata.items() if name.startswith("hpf.")}
    if about.get("format") != FORMAT:
        raise InputError(
            f"{path} is not a network that `hpf export` wrote: its metadata lack {FORMAT}. Export it again from the "
            "run or from its weights."
        )
    try:
        decoded = {name: _decoded(name, value) for name, value in about.items()}
        if {"grid", "hand_model", "ray_aligned"} - decoded.keys():
            raise ValueError("some are missing")
    except ValueError as error:
        raise InputError(f"{path} has damaged metadata: {error}.") from error
    return OnnxFile(run, decoded)


_TEXTS = ("format", "hpf_version", "torch_version", "source", "weights_sha256", "licence", "hand", "axes", "hand_model")


def _decoded(name: str, value: str) -> Any:
    return value if name in _TEXTS else json.loads(value)


def _session(path: Path) -> tuple[Callable[[Tensor], Estimate], dict[str, str]]:
    _need("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InputError(f"{path} can't be read as an ONNX file: {str(error).splitlines()[0][:200]}") from error
    outputs = [output.name for output in session.get_outputs()]
    inputs = [given.name for given in session.get_inputs()]

    def run(depth: Tensor) -> Estimate:
        maps = depth.detach().cpu().float().numpy()
        if not np.isfinite(maps).all():
            raise InputError("A crop holds NaN or infinity: a network is given half of the cube where nothing is hit.")
        said = dict(zip(outputs, session.run(None, {inputs[0]: maps}), strict=True))
        variance = said.get("variance")
        return Estimate(
            points=torch.from_numpy(said["points"]),
            variance=None if variance is None else torch.from_numpy(variance),
        )

    return run, dict(session.get_modelmeta().custom_metadata_map)


def _about(network: HandNetwork) -> dict[str, Any]:
    """Metadata of a file."""
    hand, grid = network.hand, network.grid
    assert network.backbone is not None
    state = network.backbone.state_dict()
    packed = b"".join(name.encode() + state[name].detach().cpu().numpy().tobytes() for name in sorted(state))
    about = dict(network.about)
    return {
        "format": FORMAT,
        "hpf_version": hpf_core.__version__,
        "torch_version": str(torch.__version__),
        "source": weights_name(Path(network.source)),
        "weights_sha256": hashlib.sha256(packed).hexdigest(),
        "licence": "that of HPF, MIT, for the shipped weights; else that of whoever trained them",
        "trained": {name: about[name] for name in ("recipe", "stage", "step", "seed", "backbone") if name in about},
        "grid": {"size": grid.size, "cube_mm": grid.cube_mm},
        "ray_aligned": network.ray_aligned,
        "axes": "x right, y down, z away from the camera; mm from the crop's centre",
        "hand": "right",
        "hand_model": str(about.get("hand", "")),
        "points": list(hand.names),
        "links": [list(link) for link in hand.links],
        "fingertips": list(hand.fingertips),
        "palm_centre": hand.palm_centre,
        "radii_mm": [round(float(radius), 4) for radius in hand.radii],
        "annotations": {
            name: {"joints": list(joints), "matrix": np.asarray(matrix, dtype=float).round(6).tolist()}
            for name, (joints, matrix) in hand.annotations.items()
        },
    }


def _golden(network: HandNetwork) -> dict[str, Any]:
    """A crop with torch's points for it."""
    depth = _trial_maps(network)[2:3]
    points = network.network(depth).points[0]
    return {
        "depth_mm": np.round(depth[0].double().numpy(), 2).tolist(),
        "points_mm": np.round(points.double().numpy(), 3).tolist(),
    }


def _trial_maps(network: HandNetwork) -> Tensor:
    """(9, S, S) mm: an empty map, a full one, sampled hands as spheres, and one of them with a sensor's noise."""
    hand, grid = network.hand, network.grid
    generator = torch.Generator().manual_seed(0)
    drawn = hand.sample(6, generator)
    points = hand.points(drawn.pose, drawn.shape).float()
    points = points - points[:, hand.palm_centre : hand.palm_centre + 1]
    with torch.no_grad():
        hands = network.renderer.depth(points, grid).depth.round(decimals=2)
    size = grid.size
    empty, full = torch.full((1, size, size), grid.far_mm), torch.zeros(1, size, size)
    noise = torch.where(
        hands[:1] < grid.far_mm, hands[:1] + 5 * torch.randn(1, size, size, generator=generator), hands[:1]
    )
    return torch.cat([empty, full, hands, noise])


def _need(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"ONNX files need the package {missing[0]}, which isn't installed: {_EXTRA}")


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
