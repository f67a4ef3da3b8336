"""Makes `report.html` from a run's folder: one self-contained file."""

from __future__ import annotations

import base64
import hashlib
import warnings
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hpf_core.errors import ReportWarning
from hpf_core.figures.colours import page_css
from hpf_core.figures.joint_names import people_name, people_names
from hpf_core.files.cache import write_atomic
from hpf_core.report.frames import Gallery, gallery
from hpf_core.report.material import Material, number, read_run
from hpf_core.report.paper import PaperPoint, paper_points
from hpf_core.report.pictures import run_pictures
from hpf_core.runs.folder import RunFolder

_SUCCESS = ("20", "30", "40")


def write_report(root: Path) -> Path:
    """Write the report of a run's folder, finished or not, and return its path.

    Raises:
        InputError: the folder holds no run.
        DataError: the run's recipe is damaged.
        RunError: the report can't be written.

    Warns:
        ReportWarning: for each other file of the run that is damaged.
    """
    run = read_run(root)
    for path in run.unread:
        warnings.warn(f"{path} is damaged: the report is incomplete", ReportWarning, stacklevel=2)
    text = render(run)
    path = RunFolder(root).report
    write_atomic(path, lambda temporary: _write(temporary, text))
    return path


def render(run: Material) -> str:
    """Render the page's HTML. The template escapes all text from files, and its content policy forbids all loading."""
    shown = _gallery(run)
    script = _own("viewer.js") if shown else ""
    environment = Environment(
        loader=PackageLoader("hpf_core.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        run=run,
        style=Markup(page_css() + _own("style.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        rows=_rows(run),
        headline=_headline(run),
        paper=paper_points(run),
        pictures=run_pictures(run),
        joints=_joints(run),
        plugins=_plugins(run),
        gallery=shown,
        total=_total(run),
        duration=_duration,
    )


def _gallery(run: Material) -> Gallery | None:
    if run.frames is None:
        return None
    document = run.evaluations.get(str(run.frames.about.get("after")), {})
    return gallery(run.frames, people_names(document.get("per_joint_mm", {})), run.simulated)


def _rows(run: Material) -> list[dict[str, Any]]:
    """The table of evaluations. The subjects of each evaluation follow it."""
    chain, controls = run.lineage.chain, run.lineage.controls
    rows = []
    start = run.evaluations.get(chain[0], {}) if chain else {}
    for after, document in run.evaluations.items():
        partner = controls.get(after)
        role = f"control of {partner}" if partner else "start" if after == chain[0] and len(chain) > 1 else ""
        rows.append({"name": after, "role": role, "of_first": _of_first(document, start), **_figures(document)})
        began = _subjects(start)
        for name, figures in _subjects(document).items():
            of_first = _of_first(figures, began.get(name, {}))
            rows.append({"name": name, "role": None, "of_first": of_first, **_figures(figures)})
    return rows


def _subjects(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The figures of each person in an evaluation."""
    found = document.get("subjects")
    entries = found.items() if isinstance(found, dict) else ()
    return {str(k): v for k, v in entries if isinstance(v, dict) and number(v.get("mean_error_mm")) is not None}


def _of_first(figures: Mapping[str, Any], start: Mapping[str, Any]) -> float | None:
    """The mean error divided by the start's mean error, of all frames or of one person."""
    mean, first = number(figures.get("mean_error_mm")), number(start.get("mean_error_mm"))
    return mean / first if mean is not None and first else None


def _figures(document: Mapping[str, Any]) -> dict[str, Any]:
    success = document.get("success") or {}
    return {
        "frames": int(document["frames"]),
        "mean": number(document["mean_error_mm"]),
        "median": number(document.get("median_error_mm")),
        "tips": number(document.get("fingertip_error_mm")),
        "success": [number(success.get(threshold)) for threshold in _SUCCESS],
    }


def _headline(run: Material) -> dict[str, Any] | None:
    """The figures at the top: those of the last stage, and their change from the start and the control."""
    chain = run.lineage.chain
    if not chain:
        return None
    before, after, control = chain[0], chain[-1], run.lineage.control(chain[-1])
    mean = {name: float(run.evaluations[name]["mean_error_mm"]) for name in run.evaluations}

    def against(name: str | None) -> float | None:
        return mean[after] / mean[name] if name is not None and name != after and mean[name] else None

    return {
        "after": after,
        "before": before,
        "control": control,
        "about": run.evaluations[after],
        "against_before": against(before),
        "against_control": against(control),
    }


def _joints(run: Material) -> list[tuple[str, list[float | None]]]:
    """Each joint's readable name, and its mean error after each evaluation, mm; None for a missing joint."""
    names = dict.fromkeys(name for document in run.evaluations.values() for name in document["per_joint_mm"])
    return [
        (people_name(name), [number(document["per_joint_mm"].get(name)) for document in run.evaluations.values()])
        for name in names
    ]


def _plugins(run: Material) -> list[dict[str, str]]:
    """A row per plugin: kind, name, package, version, and source; empty if the run doesn't state them."""
    plugins = run.about.get("plugins")
    rows = []
    for key, about in plugins.items() if isinstance(plugins, dict) else ():
        kind, _, name = str(key).rpartition(":")
        row = {"kind": kind.replace("_", " "), "name": name, "package": "", "version": "", "source": ""}
        about = about if isinstance(about, dict) else {"package": about}
        rows.append(row | {field: str(about[field]) for field in ("package", "version", "source") if about.get(field)})
    return rows


def _total(run: Material) -> float | None:
    """Seconds of all stages, or None until all are done."""
    seconds = [stage.seconds for stage in run.stages]
    return None if None in seconds else sum(s for s in seconds if s is not None)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "not done"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def _own(name: str) -> str:
    return resources.files("hpf_core.report").joinpath("templates", name).read_text(encoding="utf-8")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


__all__ = ["PaperPoint", "render", "write_report"]
