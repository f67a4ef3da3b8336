"""Room on a disk, in words, and taking turns at a lock file that the one before removes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpf_core.files.disk_space import amount
from hpf_core.files.locks.file_lock import FileLock, fcntl


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (28_240, "28.2 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (3_145_728, "3.15 MB"),
        (15_000_000_000, "15 GB"),
        (1_234_000_000_000_000, "1,234 TB"),
    ],
)
def test_amounts_have_three_digits_in_the_unit_that_suits_them(count: int, said: str) -> None:
    assert amount(count) == said


@pytest.mark.skipif(fcntl is None, reason="no locks here")
def test_who_waited_at_a_removed_lock_file_waits_at_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, next_one = FileLock(path, "it"), FileLock(path, "it")
    waits: list[int] = []

    def waiting(done: int, total: int, what: str) -> None:
        waits.append(len(waits))
        if len(waits) == 1:  # the first one is done, and another one is faster than who waits
            first.release()
            assert not path.exists()
            next_one.wait()
        if len(waits) == 3:
            next_one.release()

    first.wait()
    with FileLock(path, "it", waiting):
        assert path.exists()
    assert len(waits) == 3
    assert list(tmp_path.iterdir()) == []
