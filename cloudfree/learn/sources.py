"""What `--data` names: folders of clear pairs, data sets of cloudy and clear images, a user's own scenes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from cloudfree.errors import InputError
from cloudfree.evaluate import triplets
from cloudfree.evaluate.triplets import TripletFiles
from cloudfree.learn.cloud_layers import DrawCloudLayer, read_real_clouds, real_or_simulated_layers, simulated_layer
from cloudfree.learn.clouded_places import CloudedPlaces
from cloudfree.learn.pairs import Pairs
from cloudfree.learn.places import Place, hold_out, procedural_places, read_places
from cloudfree.learn.samples import Mixture, Sample, SampleSource
from cloudfree.learn.scenes import is_manifest, read_manifest


@dataclass(frozen=True)
class SourceOptions:
    """What to learn from, and how samples are made of it.

    data: see `open_sources`. clouds: a folder of real cloudy images (`cloud_layers.read_real_clouds`) for most of the
    cloud layers over clear ground. cloud_percent: a folder of what another network says of these images, for a
    detector (`clouded_images.cloud_share`). procedural: places to make up, from the seed. crop: side of the samples in
    pixels. stretched_sar: radar of data sets over the whole image, as published.
    """

    data: tuple[Path, ...] = ()
    clouds: Path | None = None
    cloud_percent: Path | None = None
    procedural: int = 40
    crop: int = 96
    stretched_sar: bool = False
    seed: int = 0


S = TypeVar("S")


class Sources(NamedTuple, Generic[S]):
    """To train on, and to validate on: other sites under other clouds; None where nothing could be held out."""

    training: SampleSource[S]
    validation: SampleSource[S] | None


def open_sources(options: SourceOptions) -> Sources[Sample]:
    """All that `data` names, and procedural places, each drawn from equally often.

    A folder holds clear pairs (`places.read_places`) or cloudy and clear images (`triplets.find`). A CSV lists such
    images in the layout of M3R-CR, or, by its header, scenes without a clear image (`scenes.read_manifest`). Every
    fifth site is held out, and every fifth of the clouds. Raises InputError.
    """
    draw_layer, draw_unseen_layer = _cloud_layers(options.clouds)
    crop, training = options.crop, list[SampleSource[Sample]]()
    unseen_places, unseen_pairs = list[Place](), list[TripletFiles]()
    for path in options.data:
        if _names_pairs(path):
            pairs, held_pairs = hold_out(triplets.find(path))
            training.append(Pairs(pairs, crop, stretched_sar=options.stretched_sar))
            unseen_pairs += held_pairs
    for places in _places(options):
        seen, held_places = hold_out(places)
        training.append(CloudedPlaces(seen, crop, draw_layer))
        unseen_places += held_places
    if not training:
        raise InputError("there is nothing to train on; give --data, or --procedural 1 or more")
    validation = list[SampleSource[Sample]]()
    if unseen_places:
        validation.append(CloudedPlaces(unseen_places, crop, draw_unseen_layer))
    if unseen_pairs:
        validation.append(Pairs(unseen_pairs, crop, same_date=True, stretched_sar=options.stretched_sar))
    return Sources(Mixture(training), Mixture(validation) if validation else None)


def _cloud_layers(clouds: Path | None) -> tuple[DrawCloudLayer, DrawCloudLayer]:
    """To train and to validate under: where there are real clouds most are, and all of those to validate under."""
    if clouds is None:
        return simulated_layer, simulated_layer
    training, held_out = hold_out(read_real_clouds(clouds))
    return real_or_simulated_layers(training), real_or_simulated_layers(held_out, share=1.0)


def _places(options: SourceOptions) -> list[list[Place]]:
    groups = [
        read_manifest(path, options.crop) if is_manifest(path) else read_places(path)
        for path in options.data
        if not _names_pairs(path)
    ]
    if options.procedural:
        groups.append(procedural_places(options.seed, options.procedural, side=max(384, options.crop + 16)))
    return groups


def _names_pairs(path: Path) -> bool:
    if not path.exists():
        raise InputError(f"{path} does not exist; a folder or a CSV is needed: check --data")
    return any(path.glob("*_clear.tif")) if path.is_dir() else not is_manifest(path)
