"""The detector's weights: registered and verified like those that remove clouds, and never taken for these."""

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from cloudfree.cli import main
from cloudfree.detect.own import WEIGHTS
from cloudfree.errors import WeightsError
from cloudfree.network.models import CloudDetector
from cloudfree.network.weights import (
    default_weights,
    load_detector,
    load_model,
    registry,
    save_model,
    verify,
    verify_output,
)


def test_the_shipped_weights_are_registered_and_give_their_golden_output():
    entry = next(entry for entry in registry() if entry.name == WEIGHTS)
    assert entry.architecture == "cloud_detector"
    assert not entry.default
    assert entry.size_bytes < 4e6
    assert verify(WEIGHTS) == entry.sha256
    assert verify_output(WEIGHTS) < 1e-4
    assert load_file(entry.golden_path)["restored"].shape[1] == 5


def test_a_detector_comes_back_as_it_was_saved(tmp_path):
    torch.manual_seed(0)
    network = CloudDetector()
    loaded = load_detector(save_model(network, tmp_path / "detector.safetensors", {"steps": 1}))
    assert loaded.config == network.config
    assert loaded.weights_info.provenance == {"steps": 1}
    for ours, theirs in zip(network.state_dict().values(), loaded.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_a_run_refuses_a_detector_in_one_line_that_names_what_to_give():
    with pytest.raises(WeightsError) as refusal:
        load_model(WEIGHTS)
    assert "finds clouds and removes none" in str(refusal.value)
    assert default_weights().name in str(refusal.value)
    assert str(refusal.value).count(WEIGHTS) == 1
    assert "\n" not in str(refusal.value)


def test_a_detector_is_no_network_that_removes_clouds():
    with pytest.raises(WeightsError, match=r"removes clouds and finds none.*cloud-detector"):
        load_detector("identity")


def test_the_command_verifies_it():
    done = CliRunner().invoke(main, ["weights", "verify", WEIGHTS])
    assert done.exit_code == 0, done.output
    assert "golden output" in done.output
