"""The contract of a hand; MANO's skinning against plain loops in float64; its points, its surface, and a run with it.

The hand is a little one of MANO's format (`mano_files`), which the tests make: MANO's own may not be shipped.
"""

import json
import math
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

import hpf_mano.plugin
import numpy as np
import pytest
import torch
from hpf_mano import anatomy, surface
from hpf_mano.convert import main
from hpf_mano.plugin import SPEC, ManoConfig
from mano_files import little_hand, reference, rodrigues, write_pickle
from safetensors.numpy import load_file, save_file

import hpf
from hpf.plugin import Build, DataError, Grid, PluginError, PluginHost, rotation_matrix
from hpf.testing import contract

FOLDER = Path(tempfile.mkdtemp(prefix="hpf-mano-"))
FILE = FOLDER / "right.safetensors"


def converted() -> dict[str, str]:
    """The options of a hand whose file is there."""
    if not FILE.exists():
        assert main([str(write_pickle(FOLDER / "right.pkl", little_hand())), str(FILE)]) == 0
    return {"path": str(FILE)}


@pytest.fixture(scope="module", autouse=True)
def _no_trace():
    yield
    shutil.rmtree(FOLDER)


test_contract = contract(SPEC, converted)


def hand(**options):
    build = Build(grid=Grid(), seed=0, cache=Path("unused"))
    return SPEC.factory(ManoConfig(**{**converted(), **options}), build)


def drawn(count: int, seed: int = 0, **options):
    """Poses anywhere and shapes, float64."""
    made = hand(**options)
    draw = torch.Generator().manual_seed(seed)
    pose, shape = (values.double() for values in made.sample(count, draw))
    pose[:, :6] = torch.randn(count, 6, generator=draw).double() * torch.tensor([1.0, 1, 1, 40, 40, 40])
    return made, pose, shape


# ----------------------------------------------------------------------------------------------------------- skinning


def angles_of(file: Path, coefficients: np.ndarray) -> np.ndarray:
    """(15, 3) rad of coefficients (K,) in standard deviations."""
    model = load_file(file)
    found = model["mean"].astype(np.float64)
    for k, value in enumerate(coefficients):
        found = found + value * model["deviations"][k].astype(np.float64) * model["components"][k].astype(np.float64)
    return found.reshape(15, 3)


def test_skinning_is_the_reference():
    """The same hand but for where it is held: the reference's frame is MANO's, its wrist not turned."""
    made, pose, shape = drawn(2)
    mesh = made.mesh(pose, shape)
    points = made.points(pose, shape)
    for n in range(2):
        skin, joints = reference(FILE, angles_of(FILE, pose[n, 6:].numpy()), shape[n].numpy())
        _, rest = reference(FILE, np.zeros((15, 3)), np.zeros(10))
        # The hand's own axes, from the mean hand: y from the middle knuckle to the wrist, x to the index finger's side.
        y = (rest[0] - rest[4]) / np.linalg.norm(rest[0] - rest[4])
        x = rest[1] - rest[7] - ((rest[1] - rest[7]) @ y) * y
        x /= np.linalg.norm(x)
        own = np.stack([x, y, np.cross(x, y)])
        turn = rodrigues(pose[n, :3].numpy()) @ own
        names = {"F4_KNU1_B": 1, "F3_KNU1_B": 4, "F1_KNU2_B": 8, "F2_KNU3_B": 12, "TH_KNU1_B": 13, "TH_KNU3_B": 15}
        for name, joint in names.items():
            others = np.array([points[n, made.names.index(other)].numpy() for other in names])
            wanted = turn @ (joints[joint] - joints[list(names.values())].mean(axis=0)) * 1000
            found = points[n, made.names.index(name)].numpy() - others.mean(axis=0)
            np.testing.assert_allclose(found, wanted, atol=2e-3)
        centre = 0.75 * joints[[10, 4]].mean(axis=0) * 1000  # the middle of the knuckles, and the wrist's two sides
        sides = [points[n, k].numpy() for k in made.wrist]
        placed = turn @ (skin.T * 1000 - joints[0][:, None] * 1000)
        wrist = points[n, made.names.index("F3_KNU1_B")].numpy() - turn @ (joints[4] - joints[0]) * 1000
        np.testing.assert_allclose(mesh.vertices[n, :-1].numpy(), placed.T + wrist, atol=3e-3)
        in_camera = wrist + turn @ (centre / 0.75 - joints[0] * 1000)
        np.testing.assert_allclose(
            points[n, made.palm_centre].numpy(), 0.75 * in_camera + 0.25 * np.mean(sides, axis=0), atol=3e-3
        )
        np.testing.assert_allclose(points[n, made.palm_centre].numpy(), pose[n, 3:6].numpy(), atol=3e-3)


