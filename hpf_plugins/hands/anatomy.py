"""The numbers of the hand: names, a neutral right hand in mm, radii, joint limits. `docs/geometry.md` has the frame.

The neutral hand is a mean adult's, from published anthropometry. Bone lengths are the means of Buryanov & Kotiuk 2010
("Proportions of hand segments", Int. J. Morphology 28(3), 755-758). Hand length (187 mm) and breadth (85 mm) lie midway
between the means of women and men in the US Army survey of 1988 (Gordon et al. 1989, Natick/TR-89/044). We entered
these figures from memory and have since compared them with transcriptions. Only the thumb depends on a dataset: its
limits and its directions of pointing and bending come from statistics of NYU's test annotation. They agree with
published ranges of motion within 12 degrees. `docs/hand.md` has the comparison, the weak spots and the range of
validity.
"""

from __future__ import annotations

FINGERS = ("little", "ring", "middle", "index", "thumb")
_PREFIX = ("F1", "F2", "F3", "F4", "TH")
FINGER_POINTS = ("KNU3_A", "KNU3_B", "KNU2_A", "KNU2_B", "KNU1_A", "KNU1_B")
PALM_POINTS = 11

POINT_NAMES = tuple(f"{finger}_{point}" for finger in _PREFIX for point in FINGER_POINTS) + tuple(
    f"PALM_{k + 1}" for k in range(PALM_POINTS)
)
PART_NAMES = tuple(finger for finger in FINGERS for _ in FINGER_POINTS) + ("palm",) * PALM_POINTS

NYU36 = POINT_NAMES[:36]
NYU14 = tuple(POINT_NAMES[k] for k in (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32))

# The KNU*_B points of a finger are its joints. The KNU*_A points are the tip and the middles of the two longer
# segments. So all five links of a finger are rigid. Each row of weights is over (knuckle, PIP, DIP, tip).
PLACEMENT = (
    (0.0, 0.0, 0.0, 1.0),
    (0.0, 0.0, 1.0, 0.0),
    (0.0, 0.5, 0.5, 0.0),
    (0.0, 1.0, 0.0, 0.0),
    (0.5, 0.5, 0.0, 0.0),
    (1.0, 0.0, 0.0, 0.0),
)

# Mean lengths in mm of Buryanov & Kotiuk 2010, Table I: metacarpal, proximal, middle and distal phalanx, and the soft
# tissue beyond the last phalanx. The thumb has no middle phalanx.
BONES = (
    (53.69, 32.74, 18.11, 15.96, 3.73),
    (58.00, 41.37, 25.65, 17.30, 3.95),
    (64.60, 44.63, 26.33, 17.40, 3.95),
    (68.12, 39.78, 22.38, 15.82, 3.84),
    (46.22, 31.57, 0.00, 21.67, 5.67),
)
# A joint rotates about the centre of the rounded head of the previous bone. These are the distances in mm from that
# bone's end to the centre: for the heads of the metacarpal, the proximal and the middle phalanx.
HEADS = ((6.0, 3.5, 2.5), (7.0, 4.0, 3.0), (7.0, 4.0, 3.0), (7.0, 4.0, 3.0), (6.0, 4.0, 0.0))
# The thumb's metacarpal rotates about a point in the trapezium. This is the distance in mm from that point to the bone.
SADDLE = 3.0
# Distance from the skin at the tip to the centre of the tip's sphere, mm.
TIP_RADII = (6.8, 7.6, 7.8, 7.7, 9.0)


def _lengths() -> tuple[tuple[float, float, float], ...]:
    """Distances between joints, and from the last joint to the centre of the tip's sphere, mm."""
    rows = []
    for (_, proximal, middle, distal, skin), (mcp, pip, dip), tip in zip(
        BONES[:4], HEADS[:4], TIP_RADII[:4], strict=True
    ):
        rows.append((proximal + mcp - pip, middle + pip - dip, distal + skin + dip - tip))
    (metacarpal, proximal, _, distal, skin), (mcp, ip, _) = BONES[4], HEADS[4]
    rows.append((metacarpal + SADDLE - mcp, proximal + mcp - ip, distal + skin + ip - TIP_RADII[4]))
    return tuple(rows)


# Lengths in mm: proximal, middle, and distal up to the centre of the tip's sphere. Thumb: metacarpal, proximal, distal.
LENGTHS = _lengths()

# Base of each finger in mm: the MCP joints, and the CMC joint of the thumb. The middle finger's distance from the wrist
# is the length of its metacarpal and the carpus (30 mm). The others lie on an arc, as their metacarpals do.
KNUCKLES = (
    (-32.5, -8.5, -3.5),
    (-15.5, -17.5, 0.0),
    (3.0, -23.0, 1.0),
    (24.0, -19.5, 0.0),
    (20.0, 42.0, -11.0),
)
# The crease of the wrist, from which hand length is measured: y in mm.
WRIST_Y = 64.6

