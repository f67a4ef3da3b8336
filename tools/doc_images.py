"""Make the pictures in `docs/images` again, from finished runs: one command after figures or results have changed.

    python tools/doc_images.py --quickstart runs/quickstart-1 --simulated runs/simulated-1

Figures come from the runs' folders, the samples' sheet and their coverage from `hpf data sample`, the hand from
`tools/draw_hand.py`, and the picture of the report from Chromium, if there is one. It lists the pictures that it did
not change.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
_OF_RUNS = {
    "quickstart": {
        "fit": "quickstart.png",
        "worst": "quickstart_worst.png",
        "before_after": "quickstart_before_after.png",
    },
    "simulated": {"fit": "simulated.png", "worst": "simulated_worst.png", "success": "simulated_success.png"},
}
_SAMPLES = 10_000
_PAGE = (1160, 1375)  # pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quickstart", type=Path, help="folder of a finished run of recipes/quickstart.yaml")
    parser.add_argument("--simulated", type=Path, help="folder of a finished run of recipes/simulated.yaml")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    made = {name for run in _OF_RUNS for name in _of_run(parser, run, getattr(given, run), given.out)}
    made |= _report(given.quickstart, given.out)
    made |= _samples(given.out)
    subprocess.run(
        [sys.executable, Path(__file__).parent / "draw_hand.py", "--out", given.out / "hand_mesh.png"], check=True
    )
    made.add("hand_mesh.png")
    left = sorted(path.name for path in IMAGES.glob("*.png") if path.name not in made)
    print(f"made in {given.out}: {', '.join(sorted(made))}")
    print(f"left as they were: {', '.join(left) or 'none'}")


def _of_run(parser: argparse.ArgumentParser, name: str, run: Path | None, out: Path) -> set[str]:
    """Copy the figures of a run; returns their names."""
    if run is None:
        return set()
    if not (run / "summary.json").is_file():
        parser.error(f"{run} holds no finished run of recipes/{name}.yaml")
    for figure, image in _OF_RUNS[name].items():
        shutil.copyfile(run / "figures" / f"{figure}.png", out / image)
    return set(_OF_RUNS[name].values())


def _report(run: Path | None, out: Path) -> set[str]:
    """A picture of the top of a run's report."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if run is None or chromium is None:
        return set()
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
        command += ["--disable-background-networking", f"--user-data-dir={profile}", "--virtual-time-budget=3000"]
        command += [f"--window-size={_PAGE[0]},{_PAGE[1]}", f"--screenshot={out / 'report.png'}"]
        page = (run / "report.html").resolve().as_uri()
        subprocess.run([*command, page], check=True, capture_output=True, timeout=120)
    return {"report.png"}


def _samples(out: Path) -> set[str]:
    """The sheet of synthetic samples, and the figure of what they cover."""
    with tempfile.TemporaryDirectory() as folder:
        sheet = Path(folder) / "samples.png"
        command = ["-m", "hpf_cli.main", "data", "sample", "--stats", str(_SAMPLES), "--out", str(sheet)]
        subprocess.run([sys.executable, *command], check=True)
        shutil.copyfile(sheet, out / "synthetic_samples.png")
        shutil.copyfile(sheet.with_name("samples-coverage.png"), out / "synthetic_coverage.png")
    return {"synthetic_samples.png", "synthetic_coverage.png"}


if __name__ == "__main__":
    main()