def test_gradcheck():
    """Also where nothing is turned; of the skin along random directions, for it has many numbers."""
    made, pose, shape = drawn(2, components=4)
    pose[0] = 0
    inputs = (pose.requires_grad_(), shape.requires_grad_())
    assert torch.autograd.gradcheck(lambda p, s: made.points(p, s)[:, ::9], inputs, eps=1e-5, atol=1e-4)
    assert torch.autograd.gradcheck(lambda p, s: made.mesh(p, s).vertices, inputs, eps=1e-5, atol=1e-4, fast_mode=True)


def test_it_turns_and_moves_as_a_whole():
    made, pose, shape = drawn(5)
    rest = pose.clone()
    rest[:, :6] = 0
    turn = rotation_matrix(pose[:, None, :3])
    for at_rest, moved in (
        (made.points(rest, shape), made.points(pose, shape)),
        (made.mesh(rest, shape).vertices, made.mesh(pose, shape).vertices),
    ):
        wanted = (turn * at_rest[..., None, :]).sum(-1) + pose[:, None, 3:6]
        torch.testing.assert_close(moved, wanted, rtol=0, atol=1e-4)


def test_a_right_hand_as_hpf_has_it():
    """Fingers along -y, the index finger and the thumb on the side of +x; fingers bend towards -z."""
    made = hand()
    straight = made.points(torch.zeros(1, 51), torch.zeros(1, 10))[0]
    at = dict(zip(made.names, straight, strict=True))
    assert at["F3_KNU1_B"][1] < -15 < 30 < at["PALM_1"][1]
    assert at["F1_KNU1_B"][0] < at["F2_KNU1_B"][0] < at["F3_KNU1_B"][0] < at["F4_KNU1_B"][0] < at["TH_KNU3_B"][0]
    assert all(at[f"F{k}_KNU3_A"][2] < at[f"F{k}_KNU1_B"][2] - 10 for k in (1, 2, 3, 4))  # the mean pose is bent
    torch.testing.assert_close(at["PALM_3"], torch.zeros(3), rtol=0, atol=1e-4)
    assert at["PALM_1"][0] < -5 < 5 < at["PALM_2"][0]


# ------------------------------------------------------------------------------------------------------------- points


def test_bones_keep_their_length_in_every_pose():
    made, pose, shape = drawn(400)
    bones = made.bones()

    def lengths(pose, shape):
        points = made.points(pose, shape)
        return (points[:, bones.first] - points[:, bones.second]).norm(dim=-1)

    one = shape[:1].expand(400, -1)
    held = lengths(pose, one)
    torch.testing.assert_close(held, held[:1].expand_as(held), rtol=0, atol=1e-3)
    found = lengths(pose, shape)
    assert bool((found <= bones.longest).all())
    assert bool((found >= bones.shortest).all())
    # The ranges are those of the shapes, not more: most of each is used.
    spanned = found.amax(0) - found.amin(0)
    assert float((spanned / (bones.longest - bones.shortest)).min()) > 0.5
    narrow = hand(shape_limit=0.5).bones()
    assert bool((narrow.longest - narrow.shortest < bones.longest - bones.shortest).all())


def test_points_lie_in_the_skin_with_radii_that_reach_it():
    made = hand()
    pose, shape = torch.zeros(1, 51), torch.zeros(1, 10)
    made.get_buffer("_mean").zero_()  # straight, as the spheres are measured
    points, mesh = made.points(pose, shape)[0].double(), made.mesh(pose, shape)
    corners = mesh.vertices[0].double()[mesh.faces] - points[:, None, None]  # (J, F, 3, 3)
    a, b, c = corners.unbind(2)
    la, lb, lc = (side.norm(dim=-1) for side in (a, b, c))
    # The solid angle of each face (van Oosterom & Strackee 1983); 4 pi for each closed surface around the point.
    triple = (a * torch.linalg.cross(b, c)).sum(-1)
    below = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    around = 2 * torch.atan2(triple, below).sum(-1) / (4 * math.pi)
    assert bool((around > 0.9).all())
    nearest = torch.cdist(points, mesh.vertices[0].double()).amin(1)
    assert bool((made.radii >= nearest - 1e-3).all())
    assert bool((made.radii < 1.8 * nearest).all())
    tips = [made.radii[k] for k in made.fingertips]
    assert all(4 < radius < 11 for radius in tips)


