"""Evaluates a network after a stage, on rank 0, in float32: independent of the number of processes."""

from __future__ import annotations

from typing import Any

from hpf_core.engine.context import Context
from hpf_core.errors import skip_on_failure
from hpf_core.inference import evaluate, shown_frames, unseen
from hpf_core.recipe.models import Evaluate
from hpf_core.runs import checkpoint as files


def evaluate_after(run: Context, stage: str) -> None:
    """Evaluate the current network and keep the result under the stage's name; an earlier result is read instead."""
    run.world.on_rank_zero(lambda: _evaluate(run, stage))


def _evaluate(run: Context, stage: str) -> None:
    plan = run.resolved.recipe.evaluate
    if plan is None:
        return
    document = run.folder.evaluated(stage)
    if document is None:
        run.watch.tell("evaluation_started", stage)
        document = _measure_and_write(run, plan, stage)
    run.evaluations.append(document)
    _keep_frames(run, plan, stage)
    run.watch.tell("evaluated", stage, document)


def _measure_and_write(run: Context, plan: Evaluate, stage: str) -> dict[str, Any]:
    result, about = _measure(run, plan)
    document = {"after": stage, **about, **result.document()}
    if plan.data == "real" and document["left_out"]:
        document["left_out_list"] = _write_left_out(run, plan)
    files.save(run.folder.predictions(stage), result.tensors(), {"after": stage})
    run.folder.write_json(run.folder.evaluation(stage), document)
    run.folder.frames(stage).unlink(missing_ok=True)  # of an earlier evaluation
    return document


def _measure(run: Context, plan: Evaluate) -> tuple[evaluate.Evaluated, dict[str, Any]]:
    """The evaluation that the recipe requests, and a description of its data."""
    if plan.data == "synthetic":
        assert run.resolved.synthetic is not None
        result = unseen.evaluate(run.parts, run.device, plan.limit or unseen.SAMPLES, run.progress)
        name = run.resolved.synthetic.name
        return result, {"data": name, "simulated": True, "split": unseen.SPLIT, "centre": unseen.CENTRE}
    real = run.parts.real
    assert run.resolved.real is not None
    assert real is not None
    result = evaluate.evaluate(run.parts, plan.split, run.device, plan.limit, plan.batch, run.progress)
    return result, {
        "data": run.resolved.real.name,
        "simulated": real.simulated,
        "split": plan.split,
        "centre": real.protocol.centre,
        "left_out": len(real.left_out(plan.split)),
    }


def _write_left_out(run: Context, plan: Evaluate) -> str:
    """Write the list of excluded frames with reasons; returns its name in the run's folder."""
    assert run.parts.real is not None
    reasons = list(run.parts.real.left_out(plan.split))
    run.folder.write_json(run.folder.left_out, {"split": plan.split, "left_out": reasons})
    return run.folder.left_out.name


def _keep_frames(run: Context, plan: Evaluate, stage: str) -> None:
    """Keep the frames for the report, except for controls. A failure is only a warning: the run is valid without
    them."""
    controls = {s.name for s in run.resolved.stages if s.control_of is not None}
    if stage in controls or run.folder.frames(stage).is_file():
        return
    with skip_on_failure("frames for the report"):
        split = plan.split if plan.data == "real" else None
        shown_frames.keep(run.folder, run.parts, split, str(run.evaluations[0]["after"]), stage)
