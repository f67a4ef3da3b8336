"""`hpf export`: a trained network as an ONNX file, or as a folder of weights for a model hub.

Heavy imports belong inside the functions: `hpf --help` imports this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hpf_cli import show
from hpf_cli.options import Json
from hpf_cli.outputs import check_file, check_folder
from hpf_core.errors import InputError


def export(
    source: Annotated[
        str,
        typer.Argument(metavar="<weights>", help="shipped, a run's folder, or a file of weights.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="<out>", help="The ONNX file, or the folder with --folder.", show_default=False)
    ],
    folder: Annotated[
        bool, typer.Option("--folder", help="Write a folder of weights.safetensors, config.json and README.md.")
    ] = False,
    opset: Annotated[int, typer.Option(min=18, max=23, metavar="<number>", help="ONNX opset; 18 is the fastest.")] = 18,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the points from ONNX Runtime with those from PyTorch.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a trained network as one ONNX file, with a description of its inputs and outputs (hand.json) beside it.

    `hpf predict --weights FILE.onnx` uses the file. The extra `onnx` is needed. With --folder, write a folder that
    `--weights`, `init:` and model hubs accept instead.

    \b
    Example:
        hpf export shipped hand.onnx --check
        hpf export runs/quickstart-1 hand.onnx
        hpf export runs/quickstart-1 my-hand --folder
    """
    from hpf_core.inference.hand_network import load_network

    if folder:
        if check:
            raise InputError("--check compares an ONNX file: leave it out with --folder.")
        check_folder("OUT", out)
        from hpf_core.inference.weights_folder import write_weights_folder

        files = write_weights_folder(load_network(source), out)
        document: dict[str, Any] = {"out": out, "files": files}
        said = f"wrote {', '.join(files)} to {out}"
    else:
        if out.suffix.lower() != ".onnx":
            raise InputError(
                f"{out}: a name that ends in .onnx was expected, such as {out.with_suffix('.onnx')}; or add --folder."
            )
        check_file("OUT", out)
        from hpf_core.inference.onnx_file import check_onnx, export_onnx

        network = load_network(source)
        about = export_onnx(network, out, opset)
        document = {"out": out, "description": out.with_name("hand.json"), "opset": opset, "about": about}
        said = f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB, opset {opset}) and {document['description']}"
        if check:
            document["largest_difference_mm"] = worst = check_onnx(network, out)
            said += f"; ONNX Runtime's points lie within {worst:.4f} mm of torch's"
    if as_json:
        show.emit_json(document)
    else:
        show.result(said)