def test_radii_are_medians_of_what_is_nearest():
    points = np.array([[0.0, 0, 0], [10.0, 0, 0], [30.0, 0, 0]])
    vertices = np.array([[0.0, 1, 0], [0.0, -2, 0], [0.0, 3, 0], [10.0, 4, 0]])
    np.testing.assert_allclose(surface.radii(points, vertices), [2, 4, math.hypot(20, 4)])


def test_annotations_and_pairs():
    made = hand()
    assert made.names[:6] == ("F1_KNU3_A", "F1_KNU3_B", "F1_KNU2_A", "F1_KNU2_B", "F1_KNU1_A", "F1_KNU1_B")
    assert made.annotations["nyu36"][0] == made.names[:36]
    bundled = PluginHost.load(only=[]).get("hand", "spheres41").spec
    other = bundled.factory(bundled.config(), Build(grid=Grid(), seed=0, cache=Path("unused")))
    assert (made.names, made.parts, made.links) == (other.names, other.parts, other.links)
    assert {"nyu36", "nyu14", "mano21"} == set(made.annotations)
    for key, (names, matrix) in made.annotations.items():
        assert other.annotations[key][0] == names
        np.testing.assert_array_equal(other.annotations[key][1], matrix)
    assert {tuple(pair) for pair in torch.stack(made.collisions()).T.tolist()} == {
        tuple(pair) for pair in torch.stack(other.collisions()).T.tolist()
    }
    np.testing.assert_allclose(anatomy.placement().sum(axis=1), 1)


def test_samples_have_the_covariance_of_the_poses():
    made = hand(pose_limit=5, shape_limit=1)
    pose, shape = made.sample(20_000, torch.Generator().manual_seed(3))
    assert bool((pose[:, :6] == 0).all())
    assert float(shape.abs().max()) == 1.0
    assert float(pose.abs().max()) <= 5
    angles = (made._mean + pose[:, 6:] @ made._axes).numpy()
    coefficients = little_hand(published=False)["hands_coeffs"]
    axes = little_hand(published=False)["hands_components"]
    wanted = axes.T @ np.diag(coefficients.var(axis=0)) @ axes
    np.testing.assert_allclose(np.cov(angles.T), wanted, atol=6e-3)
    few = hand(components=3)
    assert len(few.pose_names) == 9
    same = torch.cat([pose[:4, :9], torch.zeros(4, 42)], dim=1)
    torch.testing.assert_close(few.points(pose[:4, :9], shape[:4]), made.points(same, shape[:4]))


def test_nothing_of_mano_gets_into_a_saved_state():
    assert not hand().state_dict()


# ------------------------------------------------------------------------------------------------------------ surface


def edges_of(faces) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for face in faces for a, b in pairwise([*face, face[0]])]


def test_the_mesh_is_closed_and_looks_outwards():
    made, pose, shape = drawn(3)
    mesh = made.mesh(pose, shape)
    edges = edges_of(mesh.faces)
    assert len(set(edges)) == len(edges)
    assert {(b, a) for a, b in edges} == set(edges)
    corner = mesh.vertices[:, mesh.faces]
    volume = (torch.linalg.cross(corner[:, :, 0], corner[:, :, 1]) * corner[:, :, 2]).sum(dim=(1, 2)) / 6
    assert bool(((volume > 2e4) & (volume < 1e6)).all())  # mm^3
    own = made.mesh(torch.zeros(1, 51), torch.zeros(1, 10)).vertices[0]
    lid = made.mesh(pose, shape).faces[-8:]
    a, b, c = own[lid].unbind(1)
    assert bool((torch.linalg.cross(b - a, c - a)[:, 1] > 0).all())  # down the arm


def octahedron() -> np.ndarray:
    """Its eight faces; corners 0 and 5 are opposite, as are 1 and 3, 2 and 4."""
    return np.array([face for a, b in ((1, 2), (2, 3), (3, 4), (4, 1)) for face in ((0, a, b), (5, b, a))])


def test_every_hole_gets_a_fan_of_its_own():
    faces = octahedron()
    apart = np.array([face for face in faces.tolist() if set(face) not in ({0, 1, 2}, {5, 3, 4})])
    added, loops = surface.fans(apart, 6)
    assert [set(loop.tolist()) for loop in loops] == [{0, 1, 2}, {3, 4, 5}]
    edges = edges_of([*apart, *added])
    assert len(set(edges)) == len(edges) == 3 * (6 + 6)
    assert {(b, a) for a, b in edges} == set(edges)
    whole, none = surface.fans(faces, 6)
    assert whole.shape == (0, 3)
    assert not none


