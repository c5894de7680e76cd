"""Training networks that see, on samples of which the right answer is known."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from support import TINY, pattern

from cloudfree.errors import InputError, WeightsError
from cloudfree.learn import seeing
from cloudfree.learn import train as training
from cloudfree.learn.learner import Learner, collate
from cloudfree.learn.sample_files import path_of, write
from cloudfree.learn.seeing import SIZES, Seeing
from cloudfree.learn.seen_samples import SIDE_PX, SeenSample
from cloudfree.learn.train import train
from cloudfree.learn.train_options import TrainOptions, options_of
from cloudfree.network.models import AlignCR, UNet, UNetConfig
from cloudfree.network.models.seen import ALL_PLANES
from cloudfree.network.weights import load_model, save_model

MISSED = 0.02  # reflectance by which what shows through is too dark here, always


def sample(seed: int, side: int = SIDE_PX) -> SeenSample:
    """Ground whose closed form is right but for a step, and whose model misses its detail too."""
    rng, detail = np.random.default_rng(seed), 0.03 * pattern(side, side, seed, 2.0)
    truth = np.stack([0.2 + 0.05 * band + detail for band in range(4)]).astype(np.float32)
    hidden = np.zeros((side, side), bool)
    hidden[: side // 2] = True
    sar_db = np.full((2, side, side), np.nan, np.float32)
    observed = np.where(hidden, 0.3 + 0.5 * truth, truth).astype(np.float32)
    ground = truth - np.float32(MISSED) - detail.astype(np.float32)
    through = np.where(hidden, truth - np.float32(MISSED), ground)
    deviation, share = np.full_like(truth, 0.03), np.where(hidden, np.float32(0.6), 0).astype(np.float32)
    known = np.ones_like(hidden)
    known[:, : int(rng.integers(1, 8))] = False
    return SeenSample(observed, ground, through, deviation, share, hidden, sar_db, truth, known)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    folder.mkdir()
    for number in range(2):
        write(
            path_of(folder, "train", number), [sample(10 * number + i) for i in range(6)], "cloudfree samples --seed 7"
        )
    write(path_of(folder, "validation", 0), [sample(100), sample(101)], "cloudfree samples --seed 7")
    return folder


@pytest.fixture
def options(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainOptions]:
    tiny = {"u_net": UNetConfig(4), "align_cr": replace(TINY, planes=ALL_PLANES, blocks=1, filter_size=3)}
    monkeypatch.setattr(training, "SIZES", tiny)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    given = {"samples": samples, "steps": 4, "crop": 32, "batch": 4, "workers": 0}
    yield options_of(tmp_path / "net.safetensors", given, published=False)
    torch.set_num_threads(threads)


def test_a_network_learns_more_than_the_closed_form(options: TrainOptions) -> None:
    model = load_model(train(replace(options, steps=60, learning_rate=0.01)))
    assert isinstance(model, UNet)
    assert model.planes == ALL_PLANES
    scores = model.info.provenance["scores"]
    assert set(scores) == {"psnr_hidden", "psnr_hidden_model", "psnr_hidden_seen_through"}
    assert scores["psnr_hidden_seen_through"] == pytest.approx(-20 * np.log10(MISSED), abs=0.2)
    assert scores["psnr_hidden_model"] < scores["psnr_hidden_seen_through"]
    assert scores["psnr_hidden"] > scores["psnr_hidden_seen_through"] + 3


def test_its_file_says_how_it_was_made(options: TrainOptions) -> None:
    provenance = load_model(train(options)).info.provenance
    assert provenance["trained_on"] == ["cloudfree samples --seed 7"]
    assert provenance["recipe"] == (
        "cloudfree train -o net.safetensors --samples samples --architecture u_net --schedule cosine --steps 4 "
        "--seed 0 --crop 32 --batch 4 --learning-rate 0.002 --keep best"
    )


def test_a_fresh_network_is_nearly_the_closed_form() -> None:
    goal, model = Seeing(), UNet(UNetConfig(4))
    model.start_as_identity()
    scores = goal.validate(model.eval(), [sample(1, 64)], torch.device("cpu"))
    assert scores["psnr_hidden"] == pytest.approx(scores["psnr_hidden_seen_through"], abs=2)


@pytest.mark.slow
def test_align_cr_that_sees_trains_and_goes_on(options: TrainOptions, tmp_path: Path) -> None:
    first = train(replace(options, architecture="align_cr", steps=1))
    model = load_model(first)
    assert isinstance(model, AlignCR)
    assert tuple(model.planes) == ALL_PLANES
    second = replace(options, architecture="align_cr", start=str(first), steps=1, output=tmp_path / "2.safetensors")
    weights = load_model(train(second)).state_dict()
    assert any(not torch.equal(weights[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(("architecture", "most"), [("u_net", 600_000), ("align_cr", 2_000_000)])
def test_sizes_are_small_and_see_all(architecture: str, most: int) -> None:
    model = training.ARCHITECTURES[architecture](SIZES[architecture])
    assert tuple(model.planes) == ALL_PLANES
    assert 10_000 < sum(parameter.numel() for parameter in model.parameters()) < most


def test_a_decibel_is_a_decibel_on_every_scene() -> None:
    """A tenth of the error is 20 dB on one sample; several count by the mean of their decibels."""

    class Off(torch.nn.Module):
        def restored(self, seen: seeing.Seen) -> torch.Tensor:
            return seen.through

    def loss(*missed: float) -> float:
        batch = collate(
            [replace(s := sample(1, 32), through=s.truth + np.float32(m)) for m in missed], torch.device("cpu")
        )
        return float(Seeing().loss(Off(), batch))

    assert loss(0.2) - loss(0.02) == pytest.approx(2, abs=0.01)
    assert loss(0.2, 0.02) == pytest.approx((loss(0.2) + loss(0.02)) / 2, abs=1e-5)


def test_what_is_clear_or_not_known_does_not_count() -> None:
    class Through(torch.nn.Module):
        def restored(self, seen: seeing.Seen) -> torch.Tensor:
            return seen.through

    def loss(one: SeenSample) -> float:
        return float(Seeing().loss(Through(), collate([one], torch.device("cpu"))))

    one = sample(1, 32)
    assert loss(replace(one, through=np.where(one.counted, one.through, np.float32(9)))) == pytest.approx(loss(one))
    assert loss(replace(one, through=np.where(one.counted, np.float32(9), one.through))) > loss(one) + 1


def test_a_killed_run_goes_on(options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_model(train(replace(options, output=tmp_path / "whole.safetensors"))).state_dict()
    save = training._save_checkpoint

    def save_and_die(options: TrainOptions, state: training.TrainState) -> None:
        save(options, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "_SAVE_EVERY_S", 0)
        patch.setattr(training, "_save_checkpoint", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train(options)
    for key, tensor in load_model(train(options)).state_dict().items():
        torch.testing.assert_close(tensor, whole[key], rtol=0, atol=1e-6)


def test_what_is_no_unfinished_run_is_one_line(options: TrainOptions) -> None:
    options.checkpoint.write_bytes(b"cut short")
    with pytest.raises(WeightsError, match="is damaged, or no unfinished run"):
        train(options)
    for content in ({"another": 1}, {"identity": options.identity(), "model": {}}):
        torch.save(content, options.checkpoint)
        with pytest.raises(WeightsError, match="is damaged, or no unfinished run"):
            train(options)


def test_weights_and_the_unfinished_run_are_kept_together(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a run that is killed within a minute of them would not go on, or replace them by worse ones."""
    step = Learner.training_step

    def step_or_die(learner: Learner, *rest: object) -> float:
        if learner.step == 1:
            raise KeyboardInterrupt
        return step(learner, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "training_step", step_or_die)
        with pytest.raises(KeyboardInterrupt):
            train(options)
    assert options.output.exists()
    kept = torch.load(options.checkpoint, weights_only=True)
    assert kept["step"] == 1
    assert kept["kept_score"] == load_model(options.output).info.provenance["scores"]["psnr_hidden"]


