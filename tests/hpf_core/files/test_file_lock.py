"""A lock on a file: one process at a time, whoever dies; and no worker keeps the lock of its killed parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpf_core.files.locks.file_lock import FileLock

HOLD = """
import sys, time
from pathlib import Path
from hpf_core.files.locks.file_lock import FileLock
lock = FileLock(Path(sys.argv[1]))
assert lock.try_take()
LEFT
print("taken", flush=True)
time.sleep(60)
"""


def holding(path: Path, left: str = "") -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLD.replace("LEFT", left), str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"taken\n"
    return process


def test_another_process_is_named_and_its_kill_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    other = holding(path)
    mine = FileLock(path)
    assert not mine.try_take()
    assert mine.holder().startswith(f"process {other.pid} on this machine, since 20")
    other.kill()
    other.communicate()
    assert path.exists(), "a kill leaves the file"
    assert mine.try_take()
    mine.release()
    assert not path.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_worker_that_outlives_its_killed_parent_keeps_no_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    other = holding(path, "import os\nif os.fork() == 0:\n    sys.stdout.close()\n    time.sleep(60)\n    os._exit(0)")
    os.kill(other.pid, signal.SIGKILL)
    other.stdout.close()  # type: ignore[union-attr]
    other.wait()
    mine = FileLock(path)
    for _ in range(50):
        if mine.try_take():
            break
        time.sleep(0.1)
    else:
        pytest.fail("the lock is still held")
    mine.release()


@pytest.mark.parametrize("content", ["", "{", "[" * 5000, '{"process": 1, "host": "\\u001b[31m", "since": ""}', "7"])
def test_a_file_that_says_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "l").write_text(content)
    assert FileLock(tmp_path / "l").holder() == "another process"
