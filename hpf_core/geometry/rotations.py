"""Rotations: rotation vectors, matrices, uniform draws, and draws around a view of the palm.

Matrices act on column vectors. A rotation vector is the axis times the angle in radians.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hpf_core.errors import InputError


def rotation_matrix(vector: Tensor) -> Tensor:
    """Convert rotation vectors (..., 3) radians to matrices (..., 3, 3), by Rodrigues' formula.

    Values and gradients are exact at zero too. The two coefficients are even functions of the angle. Below 0.01 rad we
    use their series, with a truncation error below 1e-12.
    """
    squared = vector.square().sum(-1)[..., None, None]
    small = squared < 1e-4
    # Where the series applies, the closed form gets 1 in place of the angle: this avoids 0/0, which spoils gradients.
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    sine = torch.where(small, 1 - squared / 6 + squared.square() / 120, angle.sin() / angle)
    # (1 - cos a) / a^2 as 2 sin^2(a/2) / a^2, which has no cancellation.
    half = (angle / 2).sin() / angle
    cosine = torch.where(small, 0.5 - squared / 24 + squared.square() / 720, 2 * half.square())
    cross = cross_matrix(vector)
    identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return identity + sine * cross + cosine * (cross @ cross)


def cross_matrix(vector: Tensor) -> Tensor:
    """Return matrices (..., 3, 3) that map w to the cross product of `vector` (..., 3) with w."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    rows = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1)
    return rows.unflatten(-1, (3, 3))


def rotation_vector(matrix: Tensor) -> Tensor:
    """Convert matrices (..., 3, 3) to rotation vectors (..., 3) radians, of length at most pi; exact at pi too.

    The conversion computes the quaternion from its largest component (Shepperd 1978, J. Guidance and Control 1(3)), so
    no angle is ill-conditioned. Don't use it for gradients.
    """
    m = matrix
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # Each row is the quaternion (w, x, y, z) times 4 |its own component|. We use the row of the largest component.
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    d, e, f = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    own = torch.stack([1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz], dim=-1)
    rows = torch.stack(
        [
            torch.stack([own[..., 0], a, b, c], dim=-1),
            torch.stack([a, own[..., 1], d, e], dim=-1),
            torch.stack([b, d, own[..., 2], f], dim=-1),
            torch.stack([c, e, f, own[..., 3]], dim=-1),
        ],
        dim=-2,
    )
    best = own.argmax(dim=-1)[..., None, None].expand(*own.shape[:-1], 1, 4)
    quaternion = torch.nn.functional.normalize(rows.gather(-2, best).squeeze(-2), dim=-1)
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    imaginary = torch.where(real < 0, -imaginary, imaginary)
    length = imaginary.norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(length, real.abs())
    tiny = length < 1e-12
    return imaginary * torch.where(tiny, torch.full_like(length, 2.0), angle / torch.where(tiny, 1.0, length))


def random_rotations(count: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw (count, 3, 3) rotations uniformly (Haar measure), on the generator's device.

    A normalised Gaussian quaternion is uniform on the sphere of quaternions (Marsaglia 1972, Ann. Math. Stat. 43(2)).
    """
    quaternion = torch.randn(count, 4, generator=generator, device=generator.device, dtype=torch.float64)
    w, *v = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    imaginary = torch.stack(v, dim=-1)
    cross = cross_matrix(imaginary)
    identity = torch.eye(3, dtype=torch.float64, device=generator.device)
    return (identity + 2 * w[:, None, None] * cross + 2 * cross @ cross).to(dtype)


def sample_view(
    count: int,
    generator: torch.Generator,
    cone_deg: float = 180.0,
    roll_deg: float = 180.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draw (count, 3, 3) rotations from a hand's own frame to a camera's, around the view of the palm with fingers up.

    The identity is that view (`docs/geometry.md`). The camera's viewing direction deviates from the palm's axis by at
    most `cone_deg`; its density is uniform in area on the cap of the sphere. The roll is uniform within +-`roll_deg`.
    Cone and roll of 180 give uniform (Haar) rotations. Draws happen on the generator's device.

    Raises:
        InputError: an angle is outside [0, 180] degrees.
    """
    for name, value in (("cone_deg", cone_deg), ("roll_deg", roll_deg)):
        if not 0 <= value <= 180:
            raise InputError(f"{name} is {value}, but must be from 0 to 180 degrees.")
    draw = torch.rand(count, 3, generator=generator, device=generator.device, dtype=torch.float64)
    height = 1 - draw[:, 0] * (1 - math.cos(math.radians(cone_deg)))
    tilt = height.clamp(-1, 1).arccos()
    azimuth = 2 * math.pi * draw[:, 1]
    roll = (2 * draw[:, 2] - 1) * math.radians(roll_deg)
    zero = torch.zeros_like(tilt)
    # A tilt about an axis in the image plane changes the viewing direction and adds no roll.
    tilting = rotation_matrix(torch.stack([tilt * azimuth.cos(), tilt * azimuth.sin(), zero], dim=-1))
    rolling = rotation_matrix(torch.stack([zero, zero, roll], dim=-1))
    return (rolling @ tilting).to(dtype)
