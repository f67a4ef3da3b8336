"""One process works on a thing at a time, and one that is gone keeps nothing from the others."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from hpf_core.files.locks import leases as module
from hpf_core.files.locks.leases import Leases, LeaseTaken


def test_a_claim_is_held_by_one_and_given_back(tmp_path: Path) -> None:
    with Leases(tmp_path).hold("a"):
        with pytest.raises(LeaseTaken, match=f"process {os.getpid()} on this machine"), Leases(tmp_path).hold("a"):
            pytest.fail("two hold it")
        with Leases(tmp_path).hold("b"):
            assert len(list(tmp_path.iterdir())) == 2
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt), Leases(tmp_path).hold("a"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_no_two_of_many_hold_it(tmp_path: Path) -> None:
    """Also where each of them finds the claim of a process that is gone."""
    (tmp_path / "a.3").write_text(json.dumps({"where": module._where(), "pid": _gone()}))
    inside, most, turns = 0, 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal inside, most, turns
        for _ in range(30):
            with suppress(LeaseTaken), Leases(tmp_path).hold("a"):
                with lock:
                    inside += 1
                    most, turns = max(most, inside), turns + 1
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert turns > 0
    assert most == 1
    assert not list(tmp_path.iterdir())


def test_a_killed_process_blocks_no_one(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from hpf_core.files.locks.leases import Leases
with Leases(Path({str(tmp_path)!r})).hold("a"):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(LeaseTaken, match=f"process {other.pid} on this machine"), Leases(tmp_path).hold("a"):
            pytest.fail("two hold it")
        other.kill()
        other.wait()
    with Leases(tmp_path).hold("a"):
        assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.0", "a.1"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["elsewhere pid:[1]", None])
def test_an_owner_that_falls_silent_is_gone(tmp_path: Path, where: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another machine; and on this one, where another process may have got its number."""
    claim = tmp_path / "a.0"
    claim.write_text(json.dumps({"where": where or module._where(), "pid": os.getpid()}))
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    leases = Leases(tmp_path, silent_s=10)
    for later, beats in ((0, False), (9, False), (9, True), (9, False)):
        now += later
        if beats:
            os.utime(claim, ns=(0, claim.stat().st_mtime_ns - 5))  # its machine's clock is no matter
        with pytest.raises(LeaseTaken, match="on this machine" if where is None else "on elsewhere"), leases.hold("a"):
            pytest.fail("it isn't silent for long enough")
    now += 2
    with leases.hold("a"):
        assert (tmp_path / "a.1").is_file()


def test_an_owner_says_that_it_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_S", 0.02)
    with Leases(tmp_path).hold("a"):
        claim = tmp_path / "a.0"
        os.utime(claim, ns=(0, 0))
        waited = threading.Event()
        for _ in range(200):
            waited.wait(0.02)
            if claim.stat().st_mtime_ns:
                break
        assert claim.stat().st_mtime_ns > 0
        assert json.loads(claim.read_text())["where"].startswith(socket.gethostname())


def _gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid
