"""Weights files: what is written comes back, and every way of being wrong is one clear line."""

import json
import pickle
import time
from dataclasses import asdict

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support import TINY, network_inputs

from cloudfree.errors import WeightsError
from cloudfree.network import weights
from cloudfree.network.models import AlignCR, CloudRemovalModel, Identity, Normalization, UNet, UNetConfig


@pytest.fixture
def tiny() -> AlignCR:
    torch.manual_seed(0)
    return AlignCR(TINY, Normalization(vv_range_db=(-30.0, 0.0)))


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A weights folder of its own, holding the identity's file and a registry that can be spoilt."""
    path = weights.save_model(Identity(), tmp_path / "toy.safetensors")
    entry = asdict(next(entry for entry in weights.registry() if entry.name == "identity"))
    entry |= {"file": path.name, "sha256": weights.sha256_of(path), "size_bytes": path.stat().st_size}
    (tmp_path / "registry.json").write_text(json.dumps({"weights": [entry]}))
    monkeypatch.setattr(weights, "weights_folder", lambda: tmp_path)
    return tmp_path


def failure(path) -> str:
    """The message of the refusal, which must be one line."""
    with pytest.raises(WeightsError) as refusal:
        weights.load_model(path)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def published(path, model: CloudRemovalModel, **changes) -> None:
    state = {f"module.{key}": tensor for key, tensor in model.state_dict().items()}
    torch.save({"network": state | changes, "epoch": 3}, path)


def test_round_trip(tiny, tmp_path):
    path = weights.save_model(tiny, tmp_path / "tiny.safetensors", {"trained_on": "noise", "steps": 3})
    loaded = weights.load_model(path)
    assert (loaded.config, loaded.normalization) == (tiny.config, tiny.normalization)
    assert not loaded.training
    torch.testing.assert_close(loaded(*network_inputs(20, 20)), tiny(*network_inputs(20, 20)), rtol=0, atol=1e-5)
    info = loaded.weights_info
    assert info.provenance == {"trained_on": "noise", "steps": 3}
    assert (info.name, info.architecture, info.sha256) == ("tiny.safetensors", "align_cr", weights.sha256_of(path))
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.safetensors"]


def test_files_are_equal_byte_for_byte(tiny, tmp_path):
    first, second = (weights.save_model(tiny, tmp_path / name, {"seed": 1}) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_published_checkpoint_and_its_conversion(tiny, tmp_path):
    tiny.normalization = Normalization()  # a published checkpoint has no other
    buffer = "module.RDBs.1.SwinTransformerBlock.attn_mask"
    published(tmp_path / "net.pth", tiny, **{buffer: torch.zeros(16, 64, 64)})
    converted = weights.convert(tmp_path / "net.pth", tmp_path / "net.safetensors")
    assert weights.load_model(converted).weights_info.provenance["converted_from"] == "net.pth"
    for path in (tmp_path / "net.pth", converted):
        model = weights.load_model(path)
        assert model.config == TINY
        torch.testing.assert_close(model(*network_inputs(16, 16)), tiny(*network_inputs(16, 16)), rtol=0, atol=1e-5)


def test_registry_holds_what_it_says():
    names = [entry.name for entry in weights.registry()]
    assert "identity" in names
    assert len(set(names)) == len(names)
    for entry in weights.registry():
        assert weights.verify(entry.name) == entry.sha256
        assert weights.load_network(entry.name).weights_info.name == entry.name
        assert all((entry.licence, entry.source, entry.trained_on, entry.recipe))
    assert sum(entry.default for entry in weights.registry()) <= 1


def test_registered_file_is_known_by_its_path_too(checkout):
    assert weights.load_model(checkout / "toy.safetensors").weights_info.name == "identity"


def test_damaged_registered_file_is_refused(checkout):
    with (checkout / "toy.safetensors").open("ab") as file:
        file.write(b"\0")
    assert "the registry says" in failure("identity")
    (checkout / "toy.safetensors").unlink()
    assert "toy.safetensors is no file" in failure("identity")


def test_spoilt_registry(checkout):
    (checkout / "registry.json").write_text("[1]")
    with pytest.raises(WeightsError, match="cannot read the registry"):
        weights.registry()


def test_no_default(checkout):
    with pytest.raises(WeightsError, match="identity"):
        weights.default_weights()


def test_unknown_name_lists_the_known_ones():
    assert "identity" in failure("align-cr-huge")


def test_folder_is_no_weights_file(tmp_path):
    assert "is no file" in failure(tmp_path)


def test_truncated_safetensors(tiny, tmp_path):
    path = weights.save_model(tiny, tmp_path / "tiny.safetensors")
    path.write_bytes(path.read_bytes()[:-1000])
    assert "is damaged" in failure(path)


def test_foreign_safetensors(tmp_path):
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    assert "without the metadata of cloudfree" in failure(tmp_path / "other.safetensors")


def rewritten(path, **changes):
    """The file at `path` with its tensors kept and entries of its metadata changed."""
    with safe_open(path, framework="pt") as file:
        document = json.loads(file.metadata()[weights.METADATA_KEY])
    save_file(load_file(path), path, {weights.METADATA_KEY: json.dumps(document | changes)})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "unet"}, "known are align_cr"),
        ({"format": 99}, "upgrade cloudfree"),
        ({"architecture": "identity", "config": {}}, "does not hold a whole identity"),
        ({"config": {"width": 24, "heads": 2, "deformable_groups": 4}}, "does not hold a whole align_cr"),
        ({"config": {"depth": 3}}, "does not hold a whole align_cr"),
    ],
)
def test_metadata_that_does_not_fit(tiny, tmp_path, changes, message):
    path = weights.save_model(tiny, tmp_path / "tiny.safetensors")
    assert message in failure(rewritten(path, **changes))