def test_what_does_not_go_together_is_refused(samples: Path, tmp_path: Path, cli: Callable[..., Result]) -> None:
    words = ("train", "-o", tmp_path / "net.safetensors", "--steps", 1)
    for option in (
        ("--data", tmp_path),
        ("--clouds", tmp_path),
        ("--procedural", 3),
        ("--loss", "l1"),
        ("--size", "small"),
    ):
        done = cli(*words, "--samples", samples, *option)
        assert (done.exit_code, done.output.count("\n")) == (1, 1)
        assert f"--samples and {option[0]} do not go together" in done.output
    assert "--samples and --preset" in cli(*words, "--samples", samples, "--preset", "published").output
    for architecture in ("glf_cr", "cloud_detector"):
        assert (
            "learns from --samples is u_net or align_cr"
            in cli(*words, "--samples", samples, "--architecture", architecture).output
        )
    assert "give --samples" in cli(*words, "--architecture", "u_net").output
    assert "samples have 128 pixels" in cli(*words, "--samples", samples, "--crop", 160).output
    assert "holds no train_" in cli(*words, "--samples", tmp_path).output


@pytest.mark.parametrize("sees", [True, False])
def test_weights_of_the_other_kind_are_refused(options: TrainOptions, sees: bool, tmp_path: Path) -> None:
    model = UNet(UNetConfig(4)) if sees else AlignCR(TINY)
    start = str(save_model(model, tmp_path / "start.safetensors"))
    if sees:
        given = {"start": start, "procedural": 1, "crop": 32, "steps": 1, "workers": 0}
        options = TrainOptions(output=options.output, **given)
    with pytest.raises(WeightsError, match=r"start\.safetensors is a network that"):
        train(replace(options, start=start))


