"""Which device and precision a name means, on machines that have them or not."""

import pytest
import torch

from cloudfree.errors import DeviceError
from cloudfree.network.device import bfloat16_instructions, bfloat16_pays, resolve_device, resolve_precision
from cloudfree.network.models import Identity
from cloudfree.reconstruct.predictor import Predictor

MPS = torch.device("mps")


def machine(monkeypatch: pytest.MonkeyPatch, *, cuda: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: mps)


@pytest.mark.parametrize(("cuda", "mps", "expected"), [(0, False, "cpu"), (0, True, "cpu"), (1, True, "cuda")])
def test_auto_is_cuda_or_cpu(cuda: int, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cuda=cuda, mps=mps)
    assert resolve_device("auto") == torch.device(expected)


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1", "mps"])
def test_a_device_that_is_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cuda=2, mps=True)
    assert resolve_device(name) == torch.device(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mps", "--device is mps and no MPS device is available here; use --device cpu or auto"),
        ("cuda", "--device is cuda and no CUDA device is available here; use --device cpu or auto"),
        ("xpu", "--device is xpu; auto, cpu, cuda, cuda:N and mps are known: choose one of them"),
    ],
)
def test_a_device_that_is_not_there(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch)
    with pytest.raises(DeviceError) as caught:
        resolve_device(name)
    assert caught.value.message == message


def test_a_number_beyond_the_last_device(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cuda=2, mps=True)
    with pytest.raises(DeviceError, match=r"cuda:2 and 2 CUDA device\(s\) are available"):
        resolve_device("cuda:2")
    with pytest.raises(DeviceError, match=r"mps:1 and 1 MPS device\(s\) are available"):
        resolve_device("mps:1")


def test_precision_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    # A card that can only emulate it: slower than float32.
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr("torch.cpu.get_capabilities", dict)
    assert [resolve_precision("auto", torch.device(name)) for name in ("cpu", "mps", "cuda")] == [
        "fp32",
        "fp32",
        "fp16",
    ]
    assert not any(bfloat16_pays(torch.device(name)) for name in ("cpu", "mps", "cuda"))
    assert resolve_precision("fp32", MPS) == "fp32"
    assert resolve_precision("bf16", torch.device("cpu")) == "bf16"


@pytest.mark.parametrize(
    ("capabilities", "by", "precision"),
    [
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, "AMX", "bf16"),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, None, "fp32"),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True, "amx_bf16": False}, "AVX-512 BF16", "bf16"),
        ({"cpu_name": "AMD EPYC", "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, None, "fp32"),
        ({"cpu_name": "Neoverse V1", "neon": True, "bf16": True}, None, "fp32"),
    ],
)
def test_precision_follows_the_processor(
    capabilities: dict[str, object], by: str | None, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: capabilities)
    assert bfloat16_instructions() == by
    assert resolve_precision("auto", torch.device("cpu")) == precision
    assert resolve_precision("fp32", torch.device("cpu")) == "fp32"


@pytest.mark.parametrize("missing", ["oneDNN", "get_capabilities"])
def test_a_torch_without_bfloat16_stays_with_float32(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})
    if missing == "oneDNN":
        monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    else:
        monkeypatch.delattr("torch.cpu.get_capabilities")
    assert resolve_precision("auto", torch.device("cpu")) == "fp32"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mps_computes_in_float32_only(precision: str) -> None:
    with pytest.raises(DeviceError, match=f"--precision is {precision} and mps computes in float32 only"):
        resolve_precision(precision, MPS)


def test_float32_asks_no_device_for_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: pytest.fail("autocast was entered"))
    predict = Predictor(Identity(), torch.device("cpu"), "fp32", batch=1)
    predict(torch.rand(1, 4, 8, 8), torch.zeros(1, 2, 8, 8))
