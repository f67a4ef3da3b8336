"""Build the skin of the neutral hand: `hpf_plugins/hands/hand.safetensors`. Run: python tools/build_hand_mesh.py

The skin is the zero of `hand_surface.hand_distance`, meshed evenly by `remesh`, and each vertex is bound to at most
four of the 31 bones that `hpf_plugins/hands/skinning.py` moves. Deterministic; about a minute on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import scipy.sparse as sparse
from hand_surface import FRAMES, KNUCKLES, LENGTHS, hand_distance, ray_distances
from remesh import edges_of, remesh, surface_nets
from safetensors.numpy import save_file
from scipy.sparse.linalg import spsolve

from hpf_plugins.hands.skinning import ASSET, BONES_A_VERTEX

LOW, HIGH, PITCH_MM = np.array([-75.0, -140.0, -75.0]), np.array([100.0, 105.0, 35.0]), 2.4
ON_FINGERS_MM, ON_PALM_MM, LONGEST_MM = 5.1, 6.7, 7.8
ROUNDS = 9

# Half the length in mm over which the skin turns with a joint, at a finger's knuckle, PIP and DIP joint, for the index
# finger; the others' are in proportion to their thickness. The thumb's: CMC, MCP, IP.
TURNS = np.array([[0.86], [0.96], [1.02], [1.0]]) * np.array([[13.0, 9.0, 7.0]])
TURNS = np.concatenate([TURNS, [[17.0, 12.0, 9.5]]])


def edge_length(points: np.ndarray) -> np.ndarray:
    """(K,) mm, the length of edges at points (K, 3) mm: shorter on the fingers than on the palm."""
    reach = np.full(len(points), -np.inf)
    for k in range(5):
        own = (points - KNUCKLES[k]) @ FRAMES[k]
        start = 0.35 * LENGTHS[k][0] if k < 4 else 0.9 * LENGTHS[k][0]
        near = np.hypot(own[:, 0], own[:, 2]) < 17
        reach = np.maximum(reach, np.where(near, -own[:, 1] - start, -np.inf))
    return ON_PALM_MM + (ON_FINGERS_MM - ON_PALM_MM) * np.clip(reach / 12 + 0.5, 0, 1)


def bone_weights(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 31) weights of the bones: the palm, then for each finger the bones of `kinematics.bone_rotations`.

    Which finger moves a vertex is first decided by whose ray is nearest, then diffused over the skin, so that it blends
    in the webs and never jumps from finger to finger. Along a finger, the angle that a vertex has turned grows smoothly
    across each joint, and is shared between the two segments and the bone that turns half way.
    """
    rays = ray_distances(vertices)
    thumb = diffuse((rays.argmin(1) == 4).astype(float)[:, None], faces, 5.0)
    fingers = diffuse(np.eye(4)[rays[:, :4].argmin(1)], faces, 0.35)
    digits = np.concatenate([fingers * (1 - thumb), thumb], axis=1)

    weights = np.zeros((len(vertices), 31))
    for k in range(5):
        along = -((vertices - KNUCKLES[k]) @ FRAMES[k])[:, 1]
        rest = digits[:, k].copy()  # what hasn't been passed on to the next joint
        joints = np.concatenate([[0.0], np.cumsum(LENGTHS[k][:2])])
        parent = 0
        for j in range(3):
            turned = smooth_step((along - joints[j]) / TURNS[k, j])
            weights[:, parent] += rest * np.maximum(1 - 2 * turned, 0)
            weights[:, 1 + 6 * k + 2 * j] += rest * (1 - np.abs(2 * turned - 1))
            rest = rest * np.maximum(2 * turned - 1, 0)
            parent = 2 + 6 * k + 2 * j
        weights[:, parent] += rest
    least = np.sort(weights, axis=1)[:, -BONES_A_VERTEX][:, None]
    weights = np.where((weights >= least) & (weights > 1e-3), weights, 0)
    return weights / weights.sum(1, keepdims=True)


def smooth_step(u: np.ndarray) -> np.ndarray:
    """0 below -1, 1 above 1, and a cubic between."""
    x = np.clip((u + 1) / 2, 0, 1)
    return x * x * (3 - 2 * x)


def diffuse(values: np.ndarray, faces: np.ndarray, time: float) -> np.ndarray:
    """Values (V, K) after implicit diffusion over the mesh's edges, which keeps their sum over K."""
    pairs = edges_of(faces)
    count = len(values)
    one = np.ones(len(pairs))
    beside = sparse.coo_matrix((one, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    beside = beside + beside.T
    laplacian = sparse.diags(np.asarray(beside.sum(1)).ravel()) - beside
    system = (sparse.identity(count) + time * laplacian / 6).tocsc()
    return np.stack([spsolve(system, column) for column in values.T], axis=1)


def build() -> dict[str, np.ndarray]:
    """The asset: vertices (V, 3) mm, faces (F, 3), and for each vertex four bones (V, 4) with their weights (V, 4)."""
    vertices, faces = surface_nets(hand_distance, LOW, HIGH, PITCH_MM)
    vertices, faces = remesh(vertices, faces, hand_distance, edge_length, ROUNDS, LONGEST_MM)
    # A thousandth of a mm, so that other machines' last digits make the same file.
    vertices = np.round(vertices, 3)
    dense = bone_weights(vertices, faces)
    bones = np.argsort(-dense, axis=1, kind="stable")[:, :BONES_A_VERTEX]
    weights = np.round(np.take_along_axis(dense, bones, axis=1), 5)
    weights[:, 0] += 1 - weights.sum(1)
    return {
        "vertices": vertices.astype(np.float32),
        "faces": faces.astype(np.int32),
        "bones": np.where(weights > 0, bones, 0).astype(np.uint8),
        "weights": weights.astype(np.float32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the skin of the neutral hand.")
    default = Path(__file__).parents[1] / "hpf_plugins" / "hands" / ASSET
    parser.add_argument("--out", type=Path, default=default, help="the file to write")
    out = parser.parse_args().out
    made = build()
    save_file(made, out)
    length = np.linalg.norm(np.diff(made["vertices"][edges_of(made["faces"])], axis=1)[:, 0], axis=1)
    print(f"{out}: {len(made['vertices'])} vertices, {len(made['faces'])} faces, ", end="")
    print(f"edges {length.min():.1f} to {length.max():.1f} mm, mean {length.mean():.1f} mm")


if __name__ == "__main__":
    main()