def test_without_validation_the_last_weights_are_kept_and_that_is_said(
    options: TrainOptions, samples: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path_of(samples, "validation", 0).unlink()
    provenance = load_model(train(options)).info.provenance
    assert (provenance["steps"], provenance["scores"]) == (options.steps, {})
    assert "nothing to validate on: the last weights are kept" in caplog.text


def test_a_network_that_goes_on_keeps_what_it_is(samples: Path, tmp_path: Path, cli: Callable[..., Result]) -> None:
    start = save_model(UNet(UNetConfig(4)), tmp_path / "start.safetensors")
    words = ("train", "-o", tmp_path / "net.safetensors", "--samples", samples, "--steps", 1, "--weights", start)
    refused = cli(*words, "--architecture", "align_cr")
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert "start.safetensors, which is u_net, do not go together" in refused.output
    plain = save_model(AlignCR(TINY), tmp_path / "plain.safetensors")
    given = {"start": str(plain), "steps": 1}
    with pytest.raises(InputError, match=r"--size and --weights .*, which is align_cr, do not go together"):
        options_of(tmp_path / "x", {**given, "size": "published"}, published=False)
    seeing = AlignCR(replace(TINY, planes=ALL_PLANES))
    given["start"] = str(save_model(seeing, tmp_path / "seeing.safetensors"))
    command = options_of(tmp_path / "x", {**given, "samples": samples}, published=False).command()
    assert "--architecture align_cr" in command, "though u_net is what samples suit by default"
    assert "--size" not in command


def test_recipes_are_of_the_options(tmp_path: Path) -> None:
    given = {"samples": tmp_path, "minutes": 1, "batch": 3}
    of_samples = options_of(tmp_path / "x", given, published=False)
    assert (of_samples.architecture, of_samples.batch, of_samples.crop, of_samples.keep) == ("u_net", 3, 64, "best")
    plain = options_of(tmp_path / "x", {"minutes": 1}, published=False)
    assert (plain.architecture, plain.batch, plain.crop, plain.keep) == ("align_cr", 2, 96, "last")
    with pytest.raises(InputError, match="no end"):
        options_of(tmp_path / "x", {"samples": tmp_path}, published=False)
