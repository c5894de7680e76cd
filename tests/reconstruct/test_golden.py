"""The golden tensors through a predictor, as the doctor has them computed on a card; here on the processor."""

from __future__ import annotations

import os

import pytest
import torch

from cloudfree import doctor
from cloudfree.errors import WeightsError
from cloudfree.network import kernels
from cloudfree.network.device import Precision
from cloudfree.reconstruct import golden
from cloudfree.reconstruct.golden import GoldenRun, golden_names, golden_runs, slower_than_it_should_be
from cloudfree.reconstruct.predictor import TileTooLargeError

CPU = torch.device("cpu")


def a_run(kernels: str, precision: Precision = "fp32", difference: float = 1e-6, seconds: float = 0.01) -> GoldenRun:
    return GoldenRun(kernels, precision, difference, seconds)


@pytest.mark.parametrize("name", golden_names())
def test_each_way_gives_the_golden_output(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden, "_TIMED_PX", 32)
    monkeypatch.setattr(golden, "resolve_precision", lambda name, device: "bf16")
    monkeypatch.setenv(kernels.VARIABLE, "auto")
    runs = golden_runs(name, CPU)
    assert [(run.kernels, run.precision) for run in runs] == [
        ("reference", "fp32"),
        ("cpu", "fp32"),
        ("cpu", "bf16"),
    ]
    assert all(run.sound and run.seconds > 0 for run in runs)
    assert runs[1].difference < 1e-4 < golden.HALF_TOLERANCE
    assert os.environ[kernels.VARIABLE] == "auto"


def test_where_float32_is_chosen_there_are_two_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden, "_TIMED_PX", 32)
    monkeypatch.setattr(golden, "resolve_precision", lambda name, device: "fp32")
    monkeypatch.delenv(kernels.VARIABLE, raising=False)
    assert len(golden_runs(golden_names()[0], CPU)) == 2
    assert kernels.VARIABLE not in os.environ


def test_a_way_that_is_no_quicker_is_told() -> None:
    runs = [a_run("reference"), a_run("triton", seconds=0.02), a_run("triton", "bf16", seconds=0.021)]
    assert slower_than_it_should_be(runs) == ["fp32 by triton takes 2.0 times as long as fp32 by reference"]
    assert slower_than_it_should_be(runs[:1]) == []


def card_findings(monkeypatch: pytest.MonkeyPatch, *runs: GoldenRun) -> list[doctor.Finding]:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(golden, "golden_names", lambda: ["weights"])
    monkeypatch.setattr(golden, "golden_runs", lambda name, device: list(runs))
    return list(doctor._card())


def test_without_a_card_the_doctor_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (finding,) = doctor._card()
    assert finding.sound
    assert finding.state == "none is here, so no golden tensors were computed on one"


def test_the_doctor_tells_how_a_card_fares(monkeypatch: pytest.MonkeyPatch) -> None:
    sound, slow = a_run("reference"), a_run("triton", seconds=0.03)
    (finding,) = card_findings(monkeypatch, sound, slow)
    assert finding.sound, "slow is no fault"
    assert finding.state == (
        "weights: fp32 by reference to 1e-06 in 10 ms, fp32 by triton to 1e-06 in 30 ms "
        "(slow: fp32 by triton takes 3.0 times as long as fp32 by reference)"
    )
    for difference in (0.1, float("nan")):
        (finding,) = card_findings(monkeypatch, sound, a_run("triton", difference=difference))
        assert not finding.sound
        assert "CLOUDFREE_KERNELS=reference" in finding.advice
    (finding,) = card_findings(monkeypatch, a_run("reference", difference=0.1), sound)
    assert (finding.sound, finding.advice) == (False, "use --device cpu")


@pytest.mark.parametrize(
    "error", [RuntimeError("no kernel image\nis available"), OSError(), TileTooLargeError(), WeightsError("damaged")]
)
def test_a_card_that_fails_is_a_finding(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(name: str, device: torch.device) -> list[GoldenRun]:
        raise error

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(golden, "golden_runs", failing)
    findings = list(doctor._card())
    assert len(findings) == len(golden_names())
    assert not any(finding.sound for finding in findings)
    assert "\n" not in findings[0].state
