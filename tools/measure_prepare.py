"""Measure the cost of preparing a capture: time per image on one core, depth maps read per second, and peak memory.

    python tools/measure_prepare.py CAPTURE [--noisy OUT] [--sizes 64 96 128] [--frames 20] [--jobs 2]

CAPTURE is a folder in NYU's layout, such as `hpf data simulate` writes. With `--noisy`, the tool first writes the
images to OUT with a background over the whole image, at 0.85 to 1.75 m, and noise of 6 mm in every pixel. Such images
are the largest and the slowest to decode. With `--repeat N`, OUT has N frames in each split, by links to these.

Times are processor times, the best of five rounds over all images. Memory is the sum over all processes of `hpf data
prepare`, measured every 20 ms. Shared pages count once (PSS).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from hpf_core.data.calibration import calibrate
from hpf_core.data.captures import Capture
from hpf_core.data.layouts import nyu
from hpf_core.data.prepared.capture_cache import CaptureSource, CropOptions
from hpf_core.data.prepared.cropping import CropPlan
from hpf_core.data.prepared.recentring import wider
from hpf_core.data.prepared.store import StoreFiles
from hpf_core.grid import Grid

VIEWS = (0, 1, 2)
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--noisy", type=Path, metavar="OUT")
    parser.add_argument("--repeat", type=int, metavar="N")
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 96, 128])
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    capture = asked.capture
    if asked.noisy is not None:
        if not asked.noisy.exists():
            noisy(capture, asked.noisy, asked.repeat)
        capture = asked.noisy
    split = next(folder for folder in (capture / "train", capture / "test") if folder.is_dir())
    found = {"images": image_bytes(split, asked.frames)}
    for size in asked.sizes:
        found[f"{size} pixels"] = on_one_core(split, size, asked.frames) | reading(capture, size)
    found["memory"] = memory(capture, asked.jobs)
    print(json.dumps(found, indent=1))


def noisy(source: Path, out: Path, repeat: int | None) -> None:
    """The capture once more, with a background and noise over all of each image."""
    rng = np.random.default_rng(0)
    v, u = np.mgrid[:480, :640]
    wall = 1300 + 300 * np.sin(u / 130) + 150 * np.cos(v / 70)
    for folder in (folder for folder in source.iterdir() if folder.is_dir()):
        annotation = nyu.read_annotation(folder)
        frames = nyu.count_frames(folder, VIEWS)
        target = out / folder.name
        target.mkdir(parents=True)
        for view, frame in sorted(nyu.images(folder)):
            depth = nyu.read_depth(nyu.image_path(folder, view, frame))
            behind = (wall + rng.normal(0, 6, wall.shape)).astype(np.uint16)
            nyu.write_depth(nyu.image_path(target, view, frame), np.where(depth < 1050, depth, behind))
        count = repeat or frames
        for frame in range(frames, count):
            for view in VIEWS:
                made = nyu.image_path(target, view, frame % frames)
                os.link(made, nyu.image_path(target, view, frame))
        xyz = annotation.xyz[:, np.arange(count) % frames]
        nyu.write_annotation(target, nyu.Annotation(xyz, annotation.names))


def image_bytes(split: Path, frames: int) -> dict[str, float]:
    sizes = [path.stat().st_size for path in paths(split, frames)]
    return {"images": len(sizes), "mean_kb": round(float(np.mean(sizes)) / 1e3, 1)}


def paths(split: Path, frames: int) -> list[Path]:
    count = min(frames, nyu.count_frames(split, VIEWS))
    return [nyu.image_path(split, view, frame) for frame in range(count) for view in VIEWS]


def on_one_core(split: Path, size: int, frames: int) -> dict[str, float]:
    """Milliseconds of processor time for each image: decoding, and all that is done to it; cropping is the rest."""
    count = min(frames, nyu.count_frames(split, VIEWS))
    xyz = nyu.read_annotation(split).xyz
    layout, grid = nyu.NyuLayout(split.parent, VIEWS), wider(Grid(size), size // 4)
    values: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = StoreFiles(Path(folder), count, len(VIEWS), grid.size)
        files.create()
        known = xyz[:, :count, nyu.PALM_CENTRE].swapaxes(0, 1)
        to_rig = calibrate(xyz, VIEWS).to_rig
        found = {}
        for name, centres, turned in (("all", known, False), ("all, turned", known, True), ("all, mass", None, False)):
            plan = CropPlan(layout, split.name, VIEWS, np.arange(count), to_rig, centres, grid, 300.0, turned, files)
            found[name] = best(lambda plan=plan: [plan.make(chunk) for chunk in range(files.chunks)])
        found["decode"] = best(lambda: [nyu.read_depth(path) for path in paths(split, frames)])
        rows = files.rows(0)
        values = {name: np.zeros((len(rows), *shape[1:]), kind) for name, (shape, kind) in files.shapes.items()}
        found["write"] = best(lambda: files.write(0, values)) * count / len(rows)
    images = count * len(VIEWS)
    return {f"{name}, ms an image": round(seconds / images * 1e3, 2) for name, seconds in found.items()}


def best(work: Callable[[], object]) -> float:
    """Processor time in seconds, the best of some rounds."""
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def reading(capture: Path, size: int) -> dict[str, float]:
    """Maps a second of processor time that training reads: 25 random frames in a batch, all views, crops in place and
    moved."""
    with tempfile.TemporaryDirectory() as cache:
        source = CaptureSource(nyu.NyuLayout(capture, VIEWS), "capture", VIEWS, {}, {0: "subject"})
        data = Capture(source, CropOptions(Grid(size), "refined", False), Path(cache))
        split, frames = next(iter(data.splits().items()))
        rng = np.random.default_rng(0)
        batches = [rng.integers(0, frames, 25) for _ in range(40)]
        found = {}
        for name in ("in place", "moved"):
            if name == "moved":
                start = data.frames(split, np.arange(frames)).to_rig[:, 0, :3, 3].numpy()
                data.recentre(split, start + rng.normal(0, 10, start.shape))
            seconds = best(lambda: [data.frames(split, batch) for batch in batches])
            found[f"maps read a second, {name}"] = round(40 * 25 * len(VIEWS) / seconds)
    return found


def memory(capture: Path, jobs: int) -> dict[str, float]:
    """Peak memory of `hpf data prepare` at 64 pixels with all of its processes, MiB, and how long it takes."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-c", "from hpf_cli.main import main; main()", "data", "prepare", "nyu"]
        command += [str(capture), "--out", cache, "--jobs", str(jobs)]
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        peak: dict[str, float] = {"pss_mib": 0.0, "largest_rss_mib": 0.0}
        while process.poll() is None:
            seen = [memory_of(pid) for pid in descendants(process.pid)]
            peak["pss_mib"] = max(peak["pss_mib"], sum(one["Pss"] for one in seen))
            peak["largest_rss_mib"] = max(peak["largest_rss_mib"], *(one["Rss"] for one in seen))
            time.sleep(0.02)
        frames = sum(nyu.count_frames(folder, VIEWS) for folder in capture.iterdir() if folder.is_dir())
        return {
            "frames": frames,
            "jobs": jobs,
            **{name: round(value, 1) for name, value in peak.items()},
            "seconds": round(time.monotonic() - began, 1),
        }


def descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    return [pid, *(below for child in children for below in descendants(int(child)))]


def memory_of(pid: int) -> dict[str, float]:
    """Rss and Pss, MiB; 0 where the process has just ended."""
    found = {"Rss": 0.0, "Pss": 0.0}
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        name = line.partition(":")[0]
        if name in found:
            found[name] = int(line.split()[1]) / 1024
    return found


if __name__ == "__main__":
    main()
