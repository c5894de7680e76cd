"""A few steps of training: they change the weights, repeat, resume, and leave a file that loads."""

import dataclasses
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from support import TINY, write_pixels

from cloudfree.errors import InputError, WeightsError
from cloudfree.learn import train as training
from cloudfree.learn.train import train
from cloudfree.learn.train_options import TrainOptions
from cloudfree.network.models import AlignCR
from cloudfree.network.weights import load_model


@pytest.fixture
def options(tmp_path, monkeypatch) -> Iterator[TrainOptions]:
    monkeypatch.setattr(AlignCR, "small", TINY)
    monkeypatch.setattr(training, "_VALIDATION_SAMPLES", 2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on images this small, threads wait for each other
    yield TrainOptions(output=tmp_path / "net.safetensors", steps=4, crop=32, batch=2, procedural=5, workers=0)
    torch.set_num_threads(threads)


def weights_of(path) -> dict[str, torch.Tensor]:
    return load_model(path).state_dict()


def killed_after(monkeypatch, steps: int) -> None:
    """Save at every step, and stop as abruptly as kill -9 would once `steps` are saved."""
    save = training._save_checkpoint

    def save_and_die(options, state) -> None:
        save(options, state)
        if state.step == steps:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_SAVE_EVERY_S", 0)
    monkeypatch.setattr(training, "_save_checkpoint", save_and_die)


@pytest.mark.slow
def test_file_loads_and_says_how_it_was_made(options):
    path = train(options)
    model = load_model(path)
    assert model.config == TINY
    assert float(model.state_dict()["UPNet.2.bias"].abs().max()) > 0
    provenance = model.weights_info.provenance
    assert provenance["steps"] == 4
    assert provenance["trained_on"] == ["5 procedural places of seed 0"]
    assert provenance["recipe"].startswith(
        "cloudfree train -o net.safetensors --procedural 5 --architecture align_cr --size small --loss charbonnier "
        "--schedule cosine --steps 4 --seed 0"
    )
    assert set(provenance["scores"]) == {"psnr", "psnr_hidden", "psnr_hidden_input", "psnr_hidden_median"}
    assert [file.name for file in path.parent.iterdir()] == ["net.safetensors"]


@pytest.mark.slow
def test_resumed_run_equals_an_uninterrupted_one(options, tmp_path, monkeypatch):
    whole = weights_of(train(dataclasses.replace(options, output=tmp_path / "whole.safetensors")))
    with monkeypatch.context() as patch:
        killed_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(options)
    assert options.checkpoint.exists()
    resumed = weights_of(train(options))
    assert not options.checkpoint.exists()
    for key, tensor in whole.items():
        torch.testing.assert_close(resumed[key], tensor, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_unfinished_run_of_other_options_is_refused(options, monkeypatch):
    with monkeypatch.context() as patch:
        killed_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            train(options)
    with pytest.raises(WeightsError, match="unfinished run with other options"):
        train(dataclasses.replace(options, seed=1))


@pytest.mark.slow
def test_going_on_from_weights(options, tmp_path):
    first = train(options)
    second = train(dataclasses.replace(options, output=tmp_path / "second.safetensors", start=str(first), steps=2))
    before, after = weights_of(first), weights_of(second)
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert all((before[key] - after[key]).abs().max() < 0.01 for key in before)


@pytest.mark.slow
def test_time_budget_ends_a_run(options):
    model = load_model(train(dataclasses.replace(options, steps=None, minutes=0.01)))
    assert model.weights_info.provenance["steps"] >= 1


def test_endless_training_is_refused(tmp_path):
    with pytest.raises(InputError, match="give --minutes, --steps or --epochs"):
        TrainOptions(output=tmp_path / "net.safetensors")


def test_published_schedule_halves_every_five_epochs_from_the_tenth():
    rates = [training._learning_rate_factor("halving", epoch / 30) for epoch in range(30)]
    assert rates == [1.0] * 10 + [0.5] * 5 + [0.25] * 5 + [0.125] * 5 + [0.0625] * 5


def test_published_preset_is_the_published_recipe(cli, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(training, "train", told.append)
    done = cli("train", "-o", tmp_path / "net.safetensors", "--preset", "published", "--data", tmp_path, "--batch", 8)
    assert done.exit_code == 0, done.output
    options = told[0]
    recipe = (options.size, options.loss, options.learning_rate, options.crop, options.epochs, options.batch)
    assert recipe == ("published", "charbonnier", 1e-4, 160, 30, 8)
    assert (options.keep, options.average_decay, options.stretched_sar) == ("best", 0, True)
    assert options.command().startswith("cloudfree train -o net.safetensors --preset published ")


@pytest.mark.slow
def test_the_best_weights_are_kept(options, monkeypatch):
    scores = iter([{"psnr": 30.0}, {"psnr": 20.0}])
    monkeypatch.setattr(training, "_VALIDATIONS", 2)
    monkeypatch.setattr(training.CloudRemoval, "validate", lambda *_: next(scores))
    provenance = load_model(train(dataclasses.replace(options, keep="best"))).weights_info.provenance
    assert (provenance["steps"], provenance["scores"]) == (2, {"psnr": 30.0})


@pytest.mark.slow
def test_an_epoch_is_as_many_samples_as_images(options):
    model = load_model(train(dataclasses.replace(options, steps=None, epochs=3, batch=2, procedural=5)))
    assert model.weights_info.provenance["steps"] == 3 * 2  # four of five places, two a step


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.slow
def test_weights_do_not_depend_on_who_draws_the_samples(options, tmp_path, workers):
    alone, beside = (
        weights_of(train(dataclasses.replace(options, output=tmp_path / f"{count}.safetensors", workers=count)))
        for count in (0, workers)
    )
    for key, tensor in alone.items():
        torch.testing.assert_close(beside[key], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_one_error_whoever_reads_it(options, tmp_path, workers):
    rng = np.random.default_rng(0)
    for site in "ab":
        for kind in ("clear", "cloudy"):
            write_pixels(tmp_path / f"{site}_{kind}.tif", rng.integers(200, 4000, (4, 96, 96)).astype(np.uint16))
        write_pixels(tmp_path / f"{site}_sar.tif", rng.normal(-12, 2, (2, 96, 96)).astype(np.float32))
        broken = tmp_path / f"{site}_clear.tif"
        broken.write_bytes(broken.read_bytes()[:20_000])
    with pytest.raises(InputError, match=r"_clear.tif cannot be read as a raster"):
        train(dataclasses.replace(options, data=(tmp_path,), procedural=0, workers=workers))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are forks, and end with their parent, on Linux")
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 1), (signal.SIGTERM, 143)])
def test_workers_end_with_the_training_however_that_ends(tmp_path, sent, status):
    """Signals go to all processes, as a terminal's and a scheduler's do; a kill to the training alone."""
    words = ["-m", "cloudfree", "train", "-o", "net.safetensors", "--procedural", "1", "--crop", "32"]
    words = [sys.executable, *words, "--steps", "100000", "--threads", "1", "--workers", "2"]
    # What a shell runs in the background ignores SIGINT, and so do its children, unless told otherwise.
    started = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), "start_new_session": True}
    training = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, **started)
    children = Path(f"/proc/{training.pid}/task/{training.pid}/children")
    while len(workers := children.read_text().split()) < 2:
        assert training.poll() is None
        time.sleep(0.2)
    time.sleep(2)
    (training.send_signal if sent == signal.SIGKILL else functools.partial(os.killpg, training.pid))(sent)
    _, error = training.communicate(timeout=30)
    assert training.returncode == status
    assert "Traceback" not in error
    time.sleep(1)
    assert not [worker for worker in workers if runs(worker)]


def runs(process: str) -> bool:
    """Whether it is there, and no zombie that nobody has asked after yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("architecture", ["glf_cr", "dsen2_cr"])
@pytest.mark.slow
def test_other_networks_train(options, architecture):
    path = train(dataclasses.replace(options, architecture=architecture, steps=2, loss="carl"))
    assert load_model(path).architecture == architecture


def test_learning_rate_rises_then_falls():
    rates = [training._learning_rate_factor("cosine", spent / 100) for spent in range(101)]
    assert rates[0] < rates[1] < rates[2] == max(rates)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(0.02)
