"""How well clouds are found, and how much clear ground is left alone.

    python benchmarks/quality/detect.py [--weights NAME_OR_FILE] [--measure-only] [--pictures FOLDER] [--count 24]

Sets of images that no weights were trained on (`places.hold_out`), with their masks: held-out places under simulated
skies, and under real ones of held-out images; real cloudy images, held out, labelled by their own brightness where that
is sure; cloudy months; clear scenes, where every pixel found is a false alarm. `--measure-only` adds `cloudy_clear`,
on which nothing was chosen, with the masks of its publishers, which lack shadows; and the real `series`, by the masks
of a network that came with them. Per set, over all pixels: IoU of cloud, haze and shadow together, and the share of
clear pixels kept. Rivals: smoothed blue over a threshold, opened and grown, with the threshold that suits each set best
and one that suits the simulated skies; csmask where it is installed. A second table has the shadows of `series`, found
with and without those that clouds cast, and by clouds of the mask alone. Last, the seconds for four megapixels.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image
from cloudfree.bands import SKY_HIDDEN, SkyClass
from cloudfree.detect import Detector, DetectorInput, FoundSky, find_sky, load
from cloudfree.detect.own import WEIGHTS, OwnDetector
from cloudfree.errors import CloudfreeError
from cloudfree.evaluate import triplets
from cloudfree.inputs.raster import access
from cloudfree.learn.cloud_layers import RealClouds, read_real_clouds
from cloudfree.learn.labelled_grounds import UNLABELLED, clear_labels, read_cloudy_images
from cloudfree.learn.places import Place, hold_out, read_places
from cloudfree.product.pictures import write_png
from cloudfree.simulate.clouds import CloudLayer, Sky, add_clouds, cloud_layer, layer_with_shadow

_SIDE, _PIXEL_M = 256, 10.0
_SERIES_PIXEL_M = 20.0
_HELD_SKIES = "ROIs1970_fall_85"
"""The site of `clouds` whose images no detector was trained on, nor under their clouds."""
_THRESHOLDS = np.arange(0.06, 0.5, 0.02)
_SMOOTH_PX, _OPEN_PX, _GROWN_PX = 1.5, 3, 3
_CLOUDY_MONTHS = ("biomassters_0060c0a5_11", "biomassters_288afc34_00", "biomassters_288afc34_06")
_COLOURS = {SkyClass.CLOUD: (1, 0, 0), SkyClass.HAZE: (1, 0.8, 0), SkyClass.SHADOW: (0, 0, 1), SkyClass.SNOW: (0, 1, 1)}


@dataclass(frozen=True)
class Case:
    """An image and what of it is hidden, where that is known; and its classes, where they are."""

    name: str
    reflectance: Image
    hidden: Mask
    known: Mask
    pixel_size_m: float = _PIXEL_M
    classes: NDArray[np.uint8] | None = None


Method = Callable[[Case], Mask]


def threshold(blue: float) -> Method:
    """What is brighter in smoothed blue, without what is narrower than some pixels, and its surroundings."""

    def find(case: Case) -> Mask:
        bright = ndimage.gaussian_filter(case.reflectance[0], _SMOOTH_PX) > blue
        opened = ndimage.binary_opening(bright, iterations=_OPEN_PX)
        return np.asarray(ndimage.binary_dilation(opened, iterations=_GROWN_PX))

    return find


def found_by(detector: Detector, kinds: Sequence[SkyClass] = SKY_HIDDEN) -> Method:
    def find(case: Case) -> Mask:
        valid = np.ones(case.hidden.shape, bool)
        return np.isin(find_sky(case.reflectance, valid, case.pixel_size_m, detector).classes, kinds)

    return find


def scores(cases: list[Case], method: Method) -> tuple[float, float]:
    """IoU, and share of clear pixels kept, over all known pixels of all cases."""
    union = both = clear = kept = 0
    for case in cases:
        cloudy, hidden = method(case)[case.known], case.hidden[case.known]
        union, both = union + int((cloudy | hidden).sum()), both + int((cloudy & hidden).sum())
        clear, kept = clear + int((~hidden).sum()), kept + int((~hidden & ~cloudy).sum())
    return both / max(union, 1), kept / max(clear, 1)


# --- the sets ---


def clouded_places(places: list[Place], skies: list[RealClouds], seed: int, count: int) -> list[Case]:
    """`count` crops of places under simulated clouds, or with skies under these."""
    rng, cases = np.random.default_rng(seed), list[Case]()
    while len(cases) < count:
        place = places[len(cases) % len(places)]
        window = _window(rng, place)
        truth = place.reflectance[:, *window]
        height, width = truth.shape[1:]
        if skies:
            real = skies[len(cases) % len(skies)]
            opacity, radiance = real.opacity[:height, :width], real.radiance[:, :height, :width]
            layer = _laid(opacity, radiance, Sky.draw(rng))
        else:
            sky = replace(Sky.draw(rng), cell_m=float(rng.uniform(300, 2500)))
            cover = float(rng.uniform(0.05, 0.8))
            layer = cloud_layer(rng, height, width, pixel_size_m=_PIXEL_M, cover=cover, sky=sky)
        sure = ~((layer.opacity > 0.05) & (layer.opacity < 0.13)) & place.valid[window]
        seen = add_clouds(truth, layer)
        cases.append(Case(place.site, seen, layer.mask, sure))
    return cases


def _laid(opacity: Image, radiance: Image, sky: Sky) -> CloudLayer:
    """A layer of these clouds alone: no shadow comes in over the edges."""
    height, width = opacity.shape
    room = ((0, height), (0, width))
    layer = layer_with_shadow(np.pad(opacity, room), np.pad(radiance, ((0, 0), *room)), sky, _PIXEL_M)
    cut = {field.name: getattr(layer, field.name)[..., :height, :width] for field in fields(layer)}
    return CloudLayer(**cut)


def clear_places(places: list[Place]) -> tuple[list[Case], list[Case]]:
    """Whole clear scenes without snow, and those with snow."""
    cases: tuple[list[Case], list[Case]] = ([], [])
    for place in places:
        snowy = bool((clear_labels(place.reflectance, place.valid) == SkyClass.SNOW).any())
        nothing = np.zeros(place.valid.shape, bool)
        cases[snowy].append(Case(place.site, place.reflectance, nothing, place.valid))
    return cases


def real_images(folder: Path) -> list[Case]:
    """Held-out images with real clouds, by their sure labels; what may be in shadow is not known."""
    held = [ground for ground in read_cloudy_images(folder) if ground.site == _HELD_SKIES]
    return [Case(g.site, g.reflectance, np.isin(g.labels, SKY_HIDDEN), g.labels != UNLABELLED) for g in held]


def cloudy_months(folder: Path) -> list[Case]:
    """Months that training left out for their clouds, of places that it saw, by the cloud probability that they carry.

    As its makers use it (s2cloudless): averaged, over 40 %, grown by two pixels. Shadows are not in it: what is darker
    than half of the other months is not known.
    """
    cases = []
    for name in _CLOUDY_MONTHS:
        image, probability = (_read(folder / f"{name}_{kind}.tif") for kind in ("optical", "cloudprob"))
        sites = sorted(folder.glob(f"{name[:-3]}_??_optical.tif"))
        usual = np.median(np.stack([_read(path) for path in sites if name not in path.name]), axis=0)
        hidden = ndimage.binary_dilation(ndimage.uniform_filter(probability[0], 4) > 40, iterations=2)
        known = hidden | (ndimage.median_filter(image[3], 5) > 0.65 * usual[3])
        cases.append(Case(name, image * np.float32(1e-4), hidden, known))
    return cases


def _read(path: Path) -> Image:
    with access.opened(path) as dataset:
        return as_image(dataset.read())


def published(folder: Path) -> Iterator[Case]:
    """Images with the masks of those who published them."""
    for files in triplets.find(folder):
        triplet = triplets.read(files)
        if triplet.seen.mask is not None:
            seen = np.nan_to_num(triplet.seen.reflectance)
            yield Case(files.name, seen, triplet.seen.mask, triplet.seen.valid)


def published_clear(folder: Path) -> Iterator[Case]:
    """Their clear images, nothing of which is hidden."""
    for files in triplets.find(folder):
        triplet = triplets.read(files)
        nothing = np.zeros(triplet.valid.shape, bool)
        yield Case(f"{files.name}_clear", triplet.truth, nothing, triplet.valid)


def series(folder: Path) -> list[Case]:
    """Real images every five days, by the masks that came with them: 0 clear, 1 cloud, 2 thin cloud, 3 shadow.

    A network made these; in Sweden it takes forest for shadow, so that the shadows of Portugal alone count.
    """
    cases = []
    for path in sorted(folder.glob("*_s2.tif")):
        seen = _read(path) * np.float32(1e-4)
        classes = _read(path.with_name(path.name.replace("_s2", "_dlmask")))[0].astype(np.uint8)
        known = np.asarray((seen > 0).all(axis=0))
        name = path.name.removesuffix("_s2.tif")
        cases.append(Case(name, np.clip(seen, 0, 1), (classes > 0) & known, known, _SERIES_PIXEL_M, classes))
    return cases


def _window(rng: np.random.Generator, place: Place) -> tuple[slice, slice]:
    sides = [min(_SIDE, length) for length in place.valid.shape]
    side = min(sides)
    y, x = (int(rng.integers(length - side + 1)) for length in place.valid.shape)
    return slice(y, y + side), slice(x, x + side)


# --- the tables ---


def methods_of(weights: str) -> Mapping[str, Method]:
    own = OwnDetector.load(weights)
    methods = {
        "own": found_by(own),
        "own, its cloud and haze alone": found_by(own, (SkyClass.CLOUD, SkyClass.HAZE)),
    }
    try:
        methods["csmask"] = found_by(load("csmask"))
    except CloudfreeError as error:
        print(error.message, end="\n\n")
    return methods


def table(sets: Mapping[str, list[Case]], methods: Mapping[str, Method]) -> str:
    """One row a method, two columns a set: IoU and share of clear pixels kept; of clear sets the share found alone."""
    simulated = next(iter(sets.values()))
    common = max(_THRESHOLDS, key=lambda blue: scores(simulated, threshold(blue))[0])
    head = ["method", *(f"{name} ({len(cases)})" for name, cases in sets.items())]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * len(sets)]
    rows = {**methods, f"blue over {common:.2f}": threshold(common), "blue over the set's best": None}
    for name, method in rows.items():
        cells = []
        for cases in sets.values():
            is_clear = not any(case.hidden.any() for case in cases)
            if is_clear and method is None:
                cells.append("")
                continue
            best = method or threshold(max(_THRESHOLDS, key=lambda blue: scores(cases, threshold(blue))[0]))
            iou, kept = scores(cases, best)
            cells.append(f"{100 * (1 - kept):.2f} %" if is_clear else f"{iou:.3f}, {100 * kept:.1f} %")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@dataclass(frozen=True)
class MaskClouds:
    """A detector that knows the clouds of a case, and no shadow."""

    case: Case
    name: str = "mask"
    pixel_size_m: float = 1.0

    def probability(self, scene: DetectorInput) -> Image:
        assert self.case.classes is not None
        shares = np.zeros((len(SkyClass), *scene.valid.shape), np.float32)
        shares[SkyClass.CLOUD] = np.isin(self.case.classes, (SkyClass.CLOUD, SkyClass.HAZE))
        shares[SkyClass.CLEAR] = 1 - shares.sum(axis=0)
        return shares


def shadow_table(cases: list[Case], own: Detector) -> str:
    """One row a way to find shadows: the share of them that is found, and how much of what is found is shadow."""
    ways: Mapping[str, Callable[[Case], FoundSky]] = {
        "own, without geometry": lambda case: FoundSky(own.probability(_shown(case)), case.known, case.pixel_size_m),
        "own": lambda case: find_sky(case.reflectance, case.known, case.pixel_size_m, own),
        "clouds of the mask, geometry alone": lambda case: find_sky(
            case.reflectance, case.known, case.pixel_size_m, MaskClouds(case)
        ),
    }
    lines = [f"| shadows of series ({len(cases)}) | found | right |", "| --- | ---: | ---: |"]
    for way, sky in ways.items():
        found = right = there = 0
        for case in cases:
            assert case.classes is not None
            shaded, truth = ((of == SkyClass.SHADOW) & case.known for of in (sky(case).classes, case.classes))
            found, right, there = (
                found + int(shaded.sum()),
                right + int((shaded & truth).sum()),
                there + int(truth.sum()),
            )
        lines.append(f"| {way} | {right / max(there, 1):.3f} | {right / max(found, 1):.3f} |")
    return "\n".join(lines)


def _shown(case: Case) -> DetectorInput:
    return DetectorInput(case.reflectance, case.known, case.pixel_size_m)


def picture(case: Case, classes: np.ndarray, path: Path) -> None:
    """Colours as seen, classes found, and what is hidden by the mask in white over it."""
    rgb = np.clip(case.reflectance[[2, 1, 0]] / 0.5, 0, 1) ** 0.7
    coloured = rgb.copy()
    for sky, colour in _COLOURS.items():
        coloured[:, classes == sky] = 0.5 * coloured[:, classes == sky] + 0.5 * np.array(colour)[:, None]
    truth = np.where(case.known & case.hidden, 0.5 + 0.5 * rgb, np.where(case.known, rgb, 0.3))
    strip = np.concatenate([rgb, coloured, truth], 2)
    write_png(path, (255 * strip).astype(np.uint8))


def seconds_for(weights: str, side: int) -> float:
    """Seconds that our detector takes for an image of side x side pixels, a multiple of 100."""
    own = OwnDetector.load(weights)
    rng = np.random.default_rng(0)
    image = ndimage.zoom(rng.random((4, 100, 100)).astype(np.float32), (1, side // 100, side // 100), order=1)
    valid = np.ones(image.shape[1:], bool)
    started = time.perf_counter()
    detected = find_sky(image, valid, 15.0, own)
    assert detected.classes.shape == (side, side)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = Path(__file__).resolve().parents[3] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=shared)
    parser.add_argument("--weights", default=WEIGHTS)
    parser.add_argument("--measure-only", action="store_true")
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--count", type=int, default=24, help="crops under simulated and under real skies")
    parser.add_argument("--side", type=int, default=2000, help="of the image that is timed, a multiple of 100")
    arguments = parser.parse_args()
    places = [place for name in ("pairs", "dates") for place in hold_out(read_places(arguments.data / name))[1]]
    print("Held out:", ", ".join(sorted({place.site for place in places})), end="\n\n")
    skies = [clouds for clouds in read_real_clouds(arguments.data / "clouds") if clouds.site == _HELD_SKIES]
    clear, snow = clear_places(places)
    sets = {
        "simulated skies": clouded_places(places, [], 1, arguments.count),
        "real skies": clouded_places(places, skies, 2, arguments.count),
        "real images": real_images(arguments.data / "clouds"),
        "cloudy months": cloudy_months(arguments.data / "pairs"),
        "clear: found": clear,
        "snow: found": snow,
    }
    if arguments.measure_only:
        sets["cloudy_clear"] = list(published(arguments.data / "cloudy_clear"))
        sets["its clear images: found"] = list(published_clear(arguments.data / "cloudy_clear"))
        sets["series"] = series(arguments.data / "series")
    print(table(sets, methods_of(arguments.weights)), end="\n\n")
    if arguments.measure_only:
        shaded = [case for case in sets["series"] if "portugal" in case.name]
        print(shadow_table(shaded, OwnDetector.load(arguments.weights)), end="\n\n")
    print(f"{arguments.side**2 / 1e6:g} megapixels: {seconds_for(arguments.weights, arguments.side):.1f} s")
    if arguments.pictures:
        own = OwnDetector.load(arguments.weights)
        arguments.pictures.mkdir(parents=True, exist_ok=True)
        for name, cases in sets.items():
            for number, case in enumerate(cases):
                valid = np.ones(case.hidden.shape, bool)
                classes = find_sky(case.reflectance, valid, case.pixel_size_m, own).classes
                picture(
                    case, classes, arguments.pictures / f"{name.replace(' ', '_').replace(':', '')}_{number:02d}.png"
                )


if __name__ == "__main__":
    main()
