"""Checks a capture in NYU's layout: its images, its annotation, its calibration. The check changes nothing."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from hpf_core.data.checks.annotation import check_annotation, check_calibration, check_surface
from hpf_core.data.checks.findings import Finding, counted, listed
from hpf_core.data.images import is_whole
from hpf_core.data.layouts import nyu
from hpf_core.data.sidecar import SIDECAR, Sidecar, read_sidecar
from hpf_core.errors import DataError, InputError
from hpf_core.files.worker_pools import threaded
from hpf_core.progress import Progress, no_progress

SPLITS = ("train", "validation", "test")
_HEAD = struct.Struct(">8sI4sIIBB")  # PNG's signature, then the first chunk: length, IHDR, width, height, depth, colour
_SIGNATURE, _RGB = b"\x89PNG\r\n\x1a\n", 2
_BATCH = 512
_MULTIPLES = 0.9  # above this share of depths that are multiples of 256, the channels count as swapped


@dataclass
class SplitReport:
    """The results for one split.

    Attributes:
        name: name of the split.
        frames: number of frames, up to the last one with an image.
        views: the views, counted from 0.
        sampled: (K,) frames with decoded images.
        subjects: names of the visible people, in order; empty if unknown.
        findings: one for each check.
        annotation: the annotation, if readable.
    """

    name: str
    frames: int = 0
    views: tuple[int, ...] = ()
    sampled: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    subjects: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    annotation: nyu.Annotation | None = None


@dataclass(frozen=True)
class CaptureReport:
    """The results for a capture.

    Attributes:
        root: the capture's folder.
        simulated: according to `capture.json`; None without this file.
        splits: for each existing split.
        findings: for the capture as a whole.
        layout: the layout's name.
    """

    root: Path
    simulated: bool | None
    splits: tuple[SplitReport, ...]
    findings: tuple[Finding, ...]
    layout: str = "nyu"

    @property
    def status(self) -> Literal["ok", "warning", "failed"]:
        """The worst of all findings."""
        found = {one.status for one in self.findings} | {one.status for part in self.splits for one in part.findings}
        return "failed" if "failed" in found else "warning" if "warning" in found else "ok"


def check_capture(root: Path, sample: int | None = 100, progress: Progress = no_progress) -> CaptureReport:
    """Check all files of a capture, and the content of some files.

    For every image, the check tests existence, size, kind and completeness, without decoding. The annotation is checked
    in full.

    Args:
        root: folder with a folder for each split.
        sample: number of decoded frames per split, evenly spaced; None for all.
        progress: receives the number of finished images.

    Raises:
        InputError: `root` holds no capture.
    """
    folders = [root / name for name in SPLITS if (root / name).is_dir()]
    if not folders:
        what = "doesn't exist" if not root.exists() else "isn't a folder" if not root.is_dir() else "has none of them"
        raise InputError(
            f"A capture is a folder with {', '.join(SPLITS[:-1])} or {SPLITS[-1]} in it; {root} {what}.{_beside(root)}"
        )
    findings, sidecar = _sidecar(root)
    return CaptureReport(
        root=root,
        simulated=None if sidecar is None else sidecar.simulated,
        splits=tuple(_check_split(folder, sidecar, sample, progress) for folder in folders),
        findings=tuple(findings),
    )


def _beside(root: Path) -> str:
    """Suggest the capture if the user gave a folder below or above it."""
    meant = nyu.capture_near(root)
    if meant is None:
        return ""
    return f" It is a part of one: check {meant}." if meant == root.absolute().parent else f" But {meant} has."


def _sidecar(root: Path) -> tuple[list[Finding], Sidecar | None]:
    try:
        sidecar = read_sidecar(root)
    except DataError as error:
        return [Finding("sidecar", "failed", str(error), (SIDECAR,))], None
    if sidecar is None:
        return [
            Finding("sidecar", "ok", f"there is no {SIDECAR}: the folder doesn't say which subject each frame shows")
        ], None
    kind = "simulated" if sidecar.simulated else "real"
    return [Finding("sidecar", "ok", f"{kind} data of {counted(len(sidecar.subject_names), 'subject')}")], sidecar


def _check_split(folder: Path, sidecar: Sidecar | None, sample: int | None, progress: Progress) -> SplitReport:
    found = nyu.images(folder)
    there = {one for one in found if min(one) >= 0}
    report = SplitReport(folder.name)
    if stray := sorted(nyu.image_path(folder, *one).name for one in found - there):
        report.findings.append(listed("numbers", "numbered 0, but views and frames count from 1", stray, ""))
    if not there:
        expected = nyu.image_path(folder, 0, 0).name
        report.findings.append(Finding("images", "failed", f"{folder} has no depth images such as {expected}"))
        return report
    report.views = tuple(sorted({view for view, _ in there}))
    report.frames = 1 + max(frame for _, frame in there)
    unreadable = []
    try:
        report.annotation = nyu.read_annotation(folder)
    except DataError as error:
        unreadable.append(Finding("annotation", "failed", str(error), (nyu.LABELS_FILE,)))
    report.findings += _check_files(folder, report, there, progress)
    report.findings.append(_check_segments(report, sidecar))
    report.findings += unreadable
    few = report.frames if sample is None else min(sample, report.frames)
    report.sampled = np.unique(np.linspace(0, report.frames - 1, few).round().astype(np.int64))
    if report.annotation is not None:
        report.findings += check_annotation(folder, report.annotation, report.views, report.frames)
        report.findings += check_calibration(report.annotation.without_blanks(), report.views)
    report.findings += _check_content(folder, report, progress)
    return report


def _check_files(
    folder: Path, report: SplitReport, there: set[tuple[int, int]], progress: Progress
) -> Iterable[Finding]:
    """Check every image without decoding."""
    annotated = 0 if report.annotation is None else report.annotation.xyz.shape[1]
    wanted = [(view, frame) for frame in range(max(report.frames, annotated)) for view in report.views]
    missing = [
        nyu.image_path(folder, view, frame).name + (" (annotated)" if frame >= report.frames else "")
        for view, frame in wanted
        if (view, frame) not in there
    ]
    yield listed(
        "files",
        "missing",
        missing,
        f"{counted(len(wanted), 'image')}: {counted(len(report.views), 'view')} of all frames",
    )

    paths = [nyu.image_path(folder, *one) for one in sorted(there, key=lambda one: (one[1], one[0]))]
    starts = range(0, len(paths), _BATCH)

    def wrong(start: int) -> list[str]:
        return [reason for path in paths[start : start + _BATCH] if (reason := _wrong_from_outside(path))]

    reasons: list[str] = []
    for start, found in zip(starts, threaded(wrong, starts), strict=True):
        reasons += found
        progress(min(start + _BATCH, len(paths)), len(paths), f"looking at the images of {folder.name}")
    size = f"{nyu.CAMERA.width} x {nyu.CAMERA.height}"
    yield listed("sizes", "of a wrong kind or cut off", reasons, f"all are 8-bit RGB PNG images of {size}")


def _wrong_from_outside(path: Path) -> str:
    """Describe the fault in an image's header or end, as a phrase after its name; empty for a valid image."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD.size)
    except OSError as error:
        return f"{path.name} ({error.strerror or error})"
    if len(head) < _HEAD.size or not head.startswith(_SIGNATURE):
        return f"{path.name} (not a PNG image)"
    _, _, _, width, height, bits, colour = _HEAD.unpack(head)
    if (width, height, bits, colour) != (nyu.CAMERA.width, nyu.CAMERA.height, 8, _RGB):
        return f"{path.name} ({width} x {height}, {bits} bits, PNG colour type {colour})"
    return "" if is_whole(path) else f"{path.name} (cut off)"