@pytest.mark.attack(5)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": 100_000}, "numbers that no network has"),
        ({"dense_layers": 10**12}, "numbers that no network has"),
        ({"mlp_ratio": float("nan")}, "numbers that no network has"),
        ({"blocks": 4000}, "many more tensors"),
        ({"blocks": 1000, "dense_layers": 1000}, "many more tensors"),
        ({"window": 4000, "heads": 1}, "more than 5e+08 numbers"),
    ],
)
def test_a_config_of_very_much_is_refused_before_it_is_built(tiny, tmp_path, changes, message):
    path = weights.save_model(tiny, tmp_path / "net.safetensors")
    started = time.monotonic()
    assert message in failure(rewritten(path, config=tiny.config_dict() | changes))
    assert time.monotonic() - started < 5


@pytest.mark.attack(5)
def test_so_is_a_file_of_very_many_tensors(tiny, tmp_path):
    path = weights.save_model(tiny, tmp_path / "net.safetensors")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file({str(number): torch.zeros(1) for number in range(10_001)}, path, metadata)
    assert "10001 tensors" in failure(path)


class Malicious:
    def __reduce__(self):
        return (print, ("run",))


def test_pickle_that_runs_code_is_refused(tmp_path, capsys):
    torch.save({"network": Malicious()}, tmp_path / "evil.pth")
    assert "could run any code" in failure(tmp_path / "evil.pth")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Malicious()))
    failure(tmp_path / "evil.pkl")
    assert capsys.readouterr().out == ""


def test_damaged_checkpoint(tiny, tmp_path):
    published(tmp_path / "net.pth", tiny)
    content = (tmp_path / "net.pth").read_bytes()
    (tmp_path / "net.pth").write_bytes(content[: len(content) // 2])
    assert "is damaged" in failure(tmp_path / "net.pth")


@pytest.mark.parametrize("content", [b"", b"abc", b"\x80\x02", b"PK\x03\x04"])
def test_bytes_that_are_no_checkpoint(content, tmp_path):
    (tmp_path / "net.pth").write_bytes(content)
    assert str(tmp_path / "net.pth") in failure(tmp_path / "net.pth")


def test_weights_that_were_shown_the_model_in_place_of_clouds_are_refused(tiny, tmp_path):
    path = weights.save_model(tiny, tmp_path / "old.safetensors")
    with safe_open(path, "pt") as file:
        document = json.loads(file.metadata()[weights.METADATA_KEY])
    save_file(load_file(path), path, {weights.METADATA_KEY: json.dumps(document | {"expects_primed": True})})
    assert "train again (cloudfree train --samples)" in failure(path)


def test_what_a_network_is_shown_stands_in_its_file(tmp_path):
    seeing = UNet(UNetConfig(width=4, planes=("observed", "ground", "hidden")))
    loaded = weights.load_model(weights.save_model(seeing, tmp_path / "seeing.safetensors"))
    assert loaded.planes == ("observed", "ground", "hidden")
    stranger = UNetConfig(width=4, planes=("observed",))
    unknown = weights.save_model(UNet(stranger), tmp_path / "unknown.safetensors")
    with safe_open(unknown, "pt") as file:
        document = json.loads(file.metadata()[weights.METADATA_KEY])
    document["config"]["planes"] = ["thermal"]
    save_file(load_file(unknown), unknown, {weights.METADATA_KEY: json.dumps(document)})
    assert "does not hold a whole u_net" in failure(unknown)


@pytest.mark.parametrize("content", [b"", b"not weights at all"])
def test_file_of_something_else(tmp_path, content):
    (tmp_path / "notes.txt").write_bytes(content)
    failure(tmp_path / "notes.txt")


def test_checkpoint_of_another_network(tmp_path):
    torch.save({"network": {"module.conv1.weight": torch.zeros(3, 3)}}, tmp_path / "resnet.pth")
    assert "some other network" in failure(tmp_path / "resnet.pth")
    torch.save({"state_dict": {"conv1.weight": torch.zeros(3, 3)}}, tmp_path / "resnet.pth")
    assert "has no entry 'network'" in failure(tmp_path / "resnet.pth")


def test_checkpoint_with_a_tensor_of_another_shape(tiny, tmp_path):
    published(tmp_path / "net.pth", tiny, **{"module.GFF.1.weight": torch.zeros(3, 3)})
    assert "GFF.1.weight" in failure(tmp_path / "net.pth")


@pytest.mark.attack(8)
@pytest.mark.parametrize("wild", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tiny, tmp_path, wild):
    tiny.SFE_conv.weight.data[0, 0, 0, 0] = wild
    assert "SFE_conv.weight" in failure(weights.save_model(tiny, tmp_path / "net.safetensors"))


def test_checkpoint_that_lacks_tensors(tmp_path):
    torch.save({"network": {f"module.{AlignCR.signature_key}": torch.zeros(1)}}, tmp_path / "net.pth")
    assert "does not hold a whole align_cr" in failure(tmp_path / "net.pth")


def test_target_that_cannot_be_written(tiny, tmp_path):
    with pytest.raises(WeightsError, match="cannot write"):
        weights.save_model(tiny, tmp_path / "absent" / "tiny.safetensors")


def test_registered_weights_give_their_golden_output():
    assert weights.verify_output("auto") < weights.GOLDEN_TOLERANCE
    assert weights.verify_output("identity") is None


def test_another_output_than_the_golden_one_is_refused(checkout):
    entry = weights.registry()[0]
    image, sar_db = network_inputs(20, 20)
    save_file({"reflectance": image, "sar_db": sar_db, "restored": image + 0.01}, entry.golden_path)
    with pytest.raises(WeightsError, match="differs from its golden output"):
        weights.verify_output(entry.name)
