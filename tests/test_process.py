"""What a command sets in its own process."""

import os
import signal
import subprocess
import sys
import time

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
