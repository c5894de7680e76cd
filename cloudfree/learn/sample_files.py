"""Samples of `seen_samples` in files, a hundred or so in each, and random crops of them to learn from.

A file is safetensors: a tensor for every field of `SeenSample`, reflectance and radar as float16, with the command that
made it as metadata. A folder has a part to train on and one to validate on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from cloudfree.arrays import as_image
from cloudfree.errors import UNPARSABLE, InputError
from cloudfree.learn.seen_samples import SIDE_PX, SeenSample, hidden_corner, in_other_light, turned
from cloudfree.network.weights import replaced_atomically

Part = Literal["train", "validation"]

_METADATA_KEY = "cloudfree_samples"
_NAMES = tuple(field.name for field in fields(SeenSample))
_LEAST_HIDDEN, _MOST_DRAWS = 0.05, 30  # share of a crop


class Header(NamedTuple):
    """What a file says of its samples: how many there are, and the command that makes such."""

    samples: int
    recipe: str


def path_of(folder: Path, part: Part, number: int) -> Path:
    """The file of a number of one part of a folder."""
    return folder / f"{part}_{number:05d}.safetensors"


def paths_of(folder: Path, part: Part) -> list[Path]:
    """The files of one part of a folder, in order."""
    return sorted(folder.glob(f"{part}_*.safetensors"))


def write(path: Path, samples: Sequence[SeenSample], recipe: str) -> None:
    """Write samples, whole or not at all; what is smaller than SIDE_PX is mirrored beyond, where nothing is known."""
    padded = [_padded(sample) for sample in samples]
    tensors = {name: np.stack([_stored(getattr(sample, name)) for sample in padded]) for name in _NAMES}
    header = json.dumps(Header(len(samples), recipe)._asdict())
    with replaced_atomically(path) as temporary:
        temporary.write_bytes(save(tensors, {_METADATA_KEY: header}))


def _padded(sample: SeenSample) -> SeenSample:
    pads = [(0, 0), *((0, SIDE_PX - length) for length in sample.known.shape)]
    padded = sample.map(lambda image: np.pad(image, pads, "symmetric"))
    padded.known[sample.known.shape[0] :] = False
    padded.known[:, sample.known.shape[1] :] = False
    return padded


def _stored(plane: Any) -> Any:
    return plane if plane.dtype == bool else plane.astype(np.float16)


def read_header(path: Path) -> Header:
    """What a file says of itself. Raises InputError where it is damaged, or something else."""
    return _SampleFile(path).header


class _SampleFile:
    """A file that stays open, mapped into memory."""

    def __init__(self, path: Path) -> None:
        try:
            file: Any = safe_open(path, framework="np")
            self.header = Header(**json.loads((file.metadata() or {})[_METADATA_KEY]))
            self._tensors = {name: file.get_slice(name) for name in _NAMES}
        except (SafetensorError, OSError, TypeError, AttributeError, *UNPARSABLE) as error:
            raise InputError(
                f"{path} is damaged, or no file of samples; `cloudfree samples` writes them: delete it, and give that "
                "command again"
            ) from error

    def read(self, number: int, y: int = 0, x: int = 0, side: int = SIDE_PX) -> SeenSample:
        """The square of a sample from a row and a column on."""
        square = slice(y, y + side), slice(x, x + side)
        return SeenSample(**{name: self._plane(name, number, square) for name in _NAMES})

    def counted(self, number: int) -> Any:
        """Where (H, W) a sample is judged, as `SeenSample.counted`."""
        whole = slice(0, SIDE_PX), slice(0, SIDE_PX)
        return self._plane("hidden", number, whole) & self._plane("known", number, whole)

    def _plane(self, name: str, number: int, square: tuple[slice, slice]) -> Any:
        tensor = self._tensors[name]
        of_bands = (slice(None),) * (len(tensor.get_shape()) - 3)
        plane = tensor[(slice(number, number + 1), *of_bands, *square)][0]
        return plane if plane.dtype == bool else as_image(plane)


class SampleFiles:
    """All samples of one part of a folder; equal generators draw equal ones.

    crop: side in pixels of random crops, turned and in other light, to train on; None for whole samples as they are, to
    validate on.
    """

    def __init__(self, folder: Path, part: Part, crop: int | None = None) -> None:
        """Raises InputError where there are none, or the crop is larger."""
        self._files = [_SampleFile(path) for path in paths_of(folder, part)]
        if not self._files:
            raise InputError(f"{folder} holds no {part}_*.safetensors; `cloudfree samples` makes them: check --samples")
        if crop is not None and crop > SIDE_PX:
            raise InputError(f"--crop is {crop}; samples have {SIDE_PX} pixels a side: give no more")
        self._crop = crop
        self._starts = np.cumsum([0, *(file.header.samples for file in self._files)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def recipe(self) -> str:
        """The command that makes such samples."""
        return self._files[0].header.recipe

    def draw(self, rng: np.random.Generator) -> SeenSample:
        """A sample, or a crop of one in which something is hidden."""
        if self._crop is None:
            file, number = self._pick(rng)
            return file.read(number)
        for _ in range(_MOST_DRAWS):
            file, number = self._pick(rng)
            if corner := hidden_corner(rng, file.counted(number), self._crop, _LEAST_HIDDEN, attempts=1):
                break
        else:
            corner = (0, 0)
        return in_other_light(rng, turned(rng, file.read(number, *corner, self._crop)))

    def _pick(self, rng: np.random.Generator) -> tuple[_SampleFile, int]:
        """A file and the number of a sample in it, each sample as likely."""
        number = int(rng.integers(len(self)))
        index = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self._files[index], number - int(self._starts[index])
