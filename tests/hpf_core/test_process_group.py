"""Only an environment in which a group can form makes a process one of several."""

from __future__ import annotations

import pytest

from hpf_core import process_group

WHOLE = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


def test_a_process_of_a_group_knows_its_rank() -> None:
    assert process_group.is_launched(WHOLE)
    assert process_group.rank(WHOLE) == 1
    assert process_group.rank(WHOLE | {"RANK": "0"}) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"WORLD_SIZE": ""},
        {"WORLD_SIZE": "1", "RANK": "0"},
        {"WORLD_SIZE": "two"},
        {"RANK": ""},
        {"RANK": "2"},
        {"RANK": "-1"},
        {"MASTER_ADDR": ""},
        {"MASTER_PORT": " "},
    ],
)
def test_otherwise_it_is_alone(changes: dict[str, str]) -> None:
    assert not process_group.is_launched(WHOLE | changes)
    assert process_group.rank(WHOLE | changes) == 0


def test_without_a_master_there_is_no_group() -> None:
    assert process_group.rank({"RANK": "1", "WORLD_SIZE": "2"}) == 0
    assert process_group.rank({}) == 0
