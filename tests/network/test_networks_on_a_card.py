"""The networks as a card would run them, seen without one: devices, types, and what is rounded when."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from fake_cuda import fake_cuda
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cloudfree.network import device
from cloudfree.network.device import Precision, autocast, ieee_float32
from cloudfree.network.models import ARCHITECTURES, CloudRemovalModel
from cloudfree.reconstruct.predictor import Predictor

CARD = torch.device("cuda:1")
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")


def small(architecture: str) -> CloudRemovalModel:
    kind = ARCHITECTURES[architecture]
    return kind(getattr(kind, "small", None)).prepare_for_inference()


def images_for(model: CloudRemovalModel, side: int = 48) -> list[Tensor]:
    """Sides are no multiples of what the networks want."""
    channels = (4, 4, 4, 4, 1, 1, 2) if model.planes else (4, 2)
    return [torch.ones(2, count, side, side + 4, device=CARD) for count in channels]


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Triton kernels by their names, which are not run: all around them is."""
    jit = pytest.importorskip("triton.runtime.jit")
    counted: Counter[str] = Counter()
    monkeypatch.setattr(jit.JITFunction, "run", lambda kernel, *args, **how: counted.update([kernel.__name__]))
    return counted


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kernels", ["reference", "triton"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_network_keeps_to_its_card(
    architecture: str, kernels: str, precision: Precision, monkeypatch: pytest.MonkeyPatch, request: Any
) -> None:
    launched = request.getfixturevalue("launches") if kernels == "triton" else Counter()
    monkeypatch.setenv("CLOUDFREE_KERNELS", kernels)
    model = small(architecture)
    with fake_cuda() as fake:
        predict = Predictor(model, CARD, precision, batch=2)
        with fake:
            images = images_for(model)
            restored = predict(*images)
    assert (restored.device, restored.dtype, restored.shape) == (CARD, torch.float32, (2, 4, *images[0].shape[2:]))
    own = {"align_cr": {"_forward", "_filter", "_attend"}, "glf_cr": {"_filter", "_attend"}}
    assert set(launched) == (own.get(architecture, set()) if kernels == "triton" else set())


class Rounded(TorchDispatchMode):
    """Copies of tensors into another type."""

    count, bytes = 0, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = function(*args, **kwargs)
        if function._schema.name in ("aten::to", "aten::_to_copy") and made.dtype != args[0].dtype:
            self.count += 1
            self.bytes += made.nbytes
        return made


def rounded(*, by_autocast: bool) -> Rounded:
    model = small("align_cr")
    with fake_cuda() as fake:
        predict = Predictor(model, CARD, "fp32" if by_autocast else "bf16", batch=2)
        with fake, Rounded() as copies, autocast(CARD, "bf16") if by_autocast else nullcontext():
            predict(*images_for(model))
    return copies


def test_half_precision_on_a_card_rounds_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at each pass, as autocast does. Its copies that are left are those of sums, and of layers in float32."""
    monkeypatch.setenv("CLOUDFREE_KERNELS", "reference")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)  # or autocast is switched off, with a warning
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: True)
    ours, autocasts = (rounded(by_autocast=choice) for choice in (False, True))
    assert 0 < ours.count < autocasts.count / 3
    assert 0 < ours.bytes < autocasts.bytes / 3


def convolves_exactly() -> bool:
    """Whether torch is set to convolve float32 on a card without TF32."""
    cudnn = torch.backends.cudnn
    return cudnn.conv.fp32_precision != "tf32" if hasattr(cudnn, "conv") else not cudnn.allow_tf32


@pytest.mark.parametrize("newer", [True, False])
def test_float32_on_a_card_is_ieee(newer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By either of torch's settings; afterwards, an error included, they are as before."""
    if newer and not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("torch is older than 2.9")
    if not newer:
        monkeypatch.setattr(device, "_setting_of_convolutions", lambda: (torch.backends.cudnn, "allow_tf32", False))
    assert not convolves_exactly(), "torch's default, which this package leaves alone"
    for _ in range(2):
        with ieee_float32(CARD):
            assert convolves_exactly()
            with pytest.raises(ValueError, match="within"), ieee_float32(CARD):
                raise ValueError("within")
            assert convolves_exactly()
        assert not convolves_exactly()
        assert torch.backends.cudnn.allow_tf32, "both settings agree again"


def test_what_a_user_has_set_stays() -> None:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with ieee_float32(CARD):
            assert convolves_exactly()
        assert not torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_predictor_computes_in_ieee_float32_on_a_card(precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a half precision too: some layers are left in float32."""
    model, seen = small("identity"), []
    forward = type(model).forward
    monkeypatch.setattr(type(model), "forward", lambda *images: (seen.append(convolves_exactly()), forward(*images))[1])
    with fake_cuda() as fake:
        predict = Predictor(model, CARD, precision, batch=2)
        with fake:
            predict(*images_for(model))
    assert seen == [True]
    assert not convolves_exactly()


def test_on_a_processor_settings_for_cards_are_left_alone() -> None:
    with ieee_float32(torch.device("cpu")):
        assert not convolves_exactly()
