"""Each clause is seen to fail: on the plugins of `hpf plugins new`, which keep the contract, with one thing broken."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from hpf_core.errors import InputError
from hpf_core.frames import SyntheticSamples
from hpf_core.interfaces import KINDS, Build, Config, Kind, PluginSpec, SyntheticDataset
from hpf_core.plugins import PluginHost
from hpf_core.plugins.scaffold import new_package
from hpf_core.testing import CLAUSES, Clause, Finding, check, clauses_of, contract
from hpf_core.testing.contract import judged
from hpf_core.testing.subject import Subject

Make = Callable[..., PluginSpec]

VALUES = "values = beyond.square().sum(-1).mean(-1)"
FORWARD = "        beyond = (points.abs()"
INIT = "        self.limit_mm = limit_mm\n"
UNIT = '    unit = "mm^2"\n'
DRAWN = "        draw = torch.rand(len(depth), generator=generator, device=generator.device).to(depth)\n"
SAMPLE = "draw = torch.rand(2, count, generator=generator, device=generator.device)"

BROKEN: list[tuple[Kind, str, str, str, str]] = [
    # Every kind: what it says of itself.
    ("prior", "specification", 'source="own work"', 'source=""', "source must be one line"),
    ("refiner", "specification", 'name="mine"', 'name="Mine"', "must be lowercase"),
    ("prior", "options", ', description="How far inside the cube\'s sides the cost begins, mm."', "", "no description"),
    ("prior", "options", "(Config):\n", '(Config, extra="ignore"):\n', "takes an option that it doesn't have"),
    ("prior", "options", "(Config):\n", "(Config, frozen=False):\n", "isn't frozen"),
    ("prior", "interface", "    return Mine(", "    return print(", "built a NoneType, not a Prior"),
    ("backbone", "interface", "def labels(", "def label(", "abstract"),
    ("dataset", "interface", "def to_camera(", "def camera(", "abstract"),
    ("backbone", "determinism", "torch.manual_seed(build.seed)", "pass", "differs"),
    ("backbone", "determinism", "torch.random.fork_rng(devices=[])", "torch.no_grad()", "global random state of torch"),
    ("hand", "determinism", SAMPLE, "draw = torch.rand(2, count)", "same generator gives other samples"),
    ("hand", "determinism", SAMPLE, "draw = torch.full((2, count), 0.5)", "two generators give the same"),
    ("dataset", "determinism", "points = self._moment(", "np.random.rand(1); points = self._moment(", "numpy"),
    (
        "prior",
        "determinism",
        "build.grid.cube_mm / 2",
        "build.grid.cube_mm / 2 + _kept(build, torch.Generator().manual_seed(build.seed))",
        "a cache that only one of another seed had filled, value differs",
    ),
    (
        "prior",
        "determinism",
        "build.grid.cube_mm / 2",
        "build.grid.cube_mm / 2 + _kept(build)",
        "random state of torch",
    ),
    ("prior", "settings", INIT, INIT + "        torch.set_default_dtype(torch.float64)\n", "the default type"),
    ("prior", "settings", FORWARD, "        torch.set_grad_enabled(False)\n" + FORWARD, "whether gradients are made"),
    (
        "refiner",
        "settings",
        "        return points",
        "        os.chdir('/')\n        return points",
        "working directory",
    ),
    # Shapes.
    ("prior", "shapes", VALUES, "values = beyond.square().sum(-1).mean()[None]", "1 values of 5 estimates"),
    ("prior", "shapes", "torch.ones_like(values))", "1 + values)", "weights have a gradient"),
    ("prior", "shapes", "torch.ones_like(values))", "-torch.ones_like(values))", "weight is negative"),
    ("prior", "shapes", "torch.ones_like(values))", "values > 0)", "weights is torch.bool"),
    ("prior", "shapes", UNIT, '    unit = ""\n', "no unit"),
    ("data_term", "shapes", "step.pair_frame(cross))", "step.pair_frame(cross) + 9)", "beyond the 3 frames"),
    ("data_term", "shapes", ".square().sum(-1)\n", ".square()\n", "values is (27, 3), not (27,)"),
    ("hand", "shapes", "return turned + pose", "return turned.float() + pose.float()", "not float64"),
    ("hand", "shapes", '"bend")', ")", "sampled pose is (4, 7), not (4, 6)"),
    (
        "renderer",
        "shapes",
        "torch.where(hit, front.indices, 0)",
        "torch.where(hit, front.indices, 0).int()",
        "error|int",
    ),
    (
        "renderer",
        "shapes",
        "moved[1].detach()], dim=-1)",
        "moved[1].detach()], dim=1)",
        "anchor is (5, 2, 32, 32), not (5, 32, 32, 2)",
    ),
    ("backbone", "shapes", ".unflatten(-1, (self.points, 3))", "", "points is (3, 123), not (3, 41, 3)"),
    ("backbone", "shapes", "return (Estimate(", "return (tuple(", "error|not an Estimate"),
    ("transform", "shapes", "torch.where(depth < self.far_mm, pushed, depth)", "pushed[:, 1:]", "not (3, 32, 32)"),
    ("refiner", "shapes", ".clamp(-self.limit_mm, self.limit_mm)", "[:, 1:]", "(5, 40, 3), not (5, 41, 3)"),
    # Tensor code.
    ("prior", "meta device", FORWARD, "        points.sum().item()\n" + FORWARD, "item"),
    (
        "prior",
        "meta device",
        INIT,
        INIT + "        self.first = torch.tensor([0])\n",
        "the tensor first stays behind on the CPU: make it a buffer",
    ),
    ("renderer", "meta device", "axis = grid.axis(points.device, points.dtype)", "axis = grid.axis()", "meta"),
    ("hand", "meta device", SAMPLE, SAMPLE.replace(", device=generator.device", ""), "random numbers on the CPU"),
    (
        "hand",
        "meta device",
        "((3, 0), (3, 5)), device=self.rest.device",
        "((3, 0), (3, 5))",
        "collisions().first is on cpu",
    ),
    ("transform", "meta device", DRAWN, DRAWN + "        depth.mean().item()\n", "item"),
    ("transform", "meta device", DRAWN, DRAWN + "        draw = draw * (draw[0].item() > 0.5)\n", "item"),
    ("transform", "meta device", DRAWN, DRAWN + "        draw = draw.numpy()\n", "numpy"),
    (
        "transform",
        "meta device",
        ", device=generator.device",
        "",
        "random numbers on the CPU: say device=generator.device",
    ),
    ("prior", "no mutation", FORWARD, "        points.clamp_(-50, 50)\n" + FORWARD, "changes its input points"),
    (
        "data_term",
        "no mutation",
        "        target = ",
        "        step.real.points.mul_(1)\n        target = ",
        "real.points",
    ),
    (
        "backbone",
        "no mutation",
        "return Estimate(points)",
        "return Estimate(points.mul_(1))",
        "changes its input points",
    ),
    ("prior", "finite", VALUES, "values = points.square().sum((-1, -2)).sqrt()", "gradient on points isn't finite"),
    (
        "prior",
        "finite",
        VALUES,
        "values = 1 / points.norm(dim=-1).mean(-1)",
        "value isn't finite with coincident points",
    ),
    (
        "prior",
        "finite",
        VALUES,
        "bones = points[:, [0, 1, 3]].diff(dim=1); "
        "values = torch.acos(torch.cosine_similarity(bones[:, 1:], bones[:, :-1], dim=-1).clamp(-1, 1)).mean(-1)",
        "gradient on points isn't finite with points on a line",
    ),
    ("data_term", "finite", ".clamp_min(1)", "", "finite with empty depth maps"),
    ("renderer", "finite", "gap.clamp_min(self.rim_floor_mm2).sqrt()", "gap.sqrt()", "gradient on points"),
    (
        "refiner",
        "finite",
        ".clamp(",
        " / points.norm(dim=-1, keepdim=True) * 10 + 0 * points.clamp(",
        "coincident points",
    ),
    (
        "transform",
        "finite",
        "(2 * draw - 1)",
        "(2 * draw - 1) / (depth.amin((1, 2)) - self.far_mm)",
        "empty depth maps",
    ),
    (
        "prior",
        "gradient",
        FORWARD,
        "        points = points.detach()\n" + FORWARD,
        "no output has a gradient on points",
    ),
    ("backbone", "gradient", "half_cube_mm))\n", "half_cube_mm)).detach()\n", "detached"),
    ("prior", "batch order", VALUES, VALUES + " * torch.arange(1, len(points) + 1)", "another order"),
    (
        "prior",
        "batch order",
        VALUES,
        VALUES + " + beyond.square().mean() + points.abs().mean()",
        "depends on its batch",
    ),
    ("backbone", "batch order", "depth[:, None] /", "(depth - depth.mean(0))[:, None] /", "depends on its batch"),
    ("refiner", "batch order", "return points.clamp", "return points.flip(0).clamp", "items are mixed up"),
    ("data_term", "batch order", "step.pair_frame(cross))", "step.pair_frame(cross).flip(0))", "each frame's value"),
    ("data_term", "batch order", "values = (", "values = torch.arange(len(target)) * (", "another order"),
    (  # accelerations are the same when time runs backwards
        "data_term",
        "batch order",
        "return TermValue(values,",
        "moment = step.real.points.unflatten(0, (3, 3)).mean((1, 2))\n"
        "        values = values + (moment[0] - 2 * moment[1] + moment[2]).square().sum()\n"
        "        return TermValue(values,",
        "in another order value differs",
    ),
    (
        "data_term",
        "batch order",
        "return TermValue(values,",
        "return TermValue(values - values.mean(),",
        "seen apart, the sum of values x weights differs",
    ),
    ("prior", "save and load", FORWARD, "        self.limit_mm -= 1\n" + FORWARD, "some state isn't saved"),
    (
        "refiner",
        "save and load",
        "        return points",
        "        self.register_buffer('kept', points)\n        return points",
        "can't be loaded into a fresh one",
    ),
    (
        "prior",
        "compile",
        FORWARD,
        "        if points.sum() > 0:\n            points = points + 0\n" + FORWARD,
        "fullgraph",
    ),
    (
        "prior",
        "compile",
        VALUES,
        VALUES
        + "\n        if torch.compiler.is_compiling():\n            values = 1.01 * values - 0.01 * values.detach()",
        "compiled, the gradient on points differs",
    ),
    (
        "backbone",
        "compile",
        "half_cube_mm))\n",
        "half_cube_mm))\n        if torch.compiler.is_compiling():\n            found = found.detach() + 0 * found\n",
        "compiled, the gradient on",
    ),
    ("prior", "autocast", VALUES, "values = (beyond.flatten(1) @ beyond.flatten(1).T).diagonal()", "float32"),
    # Hands, renderers, backbones.
    ("hand", "names and indices", "(3, 5), (1,), 0", "(3, 6), (1,), 0", "fingertips has a number"),
    ("hand", "names and indices", "(3, 5), (1,), 0", "(3, 5), (), 0", "wrist names no point"),
    ("hand", "names and indices", "((3, 0), (3, 5))", "((3, 3), (3, 5))", "pairs a point with itself"),
    ("hand", "bone ranges", "length * self.size_range[1]", "length", "out of its range"),
    ("hand", "rigid motion", "pose[:, None, :3]", "-pose[:, None, :3]", "points of a turned and moved pose"),
    (
        "hand",
        "rigid motion",
        "self.points(pose, shape), self.radii",
        "self.points(0 * pose, shape), self.radii",
        "mesh",
    ),
    ("hand", "rigid motion", "draw.new_zeros(count, 6)", "draw.new_ones(count, 6)", "six zeros"),
    ("hand", "closed mesh", "        return of_spheres(", "        return _flipped(", "faces look inwards"),
    ("hand", "closed mesh", "        return of_spheres(", "        return _first_flipped(", "faces look inwards"),
    ("hand", "closed mesh", "        return of_spheres(", "        return _open(", "not closed"),
    ("renderer", "orthographic", "axis[:, None] - y", "0.5 * axis[:, None] - y", "moved"),
    ("renderer", "orthographic", "column + moved[0]", "column + 9 + moved[0]", "off their pixels' rays"),
    ("renderer", "orthographic", "surface = z -", "surface = 0 * z -", "moved 12 mm away"),
    (
        "renderer",
        "one surface",
        "- radii.gather(1, primitive)).abs()",
        "- radii.gather(1, primitive) - 9).abs()",
        "off the surface",
    ),
    (
        "renderer",
        "one surface",
        "(distance, primitive)",
        "(0 * distance, primitive)",
        "they are 0 to 0 mm from the surface",
    ),
    (
        "renderer",
        "one surface",
        "(distance, primitive)",
        "(distance.square(), primitive)",
        "nearest point is 909 to 1000 mm",
    ),
    ("renderer", "slopes", "(distance, primitive)", "(distance.detach(), primitive)", "distance has no gradient"),
    (
        "renderer",
        "slopes",
        "(distance, primitive)",
        "(2 * distance - distance.detach(), primitive)",
        "as its gradient has it",
    ),
    ("renderer", "slopes", "(depth, hit", "(depth.detach(), hit", "depth().depth has no gradient"),
    ("renderer", "slopes", "(depth, hit", "(2 * depth - depth.detach(), hit", "depth().depth follows by 2 mm"),
    (
        "renderer",
        "slopes",
        "row + moved[1] - moved[1].detach()",
        "row + 0 * moved[1]",
        "moved along y by a mm, depth().anchor follows by 0 mm",
    ),
    (
        "renderer",
        "shapes",
        "        x, y, z = (",
        "        self.axis = axis = getattr(self, 'axis', axis)\n        x, y, z = (",
        "over another grid is (5, 32, 32), not (5, 20, 20)",
    ),
    (
        "renderer",
        "radius scale",
        "    radii: Tensor\n",
        "    radii: Tensor\n    measures_radius_scale = True\n",
        "lacks the method `measure_radius_scale`",
    ),
    (
        "renderer",
        "radius scale",
        "radii if radius_scale is None else radii * radius_scale.to(points)[:, None]",
        "radii",
        "shows no thicker hand",
    ),
    (
        "renderer",
        "radius scale",
        "        radii = self._radii(points, radius_scale)\n        with",
        "        radii = self._radii(points, None)\n        with",
        "both must multiply the radii by it",
    ),
    (
        "backbone",
        "provides",
        '    source="own work",\n',
        '    source="own work",\n    provides=frozenset({"heatmaps"}),\n',
        "doesn't fill",
    ),
    (
        "backbone",
        "provides",
        "(self.points, 3))),)",
        "(self.points, 3)), variance=depth.new_ones(len(depth), self.points)),)",
        "doesn't declare",
    ),
    ("backbone", "labels", "return Estimate(points)", "return Estimate(points.flip(-1))", "mm off"),
    # Refiners.
    ("refiner", "hands stay hands", "return points", "return points.roll(1, dims=1)", "is where PALM_11 was"),
    ("refiner", "hands stay hands", "self.limit_mm)", "self.limit_mm) / 1000", "more than all in one place would be"),
    # Terms.
    (
        "data_term",
        "needs",
        "        target = ",
        "        step.real.variance.sum()\n        target = ",
        "real images and points alone",
    ),
    ("data_term", "needs", '    needs=frozenset({"real"}),\n', "", "synthetic images and points alone"),
    (
        "prior",
        "weight 0",
        FORWARD,
        "        points.register_hook(lambda grad: 2 * grad)\n" + FORWARD,
        "gradient of the other",
    ),
    (
        "prior",
        "weight 0",
        FORWARD,
        "        points.register_hook(lambda grad: 1.00005 * grad)\n" + FORWARD,
        "even at weight 0: on real.points differs",
    ),
    (
        "data_term",
        "weight 0",
        ".square().sum(-1)\n",
        ".square().sum(-1) + (0 * step.real.heatmaps).sqrt().sum()\n",
        "even at weight 0: on real.heatmaps differs by up to inf",
    ),
    ("prior", "weight 0", VALUES, "values = beyond.square().sum((-1, -2)) / 0", "the loss is nan"),
    (
        "data_term",
        "weight 0",
        "        target = ",
        "        with torch.no_grad():\n            step.depth_maps.add_(1)\n        target = ",
        "the loss is",
    ),
    ("prior", "invariances", '{"mirror"}', '{"mirror", "translation"}', "invariant to translation, which changes"),
    ("prior", "invariances", '{"mirror"}', '{"mirrors"}', "known: mirror, rotation, translation"),
    (
        "data_term",
        "invariances",
        UNIT,
        UNIT + '    invariances = frozenset({"mirror"})\n',
        "known: rotation, translation",
    ),
    # Datasets.
    (
        "dataset",
        "images",
        "rendered.depth.cpu().float(), self.grid.far_mm",
        "rendered.depth.cpu().float(), 0.0",
        "far value",
    ),
    (
        "dataset",
        "images",
        "rendered.depth.cpu().float(), self",
        "rendered.depth.cpu().float() + 800, self",
        "beyond the cube",
    ),
    ("dataset", "images", ".to(torch.uint8)", "", "state is torch.int64, not uint8"),
    (
        "dataset",
        "frames",
        "index=torch.from_numpy(np.asarray(indices, np.int64))",
        "index=torch.arange(len(indices)) + 1",
        "not the numbers asked for",
    ),
    ("dataset", "frames", "rig[:, 1, :3, :3] = ", "rig[:, 1, :3, :3] = 2 * ", "isn't a rotation"),
    ("dataset", "frames", '"test": self.config.test', '"test": 0', "none to draw"),
    ("dataset", "frames", "to_rig=rig", "to_rig=invert_rigid(rig)", "mm apart in the rig"),
    (
        "dataset",
        "frames",
        "        points = self._moment(split, indices)\n",
        "        points = self._moment(split, indices) + float(len(indices))\n",
        "is asked for alone",
    ),
    (
        "dataset",
        "frames",
        "* pose.new_tensor([0.0, 0.0, 0.1])",
        "* pose.new_tensor([0.0, 0.0, 0.1]) + torch.arange(len(indices))[:, None]",
        "in another order",
    ),
    (
        "dataset",
        "evaluation",
        "return Labels(joints, names",
        "return Labels(joints[:1], names",
        "labels of 'train' are",
    ),
    (
        "dataset",
        "evaluation",
        "self.annotation = next(iter(hand.annotations))",
        'self.annotation = "nyu"',
        "hand model lacks",
    ),
    ("dataset", "evaluation", '{0: "nobody"}', '{1: "nobody"}', "subject_names"),
    (
        "dataset",
        "evaluation",
        "return Labels(joints,",
        "return Labels(joints - [0, 0, AWAY_MM],",
        "mm from the crop's middle",
    ),
    (
        "dataset",
        "crops that move",
        "    simulated = True\n",
        "    simulated = True\n    recentres = True\n",
        "can't be moved",
    ),
    # Transforms and observers.
    ("transform", "applies to", '{"real"}', '{"real", "synthetic"}', "labels stay where they are"),
    ("transform", "applies to", '{"real"}', '{"reel"}', "applies_to is"),
    ("transform", "applies to", '{"real"}', '{"synthetic"}', "labels stay where they are"),
    ("transform", "draws", "generator=generator, ", "", "same generator gives other images"),
    ("transform", "draws", "generator=generator", "generator=torch.Generator().manual_seed(7)", "generator isn't used"),
    ("transform", "draws", "- push[:, None]]", "- push[:, None] * torch.rand(())]", "ways back: points differs"),
    ("transform", "way back", "- push[:, None]]", "+ push[:, None]]", "the way back doesn't undo"),
    ("transform", "way back", "- push[:, None]]", "+ 0 * push[:, None]]", "the way back doesn't undo"),
    ("transform", "way back", "torch.where(depth < self.far_mm, pushed, depth)", "pushed", "mm off the hand's surface"),
    (
        "transform",
        "images apart",
        "push = self.most_mm * (2 * draw - 1)",
        "push = self.most_mm * (2 * draw - 1) + 0.1 * depth.mean()",
        "with the other images empty, of image 0 depth differs",
    ),
    (
        "transform",
        "images apart",
        "z - push[:, None]]",
        "z - z.mean() - push[:, None]]",
        "of image 0 points differs",
    ),
    (
        "transform",
        "images apart",
        "        push = ",
        "        draw = torch.where(depth.flatten(1).amin(1) < 0, torch.rand(int((depth < 0).sum()) + len(depth), "
        "generator=generator)[-len(depth) :], draw)\n        push = ",
        "with the other images empty",
    ),
    (
        "observer",
        "events",
        "def stage_started(self, stage: str, steps: int, done: int)",
        "def stage_started(self, stage: str)",
        "must take",
    ),
    ("observer", "a whole run", 'f"evaluated after', "f\"evaluated {result['mean']} after", "KeyError"),
    (
        "observer",
        "a whole run",
        '        self._write(f"evaluated',
        '        result.clear()\n        self._write(f"evaluated',
        "changes the document",
    ),
    (
        "observer",
        "a whole run",
        '        self._write(f"evaluated',
        '        exit(3)\n        self._write(f"evaluated',
        "SystemExit: 3",
    ),
    (
        "observer",
        "a whole run",
        '        self._write(f"evaluated',
        '        torch.set_grad_enabled(False)\n        self._write(f"evaluated',
        "evaluated() changes whether gradients are made",
    ),
    (
        "observer",
        "a whole run",
        '        self._write(f"evaluated',
        '        self.path.with_name("summary.json").unlink()\n        self._write(f"evaluated',
        "removes or changes summary.json",
    ),
]
"""Kind, clause, what is replaced in a plugin that keeps the contract, by what, and a part of what is then said."""

SYNTHETIC: list[tuple[str, Callable[[SyntheticSamples], SyntheticSamples], str]] = [
    ("samples", lambda s: replace(s, points=s.points + 1), "1 mm off what the hand model makes of pose and shape"),
    ("samples", lambda s: replace(s, pose=s.pose[:, 1:]), "pose is (4, 25), not (4, 26)"),
    ("samples", lambda s: replace(s, state=0 * s.state), "no sample shows a surface"),
    ("images", lambda s: replace(s, depth=s.depth + 1), "far value"),
    ("images", lambda s: replace(s, depth=s.depth.double()), "not float32"),
    ("images", lambda s: replace(s, cube_mm=250.0), "cube_mm is 250"),
    ("determinism", lambda s: replace(s, points=s.points + torch.rand(())), "the same generator gives other samples"),
    ("determinism", lambda s: replace(s, points=0 * s.points), "two generators give the same samples"),
]
"""Clause, what becomes of a synthetic dataset's samples, and a part of what is then said."""