def _check_segments(report: SplitReport, sidecar: Sidecar | None) -> Finding:
    parts = () if sidecar is None else sidecar.segments.get(report.name, ())
    if sidecar is None or not parts:
        return Finding("subjects", "ok", "the subjects are unknown")
    report.subjects = tuple(dict.fromkeys(sidecar.subject_names[part.subject] for part in parts))
    told = sum(part.frames for part in parts)
    if told != report.frames:
        return Finding(
            "subjects", "failed", f"{SIDECAR} describes {counted(told, 'frame')}, but the split has {report.frames:,}"
        )
    return Finding("subjects", "ok", ", ".join(f"{sidecar.subject_names[p.subject]}: {p.frames:,}" for p in parts))


def _check_content(folder: Path, report: SplitReport, progress: Progress) -> Iterable[Finding]:
    """Decode some images, and compare the annotation with them."""
    jobs = [(view, int(frame)) for frame in report.sampled for view in report.views]
    annotation, damaged = report.annotation, []
    lost: list[float] = []
    gaps: list[np.ndarray] = []
    turned: list[np.ndarray] = []
    multiples: list[float] = []
    for done, found in enumerate(threaded(_looker(folder, annotation), jobs)):
        if isinstance(found, str):
            damaged.append(found)
        elif found is not None:
            multiples.append(found.multiples)
            if found.joints is not None:
                lost.append(found.joints.lost)
                gaps.append(found.joints.gaps)
                turned.append(found.joints.turned)
        progress(done + 1, len(jobs), f"decoding images of {folder.name}")
    looked_at = f"{counted(len(jobs), 'image')} of {counted(len(report.sampled), 'frame')}"
    yield listed("content", "damaged", damaged, f"{looked_at} can be decoded")
    if multiples and np.median(multiples) > _MULTIPLES:
        yield Finding(
            "bytes",
            "failed",
            f"{np.median(multiples):.0%} of the depths are multiples of 256: the channels are in another order. In "
            "NYU's layout green is the high byte and blue the low one",
        )
        return
    if annotation is not None and gaps:
        yield from check_surface(np.concatenate(gaps), np.array(lost), np.concatenate(turned))


