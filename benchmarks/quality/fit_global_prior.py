"""Make `cloudfree/scene/global_prior.json`: the regression that stands in where a scene has no clear pixel.

    python benchmarks/quality/fit_global_prior.py ../shared/data/pairs

Slopes are those of one ridge through all places, each centred on itself, for between places colours differ more by
season and soil than by what radar sees; the mean is the median of the places' means. Every site weighs the same. The
covariance is that of each site's pixels about what the others lead to expect.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cloudfree.arrays import Float64Array
from cloudfree.bands import OPTICAL_BANDS
from cloudfree.learn.places import Place, read_places
from cloudfree.scene import model
from cloudfree.scene.features import RADAR_SCALES_M, Radar, features_at

_SNOW = 0.3  # mean blue reflectance above which a place is snow or haze, whose colours are no guide
_RIDGE = 0.03


class Moments(NamedTuple):
    """Covariance of features (f, f), theirs with reflectance (f, 4), both means, that of reflectance (4, 4)."""

    features: Float64Array
    across: Float64Array
    feature_means: Float64Array
    colours: Float64Array
    reflectance: Float64Array


def fit_table(sites: Sequence[Moments]) -> Float64Array:
    """Coefficients (features + 1, 4), as `features.land_coefficients` gives them."""
    within, across = (np.mean([site[i] for site in sites], axis=0) for i in (0, 1))
    slopes = np.linalg.solve(within + _RIDGE * np.eye(len(within)), across)
    means = [site[3] - site[2] @ slopes for site in sites]
    return np.vstack([slopes, np.median(means, axis=0)])


def error_covariance(sites: Sequence[Moments]) -> Float64Array:
    """(4, 4) of what the land is off from what the other sites tell of it."""
    covariances = []
    for number, (within, across, features, colours, reflectance) in enumerate(sites):
        *slopes, mean = fit_table([*sites[:number], *sites[number + 1 :]])
        w = np.array(slopes)
        about_means = reflectance - w.T @ across - across.T @ w + w.T @ within @ w
        off = colours - features @ w - mean
        covariances.append(about_means + np.outer(off, off))
    return np.asarray(np.mean(covariances, axis=0))


def moments_by_site(places: Sequence[Place]) -> list[Moments]:
    """The mean of each site's images, but for those that are snow."""
    sites = defaultdict(list)
    for place in places:
        if place.reflectance[0][place.valid].mean() < _SNOW:
            sites[place.site] += [_moments(place, sar_db) for sar_db in place.sar_db]
    return [Moments(*(np.mean(parts, axis=0) for parts in zip(*images, strict=True))) for images in sites.values()]


def _moments(place: Place, sar_db: np.ndarray) -> Moments:
    """Over valid pixels."""
    chosen = np.flatnonzero(place.valid)
    every = features_at(Radar.of(sar_db, place.valid, 10.0), chosen)
    features = np.stack([*itertools.islice(every, 4 * len(RADAR_SCALES_M))], axis=1, dtype=np.float64)
    colours = place.reflectance.reshape(4, -1)[:, chosen].T.astype(np.float64)
    centred = features - features.mean(0)
    return Moments(
        centred.T @ centred / len(chosen),
        centred.T @ colours / len(chosen),
        features.mean(0),
        colours.mean(0),
        np.cov(colours.T, bias=True),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path, help="folder of clear pairs, as `cloudfree train --data` takes")
    parser.add_argument("--output", type=Path, default=Path(model.__file__).with_name("global_prior.json"))
    arguments = parser.parse_args()
    places = [place for place in read_places(arguments.pairs) if not place.site.startswith("sen1floods11")]
    sites = moments_by_site(places)
    table = {
        "bands": OPTICAL_BANDS,
        "fitted_on": sorted({place.site for place in places}),
        "recipe": "benchmarks/quality/fit_global_prior.py",
        "coefficients": np.round(fit_table(sites), 6).tolist(),
        "error_covariance": np.round(error_covariance(sites), 8).tolist(),
    }
    arguments.output.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
