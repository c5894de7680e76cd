"""What is left of haze and shadow, simulated over places that no weights were trained on.

    python benchmarks/quality/haze.py [--data ../shared/data/pairs ...] [--weights NAME_OR_FILE]... [--count 40]

Of each folder of clear pairs every fifth site is held out of training (`places.hold_out`); crops of these are laid
under simulated clouds with haze and shadow, masked as a good mask does. PSNR (dB) of pixels under haze and of pixels in
shadow, where no opaque cloud is, means over crops: as seen; with each band's darkest hundredth brought to that of the
clear pixels; by the scene's model alone; by each network. Last, how far unmasked pixels moved from what was seen, as
root mean square: a run keeps those as observed.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cloudfree.arrays import Image, as_image
from cloudfree.evaluate import metrics
from cloudfree.evaluate.baselines import scene_model, unchanged
from cloudfree.evaluate.methods import Method, network
from cloudfree.evaluate.triplets import Observation
from cloudfree.learn.places import Place, hold_out, read_places
from cloudfree.network.weights import load_model
from cloudfree.simulate.clouds import CloudLayer, Sky, add_clouds, cloud_layer

_SIDE, _PIXEL_M = 224, 10.0
_FEWEST_PX = 300


def dark_object_subtraction(seen: Observation) -> Image:
    """Masked pixels less what their darkest hundredth has more than that of the clear ones, band by band."""
    darkest = [np.percentile(seen.reflectance[:, where], 1, axis=1) for where in (seen.hidden, ~seen.hidden)]
    return np.where(seen.hidden, seen.reflectance - as_image(darkest[0] - darkest[1])[:, None, None], seen.reflectance)


def draws(places: list[Place], count: int) -> list[tuple[Observation, Image, CloudLayer]]:
    """Crops of places under layers with much haze, from one seed."""
    rng, cases = np.random.default_rng(11), []
    while len(cases) < count:
        place = places[int(rng.integers(len(places)))]
        side = min(_SIDE, *place.valid.shape)
        y, x = (int(rng.integers(length - side + 1)) for length in place.valid.shape)
        window = np.s_[:, y : y + side, x : x + side]
        if place.valid[window[1:]].mean() < 0.99:
            continue
        sky = Sky(cell_m=float(rng.uniform(400, 1200)), haze_share=0.7, haze_depth=float(rng.uniform(0.3, 1.0)))
        layer = cloud_layer(rng, side, side, pixel_size_m=_PIXEL_M / 3, cover=float(rng.uniform(0.3, 0.7)), sky=sky)
        if min(layer.haze.sum(), layer.shade.sum(), (~layer.mask).sum()) < _FEWEST_PX:
            continue
        truth = place.reflectance[window]
        seen = add_clouds(truth, layer)
        everywhere = np.ones((side, side), bool)
        cases.append((Observation(seen, place.sar_db[0][window], everywhere, layer.mask, _PIXEL_M), truth, layer))
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = Path(__file__).resolve().parents[3] / "shared" / "data"
    parser.add_argument("--data", type=Path, nargs="*", default=[shared / "pairs", shared / "dates"])
    parser.add_argument("--weights", action="append", default=[])
    parser.add_argument("--count", type=int, default=40)
    arguments = parser.parse_args()
    places = [place for folder in arguments.data for place in hold_out(read_places(folder))[1]]
    print("Held out:", ", ".join(sorted({place.site for place in places})), end="\n\n")
    methods: Mapping[str, Method] = {
        "as seen": unchanged,
        "dark-object subtraction": dark_object_subtraction,
        "scene model": scene_model,
        **{Path(name).stem: network(load_model(name)) for name in arguments.weights},
    }
    cases = draws(places, arguments.count)
    print("| method | under haze | in shadow | unmasked pixels moved by |\n| --- | ---: | ---: | ---: |")
    for name, method in methods.items():
        made = [np.clip(method(seen), 0, 1) for seen, _, _ in cases]
        hazy, shaded = (
            np.mean([metrics.psnr(m, t, where(layer)) for m, (_, t, layer) in zip(made, cases, strict=True)])
            for where in (lambda layer: layer.haze, lambda layer: layer.shade)
        )
        off = [
            np.sqrt(np.square(m - seen.reflectance)[:, ~seen.hidden].mean())
            for m, (seen, _, _) in zip(made, cases, strict=True)
        ]
        print(f"| {name} | {hazy:.2f} | {shaded:.2f} | {np.mean(off):.4f} |", flush=True)


if __name__ == "__main__":
    main()