HELPERS = """
def _flipped(*given):
    made = of_spheres(*given)
    return made._replace(faces=made.faces.flip(1))


def _first_flipped(*given):
    made = of_spheres(*given)
    first = made.faces[:, :1] < 12  # an icosahedron's corners
    return made._replace(faces=torch.where(first, made.faces.flip(1), made.faces))


def _kept(build, generator=None):
    path = build.cache / "kept.txt"
    if not path.exists():
        path.write_text(str(float(torch.rand((), generator=generator))))
    return float(path.read_text())


def _open(*given):
    made = of_spheres(*given)
    return made._replace(faces=made.faces[1:])
"""


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("packages")
    return {kind: new_package(kind, "mine", folder / kind)[0].read_text() for kind in KINDS}


@pytest.fixture
def made(texts: dict[str, str]) -> Iterator[Make]:
    """The plugin of a kind with some of its text replaced."""
    modules: list[str] = []

    def make(kind: str, *changes: tuple[str, str]) -> PluginSpec:
        text = texts[kind]
        for old, new in changes:
            assert old in text, f"the {kind} of `hpf plugins new` has no {old!r}"
            text = text.replace(old, new)
        text = f"import os\nimport torch\n{text}"
        module = ModuleType(f"broken_{kind}")
        sys.modules[module.__name__] = module
        modules.append(module.__name__)
        exec(compile(text + HELPERS, f"{kind}.py", "exec"), module.__dict__)
        spec: PluginSpec = module.__dict__["SPEC"]
        return spec

    yield make
    for name in modules:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("kind", "name", "old", "new", "why"),
    BROKEN,
    ids=[f"{kind}-{name.replace(' ', '_')}-{i}" for i, (kind, name, *_) in enumerate(BROKEN)],
)
def test_a_clause_finds_what_breaks_it(made: Make, kind: Kind, name: str, old: str, new: str, why: str) -> None:
    clause = next(clause for clause in clauses_of(kind) if clause.name == name)
    found = judged(clause, Subject(made(kind, (old, new))))
    assert found.status == "broken", found
    assert any(part in found.why for part in why.split("|")), found.why