# Rest pose of each finger in degrees. The first number is the angle in the palm's plane from straight up, + towards the
# thumb. The second is the roll about the finger's axis: bent fingers converge on the base of the thumb.
SPLAY_DEG = (-14.0, -6.0, 0.0, 7.0)
ROLL_DEG = (-9.0, -7.0, -4.0, -1.0)

# The thumb at zero angles lies beside the index finger: direction of its metacarpal, and direction of its flexion.
THUMB_ALONG = (0.471, -0.816, -0.335)
THUMB_FLEXION = (-0.882, -0.441, -0.167)

PALM = (
    (-15.5, 66.0, -2.9),  # PALM_1, the wrist on the little finger's side
    (15.5, 66.0, -3.3),  # PALM_2, the wrist on the thumb's side
    (0.0, 0.0, 0.0),  # PALM_3, the palm's centre
    (6.4, 37.2, -4.0),  # PALM_4, between the balls of thumb and little finger
    (0.6, 61.3, -2.7),
    (-14.6, 40.3, -4.5),  # PALM_6, heel of the hand
    (21.2, -7.2, -2.9),
    (-24.5, 5.7, -4.5),
    (-22.0, 24.7, -5.1),
    (-1.4, 21.4, 0.0),
    (17.0, 15.0, -5.2),
)

# Radii in mm, tip to root. `tools/fit_spheres.py` fitted them and the palm's points to the skin over random poses and
# shapes. No fixed radius fits all hands: these err to both sides.
FINGER_RADII = (
    (6.3, 7.4, 7.7, 8.3, 10.2, 13.2),
    (7.2, 8.5, 8.9, 10.0, 11.3, 13.4),
    (7.7, 8.9, 9.7, 10.7, 11.8, 14.3),
    (7.4, 9.0, 9.2, 10.0, 11.3, 13.1),
    (8.8, 11.5, 11.6, 13.2, 16.0, 14.2),
)
PALM_RADII = (17.1, 15.4, 16.6, 22.8, 22.8, 19.6, 16.5, 16.9, 17.2, 17.5, 18.5)

# Triangles over the points of the palm and the knuckles. Their edges are links and bones.
PALM_TRIANGLES = (
    ("PALM_1", "PALM_2", "PALM_5"),
    ("PALM_1", "PALM_5", "PALM_6"),
    ("PALM_2", "PALM_4", "PALM_5"),
    ("PALM_6", "PALM_5", "PALM_10"),
    ("PALM_6", "PALM_10", "PALM_9"),
    ("PALM_5", "PALM_4", "PALM_10"),
    ("PALM_4", "PALM_11", "PALM_10"),
    ("PALM_9", "PALM_10", "PALM_3"),
    ("PALM_9", "PALM_3", "PALM_8"),
    ("PALM_10", "PALM_11", "PALM_3"),
    ("PALM_11", "PALM_7", "PALM_3"),
    ("PALM_8", "F2_KNU1_B", "F1_KNU1_B"),
    ("PALM_8", "PALM_3", "F2_KNU1_B"),
    ("PALM_3", "F3_KNU1_B", "F2_KNU1_B"),
    ("PALM_3", "PALM_7", "F3_KNU1_B"),
    ("PALM_7", "F4_KNU1_B", "F3_KNU1_B"),
    ("PALM_2", "TH_KNU1_B", "PALM_4"),
    ("PALM_4", "TH_KNU1_B", "PALM_11"),
)
# Triangles without braces could fold. In the annotation, too, the wrist and the palm's centre form a rigid triangle.
PALM_BRACES = (("PALM_1", "PALM_3"), ("PALM_2", "PALM_3"))

ANGLE_NAMES = tuple(
    f"{finger}_{angle}"
    for finger in FINGERS
    for angle in (
        ("cmc_flexion", "cmc_abduction", "mcp_flexion", "ip_flexion")
        if finger == "thumb"
        else ("mcp_flexion", "mcp_abduction", "pip_flexion", "dip_flexion")
    )
)

# Limits in degrees, (lowest, highest), of each finger's four angles. Abduction is + towards the thumb's side, and the
# thumb's own is + out of the palm's plane. Source: Lin, Wu & Huang 2000 ("Modeling the constraints of human hand
# motion", HUMO). We widened their 0 degrees of hyperextension to that of a relaxed hand. Their middle finger can't
# spread; ours has half of the others' range. The thumb's limits cover the NYU annotation and resemble published ranges
# (`docs/hand.md`).
FINGER_LIMITS_DEG = ((-15.0, 90.0), (-15.0, 15.0), (-5.0, 110.0), (-5.0, 85.0))
MIDDLE_ABDUCTION_DEG = (-8.0, 8.0)
THUMB_LIMITS_DEG = ((-45.0, 30.0), (-35.0, 35.0), (-10.0, 60.0), (-15.0, 80.0))

# The DIP joint follows the PIP joint (Lin, Wu & Huang 2000, Eq. 4).
DIP_PER_PIP = 2.0 / 3.0
