"""What a run holds against what: which network fed which, and which control belongs to which stage."""

import pytest

from hpf_core.runs.lineage import Lineage

STAGES = [("pretrain", None), ("more", "pretrain"), ("fit", None), ("control", "fit")]


@pytest.fixture
def lineage():
    return Lineage.of(["pretrain", "more", "fit", "control"], STAGES)


def test_controls_feed_nothing(lineage):
    assert lineage.chain == ["pretrain", "fit"]
    assert lineage.before("fit") == "pretrain"
    assert lineage.before("pretrain") is None


def test_each_stage_has_its_own_control(lineage):
    assert (lineage.control("pretrain"), lineage.control("fit")) == ("more", "control")


def test_a_control_that_was_not_measured_is_none():
    lineage = Lineage.of(["init", "fit"], STAGES)
    assert lineage.control("fit") is None
    assert lineage.before("fit") == "init"


def test_it_is_read_off_a_summary():
    summary = {
        "evaluation": [{"after": "init"}, {"after": "fit"}, {"after": "control"}],
        "stages": [{"name": "fit"}, {"name": "control", "control_of": "fit"}],
    }
    assert Lineage.of_summary(summary) == Lineage(("init", "fit", "control"), {"control": "fit"})