@pytest.mark.parametrize(("name", "change", "why"), SYNTHETIC)
def test_a_clause_finds_what_breaks_samples(
    name: str, change: Callable[[SyntheticSamples], SyntheticSamples], why: str
) -> None:
    spec = PluginHost.load(only=[]).get("dataset", "synthetic").spec

    def build(config: Config, build: Build) -> SyntheticDataset:
        data: SyntheticDataset = spec.factory(config, build)
        data.sample = lambda count, generator, draw=data.sample: change(draw(count, generator))  # type: ignore[method-assign, misc]
        return data

    clause = next(clause for clause in clauses_of("dataset") if clause.name == name)
    found = judged(clause, Subject(replace(spec, factory=build)))
    assert found.status == "broken", found
    assert why in found.why


def test_every_clause_is_seen_to_fail() -> None:
    assert {clause.name for clause in CLAUSES} == {name for _, name, *_ in BROKEN} | {name for name, *_ in SYNTHETIC}
    assert {kind for kind, *_ in BROKEN} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_packages_that_are_begun_from_keep_the_contract(made: Make, kind: Kind) -> None:
    found = list(check(made(kind)))
    assert [finding.clause for finding in found] == list(clauses_of(kind))
    assert not [(finding.clause.name, finding.why) for finding in found if finding.status == "broken"]


