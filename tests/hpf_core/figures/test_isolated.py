"""The user's settings of matplotlib change no figure, and none of them, nor a figure that fails, ends anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from hpf_core.errors import ReportWarning, skip_on_failure
from hpf_core.figures.colours import FIT, LineLook
from hpf_core.figures.style import house_style, write_figure
from hpf_core.figures.success import Curve, success_figure

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases" / "mplrc"
RC = {
    "style": "font.family: Times New Roman\nfont.size: 22\nsavefig.bbox: tight\nfigure.autolayout: True\n"
    'axes.prop_cycle: cycler(color=["000000"])\nsavefig.dpi: 30\naxes.titlesize: 40\n',
    "usetex": "text.usetex: True\nfont.family: serif\n",
    "unknown": "no.such.key: 1\n",
    "origin": "image.origin: lower\nimage.cmap: jet\nsavefig.transparent: True\n",
    "wrong": "font.size: large\nsavefig.dpi: -\n",
}
DRAW = """
import sys, warnings
from pathlib import Path
import numpy as np
from hpf_core.figures.of_run import RunData, figures_of_run
from hpf_core.figures.fit_sheet import FitRow, SheetLook, fit_sheet
from hpf_core.figures.style import write_figure
from hpf_core.figures.svg import to_svg
errors = np.linspace(1, 30, 40)[:, None]
rows = [{"stage": "fit", "step": k, "loss": 9 / k, "raw": {}} for k in range(1, 60)]
document = {"data": "d", "split": "test", "frames": 40, "joints": 1, "per_joint_mm": {"a": 5.0}}
run = RunData("r", ["init", "fit"], ["init", "fit"], {}, rows, "", {n: document for n in ("init", "fit")},
              {"init": 2 * errors, "fit": errors})
made = {name: draw() for name, draw in figures_of_run(run).items()}
depth = np.arange(256.0).reshape(1, 16, 16)
made["fit_sheet"] = fit_sheet([FitRow("t", depth, depth + 5, np.full((1, 2, 2), 8.0))], SheetLook())
out = Path(sys.argv[1])
for name, figure in made.items():
    if figure is not None:
        write_figure(out / f"{name}.png", figure)
        (out / f"{name}.svg").write_text(to_svg(figure, name, "words"))
"""


def _draw(out: Path, **environment: str) -> dict[str, bytes]:
    """The files that a fresh process draws with these variables, which says nothing."""
    out.mkdir()
    made = subprocess.run(
        [sys.executable, "-c", DRAW, str(out)], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout + made.stderr == ""
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    found = _draw(tmp_path_factory.mktemp("plain") / "out")
    assert {"success.png", "training.svg", "fit_sheet.png"} <= set(found)
    return found


@pytest.mark.parametrize("name", RC)
def test_no_rc_file_changes_a_figure(name: str, plain: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(RC[name])
    assert _draw(tmp_path / "out", MATPLOTLIBRC=str(tmp_path / "matplotlibrc")) == plain


@pytest.mark.skipif(not CASES.is_dir(), reason="no ../shared")
@pytest.mark.parametrize("path", sorted(CASES.glob("*")), ids=lambda path: path.name)
def test_nor_do_the_shared_ones(path: Path, plain: dict[str, bytes], tmp_path: Path) -> None:
    assert _draw(tmp_path / "out", MATPLOTLIBRC=str(path)) == plain


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nbAgg", "nonsense"])
def test_no_backend_changes_a_figure(backend: str, plain: dict[str, bytes], tmp_path: Path) -> None:
    assert _draw(tmp_path / "out", MPLBACKEND=backend) == plain


def test_without_a_home_folder(plain: dict[str, bytes], tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path / "none"), "XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": "", "MPLCONFIGDIR": ""}
    assert _draw(tmp_path / "out", **environment) == plain


def test_settings_of_a_notebook_change_no_figure_and_come_back(tmp_path: Path) -> None:
    curve = Curve("fit", np.linspace(0, 1, 5), LineLook(FIT))

    def draw(name: str) -> bytes:
        return write_figure(tmp_path / name, success_figure([curve], np.arange(5.0), "t")).read_bytes()

    plain = draw("a.png")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "lines.linewidth": 9, "figure.dpi": 20}):
        before = dict(matplotlib.rcParams)
        assert draw("b.png") == plain
        assert dict(matplotlib.rcParams) == before


def test_the_user_s_own_plots_keep_the_user_s_settings(tmp_path: Path) -> None:
    """Who imports HPF first still draws with the settings that a plain import of matplotlib would have read."""
    (tmp_path / "matplotlibrc").write_text("font.size: 31\n")
    program = "import hpf_core.figures.style, matplotlib as m; print(m.rcParams['font.size'], m.rcParams['backend'])"
    environment = {**os.environ, "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "MPLBACKEND": "svg"}
    made = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert made.stdout.split() == ["31.0", "svg"]


def test_settings_come_back_after_an_error() -> None:
    before = dict(matplotlib.rcParams)

    @house_style()
    def broken() -> None:
        assert matplotlib.rcParams["svg.fonttype"] == "none"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_never_imported(tmp_path: Path) -> None:
    program = DRAW + "\nassert 'matplotlib.pyplot' not in sys.modules"
    (tmp_path / "out").mkdir()
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "out")], check=True)


def test_a_figure_that_fails_is_a_warning() -> None:
    with (
        pytest.warns(ReportWarning, match=r"no figure fit\.png: ZeroDivisionError: of the test"),
        skip_on_failure("figure fit.png"),
    ):
        raise ZeroDivisionError("of the test")
