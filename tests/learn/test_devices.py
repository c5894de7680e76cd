"""What training does on one kind of device only, it does on no other."""

import pytest
import torch

from cloudfree.errors import DeviceError
from cloudfree.learn.distributed import SINGLE_PROCESS, init_process_group


def test_several_processes_do_not_share_a_device_without_collectives(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert init_process_group(torch.device("mps")) == SINGLE_PROCESS
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(DeviceError, match="2 processes on mps"):
        init_process_group(torch.device("mps"))