class _Items:
    """What pytest would make of a contract."""

    def __init__(self, test: Any) -> None:
        (mark,) = test.pytestmark
        self.clauses: list[Clause] = [parameter.values[0] for parameter in mark.args[1]]
        self.test = test

    def outcome(self, name: str) -> str:
        clause = next(clause for clause in self.clauses if clause.name == name)
        try:
            self.test(clause)
        except (pytest.fail.Exception, pytest.skip.Exception) as outcome:
            return f"{type(outcome).__name__}: {outcome}"
        return "passed"


def test_the_contract_as_a_test(made: Make) -> None:
    """One test for each clause; failures name the plugin, the clause, what it asks for and how it is broken."""
    spec = made("prior", (VALUES, VALUES + ".detach()"))
    items = _Items(contract(spec, {"margin_mm": 5.0}, waived={"autocast": "it is never run so"}))
    assert items.clauses == list(clauses_of("prior"))
    assert items.outcome("options") == "passed"
    assert items.outcome("autocast") == "Skipped: it is never run so"
    said = items.outcome("gradient")
    assert said.startswith("Failed: prior 'mine' breaks the clause 'gradient' (a gradient flows")
    assert "no output has a gradient on points" in said
    assert "the options {'margin_mm': -1}" in _Items(contract(spec, {"margin_mm": -1})).outcome("options").replace(
        "its options", "the options"
    )
    with pytest.raises(InputError, match=r"no clause 'autocst'\. Did you mean 'autocast'"):
        contract(spec, waived={"autocst": "?"})


