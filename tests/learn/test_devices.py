"""What training does on one kind of device only, it does on no other."""

import pytest
import torch

from cloudfree.errors import DeviceError
from cloudfree.learn import learner
from cloudfree.learn.distributed import SINGLE_PROCESS, init_process_group


@pytest.mark.parametrize(("device", "fast"), [("cpu", True), ("mps", False), ("xpu", False)])
def test_the_probe_of_the_processor_speaks_for_no_other_device(device, fast, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert learner._bfloat16_is_fast(device) == fast


def test_autocast_is_not_asked_of_a_device_that_may_not_have_it(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_: pytest.fail("autocast was entered"))
    with learner._autocast("mps"):
        pass


def test_several_processes_do_not_share_a_device_without_collectives(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert init_process_group(torch.device("mps")) == SINGLE_PROCESS
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(DeviceError, match="2 processes on mps"):
        init_process_group(torch.device("mps"))
