"""The numbers of the hand: names, a neutral right hand in mm, radii, joint limits. `docs/geometry.md` has the frame.

The neutral hand is the first subject of the NYU test annotation (Tompson et al. 2014, ACM ToG 33(5)), a large adult:
the rest positions of the knuckles and the lengths below minimise the distance of this model's 14 evaluated joints to
that annotation (2.1 mm on average over its frames; 2.5 mm for the second subject, the same hand times 0.834). What the
annotation can't tell (where the DIP joint lies between the PIP joint and the tip, the inner points of the palm, the
thickness) follows the mean bone lengths of Buryanov & Kotiuk 2010 ("Proportions of hand segments", Int. J. Morphology
28(3), 755-758) and the hand breadths of Greiner 1991 (US Army Natick TR-92/011).
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

# The KNU*_B points of a finger are its joints, the KNU*_A points the tip and the middles of the two longer segments, so
# that the five links of a finger are all rigid. Each row of weights is over (knuckle, PIP, DIP, tip).
PLACEMENT = (
    (0.0, 0.0, 0.0, 1.0),
    (0.0, 0.0, 1.0, 0.0),
    (0.0, 0.5, 0.5, 0.0),
    (0.0, 1.0, 0.0, 0.0),
    (0.5, 0.5, 0.0, 0.0),
    (1.0, 0.0, 0.0, 0.0),
)

# Where each finger starts: the MCP joints, and for the thumb the CMC joint. mm.
KNUCKLES = (
    (-35.7, -7.5, -6.3),
    (-20.3, -21.4, -2.4),
    (-0.4, -26.9, -2.8),
    (22.4, -22.9, -2.0),
    (18.9, 44.6, -20.4),
)

# Lengths in mm: proximal, middle, and distal up to the centre of the tip's sphere. Thumb: metacarpal, proximal, distal.
LENGTHS = (
    (43.1, 27.3, 16.2),
    (49.8, 31.6, 18.8),
    (54.5, 35.9, 21.3),
    (54.1, 32.2, 19.1),
    (52.7, 44.9, 24.2),
)

# How each finger lies at rest: the angle in the palm's plane from straight up, + towards the thumb; and the roll about
# its own axis that lets bent fingers converge on the base of the thumb. Degrees.
SPLAY_DEG = (-24.0, -10.0, -2.0, 7.0)
ROLL_DEG = (-11.0, -11.0, -6.0, -4.0)

# The thumb at zero angles, beside the index finger: where its metacarpal points, and where flexion takes it.
THUMB_ALONG = (0.471, -0.816, -0.335)
THUMB_FLEXION = (-0.882, -0.441, -0.167)

PALM = (
    (-17.7, 79.4, 0.0),  # PALM_1, the wrist on the little finger's side
    (17.7, 79.4, 0.0),  # PALM_2, the wrist on the thumb's side
    (0.0, 0.0, 0.0),  # PALM_3, the palm's centre
    (22.0, 52.0, -5.0),  # PALM_4, ball of the thumb
    (-1.0, 51.0, 0.0),
    (-24.0, 52.0, -4.0),  # PALM_6, heel of the hand
    (23.0, 2.0, 0.0),
    (-23.0, 4.0, -2.0),
    (-27.0, 28.0, -4.0),
    (-1.0, 25.0, 0.0),
    (25.0, 27.0, -3.0),
)

# Radii in mm, tip to root.
FINGER_RADII = (
    (8.0, 8.5, 9.2, 10.0, 12.0, 15.0),
    (9.0, 9.5, 10.3, 11.2, 13.2, 15.5),
    (9.3, 10.0, 10.8, 11.8, 13.8, 16.0),
    (9.3, 10.0, 10.8, 11.8, 13.8, 16.0),
    (11.0, 12.5, 13.5, 14.8, 18.0, 22.0),
)
PALM_RADII = (20.0, 20.0, 20.0, 22.0, 21.0, 21.0, 20.0, 20.0, 20.0, 20.0, 20.0)

# The palm is a surface of triangles over its points and the knuckles. Its edges are links and bones.
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
# Skin that moves with the thumb: part of the surface, not of the skeleton.
WEB_TRIANGLES = (
    ("TH_KNU1_B", "TH_KNU1_A", "PALM_11"),
    ("TH_KNU1_A", "PALM_7", "PALM_11"),
)
# Triangles alone could fold: the wrist and the palm's centre are a rigid triangle in the annotation as well.
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

# Limits in degrees, (lowest, highest) of each of a finger's four angles; abduction is + towards the thumb's side, and
# the thumb's own is + out of the palm's plane. Lin, Wu & Huang 2000 ("Modeling the constraints of human hand motion",
# HUMO); their 0 degrees of hyperextension are widened to what a relaxed hand shows, and their middle finger, which
# can't spread at all, gets half of the others' range. The thumb's are those that the NYU annotation needs.
FINGER_LIMITS_DEG = ((-15.0, 90.0), (-15.0, 15.0), (-5.0, 110.0), (-5.0, 85.0))
MIDDLE_ABDUCTION_DEG = (-8.0, 8.0)
THUMB_LIMITS_DEG = ((-45.0, 30.0), (-35.0, 35.0), (-10.0, 60.0), (-15.0, 80.0))

# A finger's last joint follows the one before (Lin, Wu & Huang 2000, Eq. 4).
DIP_PER_PIP = 2.0 / 3.0