def test_holes_that_share_a_vertex_are_refused():
    faces = np.array([face for face in octahedron().tolist() if set(face) not in ({0, 1, 2}, {0, 3, 4})])
    with pytest.raises(DataError, match="share a vertex"):
        surface.fans(faces, 6)


def test_faces_that_look_inwards_are_turned_round():
    model = load_file(FOLDER / Path(converted()["path"]).name)
    about = {"format": "hpf-mano 1"}
    inwards = FOLDER / "inwards.safetensors"
    save_file({**model, "faces": np.ascontiguousarray(model["faces"][:, ::-1])}, inwards, metadata=about)
    rest = torch.zeros(1, 51), torch.zeros(1, 10)
    mesh = hand(path=str(inwards)).mesh(*rest)
    corner = mesh.vertices[:, mesh.faces]
    assert float((torch.linalg.cross(corner[:, :, 0], corner[:, :, 1]) * corner[:, :, 2]).sum()) > 0


# ---------------------------------------------------------------------------------------------------- files that lack


def test_a_missing_file_says_which_command_makes_it(tmp_path):
    other = tmp_path / "other.safetensors"
    save_file({"v_template": np.zeros((3, 3), dtype=np.float32)}, other)
    text = tmp_path / "text.safetensors"
    text.write_text("not a model")
    for path, what in (
        ("", "no file is given"),
        (str(tmp_path / "none.safetensors"), "there is no file"),
        (str(tmp_path), "there is no file"),
        (str(text), "is damaged"),
        (str(other), "isn't a file that `hpf-mano-convert` of this version wrote"),
    ):
        with pytest.raises(PluginError, match=r"hpf-mano-convert MANO_RIGHT\.pkl") as caught:
            hand(path=path)
        assert what in str(caught.value)
        assert caught.value.exit_code == 2


def test_a_spoilt_file_is_refused(tmp_path):
    model = load_file(converted()["path"])
    model["weights"][5, 3] = np.nan
    save_file(model, tmp_path / "spoilt.safetensors", metadata={"format": "hpf-mano 1"})
    with pytest.raises(DataError, match="weights has entries that aren't finite"):
        hand(path=str(tmp_path / "spoilt.safetensors"))


# ---------------------------------------------------------------------------------------------------------- a whole run


RECIPE = """
name: mano
hand: {{use: mano, path: "{path}", components: 12}}
renderer: spheres
backbone: {{use: hourglass, width: 8, stem: 8, depth: 1}}
grid: {{size: 32}}
data:
  real: {{use: simulated, train: 4, validation: 2, test: 3}}
  synthetic: {{use: synthetic, cone_deg: 60, roll_deg: 45}}
stages:
  pretrain: {{draw: {{synthetic: 3}}, steps: 2, terms: [supervised], lr: 1e-3}}
  fit:
    draw: {{real: 2, synthetic: 2}}
    steps: 3
    terms: [supervised, m2d, d2m, multiview, vae, bone_length, collision]
    lr: 1e-4
terms:
  vae: {{steps: 6, batch: 16, width: 16, latent: 4}}
evaluate: {{data: real, split: test}}
log: {{every: 1, pictures_every: 100, checkpoint_every: 3, gradients_every: 1}}
"""


def test_a_run_from_synthesis_to_fitting(tmp_path, monkeypatch):
    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(path=converted()["path"]))
    host = PluginHost.load(only=[])
    host.add(hpf_mano.plugin)
    recipe = hpf.load_recipe(path, host=host)
    summary = hpf.run(recipe, tmp_path / "run", cache=tmp_path / "cache").summary
    assert [entry["after"] for entry in summary["evaluation"]] == ["pretrain", "fit"]
    assert all(entry["simulated"] and 0 < entry["mean_error_mm"] < 1000 for entry in summary["evaluation"])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in rows if row["stage"] == "fit"][-1]
    assert set(last["raw"]) == {"supervised", "m2d", "d2m", "multiview", "vae", "bone_length", "collision"}
    assert all(math.isfinite(value) for value in last["raw"].values())
    assert last["gradient"]["m2d"] > 0
    assert last["gradient"]["d2m"] > 0
    used = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "mano" in json.dumps(used)
