"""Makes the samples that `cloudfree train --samples` learns from, file by file, in several processes.

What a file holds follows from the seed and its number alone: who makes it, and when, does not matter. So a command that
was killed goes on with the files that are missing.
"""

from __future__ import annotations

import itertools
import logging
import math
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from cloudfree import detect
from cloudfree.errors import InputError, OutputError
from cloudfree.inputs.raster.access import gdal_settings
from cloudfree.learn import sample_files
from cloudfree.learn.lifted_layers import clouds_drawer, read_lifted_layers
from cloudfree.learn.obscured_places import ObscuredPlaces
from cloudfree.learn.places import hold_out
from cloudfree.learn.sample_files import Part
from cloudfree.learn.sample_grounds import read_grounds
from cloudfree.learn.seen_samples import SeenSample, kept_part
from cloudfree.learn.workers import batches_of

log = logging.getLogger(__name__)

_A_FILE = 150  # samples, 120 MB
_VALIDATION_SHARE = 0.1  # as many samples beside those to train on
_MOST_BARREN = 100  # draws in a row without a sample
_PARTS: tuple[Part, ...] = ("train", "validation")

Progress = Callable[[float], None]
"""Called with the number of samples that have just been made."""


@dataclass(frozen=True, kw_only=True)
class SamplesOptions:
    """What to make samples of, and how many.

    data, clouds, texture: ground, as of `sample_grounds.read_grounds`; over it lie the clouds of the images of `clouds`
    (`lifted_layers.read_lifted_layers`), and simulated ones, which are all there are without it. count: samples to
    train on; a tenth as many are made to validate on, of other sites under other clouds. workers: processes, 0 for this
    one; None is half as many as cores.
    """

    folder: Path
    data: tuple[Path, ...] = ()
    clouds: Path | None = None
    texture: tuple[Path, ...] = ()
    count: int
    seed: int = 0
    workers: int | None = None

    @property
    def counts(self) -> dict[Part, int]:
        """Samples of each part."""
        return {"train": self.count, "validation": math.ceil(_VALIDATION_SHARE * self.count)}

    @property
    def recipe(self) -> str:
        """The command that makes such samples, folders by name alone."""
        paths = [("--data", path) for path in self.data] + [("--texture", path) for path in self.texture]
        paths += [("--clouds", self.clouds)] if self.clouds else []
        words = [word for option, path in paths for word in (option, path.name)]
        return shlex.join(["cloudfree", "samples", *words, "--seed", str(self.seed)])


class _File(NamedTuple):
    """A file to be made."""

    part: Part
    number: int
    samples: int


def make_samples(options: SamplesOptions, progress: Progress | None = None) -> Path:
    """Make what is missing of the samples, and return their folder.

    Raises InputError for what nothing can be made of, and where the folder holds samples of another kind.
    """
    advance = progress or (lambda _: None)
    if missing := _missing(options):
        with gdal_settings():
            maker = _Maker(_obscured_places(options), options)
        files = ([file] for file in missing if file.part in maker.places)
        advance(sum(options.counts.values()) - sum(file.samples for file in missing))
        for (count,) in batches_of(maker.make, files, options.workers):
            advance(count)
    return options.folder


def _missing(options: SamplesOptions) -> list[_File]:
    """Files that are not there, or hold too few; the folder is made."""
    _make_folder(options.folder)
    files = [
        _File(part, number, min(_A_FILE, count - first))
        for part, count in options.counts.items()
        for number, first in enumerate(range(0, count, _A_FILE))
    ]
    return [file for file in files if _samples_in(file, options) < file.samples]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder {folder} cannot be made ({error.strerror}); one in a folder that can be written is needed: "
            "choose another"
        ) from error


def _samples_in(file: _File, options: SamplesOptions) -> int:
    """How many of its samples are there. Raises InputError where they are others."""
    path = sample_files.path_of(options.folder, file.part, file.number)
    if not path.exists():
        return 0
    header = sample_files.read_header(path)
    if header.recipe != options.recipe:
        raise InputError(
            f"{path} has samples of other options ({header.recipe}); a folder holds those of one command: repeat that "
            "to go on, or give another folder"
        )
    return header.samples


def _obscured_places(options: SamplesOptions) -> dict[Part, ObscuredPlaces]:
    """By part; without that to validate on where there is but one site of everything."""
    grounds = read_grounds(options.data, options.clouds, options.texture)
    layers = read_lifted_layers(options.clouds, detect.load()) if options.clouds else []
    places = {
        part: ObscuredPlaces(groups, clouds_drawer(of_part))
        for part, groups, of_part in zip(_PARTS, grounds, hold_out(layers), strict=True)
        if groups
    }
    if len(places) < len(_PARTS):
        log.warning("no sample to validate on is made: it takes two sites of one kind of ground at least")
    return places


@dataclass(frozen=True)
class _Maker:
    """Makes files of samples."""

    places: dict[Part, ObscuredPlaces]
    options: SamplesOptions

    def make(self, file: _File) -> int:
        """Write a file, and return how many samples it holds."""
        with _one_thread():
            samples = list(itertools.islice(self._samples(file), file.samples))
        path = sample_files.path_of(self.options.folder, file.part, file.number)
        sample_files.write(path, samples, self.options.recipe)
        return len(samples)

    def _samples(self, file: _File) -> Iterator[SeenSample]:
        """Without end; each draw has a generator of its own."""
        barren = 0
        for draw in itertools.count():
            rng = np.random.default_rng([self.options.seed, _PARTS.index(file.part), file.number, draw])
            made = [part for sample in self.places[file.part].make(rng) if (part := kept_part(rng, sample))]
            yield from made
            barren = 0 if made else barren + 1
            if barren == _MOST_BARREN:
                raise InputError(
                    f"{_MOST_BARREN} places in a row were too small or too cloudy for a sample; give larger or clearer "
                    "ones with --data, --clouds or --texture"
                )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Of torch, for its sums depend on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