@dataclass(frozen=True)
class _Joints:
    lost: float  # share of the pixels around the joints without return
    gaps: np.ndarray  # (K,) mm, distance of joints behind the surface at their pixel
    turned: np.ndarray  # (L,) mm, the same for joints with the other sign of y


@dataclass(frozen=True)
class _Seen:
    multiples: float  # share of the depths that are multiples of 256
    joints: _Joints | None  # the comparison with the joints; None without any in the image


def _looker(folder: Path, annotation: nyu.Annotation | None) -> Callable[[tuple[int, int]], _Seen | str | None]:
    """Return a function that decodes an image. It returns the fault, the comparison with the annotation, or None."""

    def look(job: tuple[int, int]) -> _Seen | str | None:
        view, frame = job
        path = nyu.image_path(folder, view, frame)
        if not path.exists():
            return None  # listed as missing
        try:
            depth = nyu.read_depth(path)
        except DataError as error:
            reason = str(error).removeprefix(f"{path} is ").removeprefix("damaged: ").rstrip(".")
            return f"{path.name} ({reason})"
        multiples = float((depth[depth > 0] % 256 == 0).mean()) if (depth > 0).any() else 0.0
        if annotation is None or view >= len(annotation.xyz) or frame >= annotation.xyz.shape[1]:
            return _Seen(multiples, None)
        return _Seen(multiples, _against(depth, annotation.xyz[view, frame]))

    return look


def _against(depth: np.ndarray, joints: np.ndarray) -> _Joints | None:
    """Compare a depth map (H, W) mm with joints (36, 3) mm of its camera; None if no joint can be in the image."""
    if not np.isfinite(joints).all() or (joints[:, 2] <= 1).any():
        return None
    here, there = _behind(depth, joints), _behind(depth, joints * [1.0, -1.0, 1.0])
    if here is None and there is None:
        return None
    lost = 1.0 if here is None else here[0]
    nothing = np.zeros(0)
    return _Joints(lost, nothing if here is None else here[1], nothing if there is None else there[1])


def _behind(depth: np.ndarray, joints: np.ndarray) -> tuple[float, np.ndarray] | None:
    """Share of pixels around the joints without return, and distance (K,) mm of joints behind the surface."""
    image = nyu.CAMERA.project(joints)
    pixel = np.rint(image[:, :2]).astype(np.int64)
    inside = ((pixel >= 0) & (pixel < [nyu.CAMERA.width, nyu.CAMERA.height])).all(axis=1)
    if not inside.any():
        return None
    u, v = pixel[inside].T
    returned = nyu.returned(depth)
    window = returned[v.min() : v.max() + 1, u.min() : u.max() + 1]
    hit = returned[v, u]
    return 1 - float(window.mean()), image[inside][hit, 2] - depth[v, u][hit]


def worst(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that aren't ok."""
    return [one for one in findings if one.status != "ok"]