def test_options_may_be_made_when_a_test_runs(made: Make) -> None:
    asked = []

    def options() -> dict[str, float]:
        asked.append(1)
        return {"margin_mm": 5.0}

    items = _Items(contract(made("prior"), options))
    assert not asked
    assert items.outcome("options") == items.outcome("shapes") == "passed"
    assert asked == [1]


def test_a_hand_of_ones_own(made: Make) -> None:
    """A prior is built with the hand that it is for."""
    prior = made("prior", ("return Mine(build", "assert len(build.need_hand().names) == 6\n    return Mine(build"))
    assert _statuses(check(prior))["interface"] == "broken"
    assert "broken" not in _statuses(check(prior, hand=made("hand"))).values()


def test_a_term_on_sequences_is_exempt_from_their_order(made: Make) -> None:
    spec = made(
        "data_term", ("values = (", "values = torch.arange(len(target)) * ("), (UNIT, UNIT + "    sequential = True\n")
    )
    clause = next(clause for clause in CLAUSES if clause.name == "batch order")
    assert judged(clause, Subject(spec)).status == "not applicable"


def test_a_transform_may_draw_nothing(made: Make) -> None:
    spec = made("transform", (DRAWN, "        draw = torch.full((len(depth),), 0.9, device=depth.device)\n"))
    assert "broken" not in _statuses(check(spec)).values()


def test_any_failure_of_a_plugin_is_a_finding(made: Make) -> None:
    spec = made("prior", (FORWARD, "        raise KeyError('thumb')\n" + FORWARD))
    found = {finding.clause.name: finding for finding in check(spec)}
    assert found["shapes"] == Finding(found["shapes"].clause, "broken", "KeyError: 'thumb'")
    assert found["options"].status == "holds"


def _statuses(findings: Any) -> dict[str, str]:
    return {finding.clause.name: finding.status for finding in findings}


def test_nothing_is_left_behind(made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    subject = Subject(made("observer"))
    for clause in clauses_of("observer"):
        assert judged(clause, subject).status == "holds"
    del subject
    gc.collect()
    assert not list(tmp_path.iterdir())
