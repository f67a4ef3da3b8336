"""Every joint that HPF knows has a name for people, and no two joints of a hand share one."""

import pytest

from hpf_core.data.layouts.nyu import JOINTS
from hpf_core.evaluation.protocols import PROTOCOLS
from hpf_core.figures.joint_names import people_name, people_names
from hpf_core.interfaces import HandModel


@pytest.mark.parametrize(
    ("joint", "name"),
    [
        ("F3_KNU3_A", "middle tip"),
        ("F1_KNU2_B", "little PIP"),
        ("F4_KNU3_B", "index DIP"),
        ("F2_KNU1_B", "ring MCP"),
        ("TH_KNU3_B", "thumb IP"),
        ("TH_KNU2_B", "thumb MCP"),
        ("TH_KNU1_B", "thumb CMC"),
        ("PALM_1", "wrist, little side"),
        ("PALM_2", "wrist, thumb side"),
        ("PALM_3", "palm centre"),
        ("index_pip", "index PIP"),
        ("thumb_tip", "thumb tip"),
        ("ring_root", "ring root"),
        ("palm", "palm"),
        ("F9_KNU3_A", "F9_KNU3_A"),
        ("their own", "their own"),
    ],
)
def test_names(joint: str, name: str) -> None:
    assert people_name(joint) == name


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_no_two_joints_of_a_protocol_share_a_name(protocol) -> None:
    assert len(set(people_names(protocol.joints))) == len(protocol.joints)
    assert not any("KNU" in name or "_" in name for name in people_names(protocol.joints))


def test_nor_do_those_of_nyu_or_of_the_hand(hand: HandModel) -> None:
    for joints in (JOINTS, hand.names):
        assert len(set(people_names(joints))) == len(joints)
        assert not any("KNU" in name for name in people_names(joints))
