"""What a command sets in its own process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cloudfree import process
from cloudfree.errors import CloudfreeError


def test_waiting_is_short_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is put back as it was
        monkeypatch.delenv(name)
    process.tune()
    assert os.environ.pop("GOMP_SPINCOUNT") == "10000"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    process.tune()
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    process.tune()
    assert os.environ["GOMP_SPINCOUNT"] == "7"


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    process.tune()


def test_a_command_ends_without_looking_for_garbage() -> None:
    """It holds 200 000 objects of torch, which the system takes back at once; what is freed in time still is."""
    code = """
from cloudfree import process
from cloudfree.errors import CloudfreeError
class Told:
    def __del__(self): print(self.said)
process.tune()
freed, cycle = Told(), Told()
freed.said, cycle.said, cycle.itself = "freed", "collected", cycle
del freed, cycle
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "freed\n"


@pytest.mark.attack(5)
@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="Windows has no alarm")
def test_what_takes_too_long_is_ended() -> None:
    with pytest.raises(CloudfreeError, match="too long"), process.ending_after(0.05, "too long"):
        time.sleep(10)
    with process.ending_after(10, "too long"):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.attack(5)
@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="Windows has no alarm")
def test_so_is_what_hears_of_nothing() -> None:
    code = """
import signal, time
from cloudfree import process
from cloudfree.errors import CloudfreeError
process._GRACE_S = 0.3
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
with process.ending_after(0.1, "too long"):
    time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (1, "Error: too long\n")


@pytest.mark.parametrize(
    ("group", "limits", "expected"),
    [
        ("0::/\n", {}, 6),
        ("0::/\n", {"": "max 100000"}, 6),
        ("0::/\n", {"": "150000 100000"}, 2),
        ("0::/a/b\n", {"a": "300000 100000", "a/b": "max 100000"}, 3),
        ("0::/a/b\n", {"a": "50000 100000", "a/b": "400000 100000"}, 1),
        ("0::/gone\n", {}, 6),
        ("0::/\n", {"": "no number"}, 6),
        ("0::/\n", {"": "1 0"}, 6),
        ("4:cpu:/a\n", {"a": "100000 100000"}, 6),
        (None, {}, 6),
    ],
)
def test_cores_are_those_that_this_process_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str | None, limits: dict[str, str], expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(process, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(process, "_OWN_CGROUP", tmp_path / "own")
    if group:
        (tmp_path / "own").write_text(group)
    for name, text in limits.items():
        (tmp_path / "cgroup" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name / "cpu.max").write_text(f"{text}\n")
    assert process.cores() == expected


def test_where_the_system_knows_no_affinity_all_cores_count_and_threads_are_bounded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(process, "_OWN_CGROUP", tmp_path / "none")
    assert (process.cores(), process.threads()) == (64, 8)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert (process.cores(), process.threads()) == (1, 1)


def test_threads_of_libraries_are_as_many_as_a_container_allows_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "")  # so that it is put back as it was
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(process, "_container_cores", lambda: float("inf"))
    process.tune()
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setattr(process, "_container_cores", lambda: 1.5)
    process.tune()
    assert os.environ["OMP_NUM_THREADS"] == "2"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    process.tune()
    assert os.environ["OMP_NUM_THREADS"] == "5"
