"""Where clouds and shadows are: a UDM2 or any mask, on the scene's grid."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.windows import Window

from cloudfree.arrays import Mask
from cloudfree.bands import UDM2_BAND_COUNT, UDM2_CLASSES, UDM2_OBSCURED
from cloudfree.errors import CloudfreeError, GridError, InputError
from cloudfree.geometry import Grid
from cloudfree.geometry.resample import spread_positions
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.location import containers
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.masks import meaning, names, polygons
from cloudfree.inputs.masks.codes import CLEAR_WORDS, CLOUD_WORDS, NO_CLASS, OTHER_WORDS, Codes, MaskOptions, State
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.optical.bands import band_texts
from cloudfree.inputs.optical.scene import Scene, SceneReader, has_data
from cloudfree.inputs.raster import access, validity

log = logging.getLogger(__name__)

BUFFER_M = 30.0
"""Ground beyond the mask that is taken for cloudy too: Planet advises to buffer UDM2, which misses thin edges."""

_STRIP_ROWS = 512
_LOOK_PX = 512  # pixels along a side at which a mask is looked at over its scene
_LEAST_TOLD = 0.0005  # share of a scene: less is 0.0 %
_MUCH = 0.5  # of a scene, so that a mask may be the other way round
_BEYOND = 255  # neither of `State`: where a mask does not reach


@dataclass(frozen=True)
class CloudMask:
    """A mask file: `codes` say which numbers of its one-based `band_indexes` are cloud or shadow, clear, or unknown.

    Unknown too is where all of `class_indexes` are zero, if there are any: a UDM2 classifies what it knows. `reasons`
    say why; `is_guess` is whether nothing names what the numbers mean. Unknown pixels count as cloud where the scene
    `ground` has data; as clear without a `ground`. `burnt`: polygons, in place of a raster.
    """

    path: Source
    grid: Grid
    band_indexes: tuple[int, ...]
    codes: Codes
    reasons: tuple[Decision, ...]
    ground: Scene | None = None
    class_indexes: tuple[int, ...] = ()
    is_guess: bool = False
    burnt: polygons.Burnt | None = None

    @contextmanager
    def open(self) -> Iterator[MaskReader]:
        """A reader of the mask's pixels."""
        with ExitStack() as stack:
            dataset = None if self.burnt else stack.enter_context(access.opened(self.path))
            ground = stack.enter_context(self.ground.open()) if self.ground else None
            yield MaskReader(self, dataset, ground)


class MaskReader:
    """An open mask, on any grid."""

    def __init__(self, mask: CloudMask, dataset: DatasetReader | None, ground: SceneReader | None = None) -> None:
        self._mask = mask
        self._dataset = dataset
        self._ground = ground

    def on_grid(self, grid: Grid) -> Mask:
        """Cloud or shadow (H, W), by the nearest pixel of the mask; False where the mask does not reach."""
        states = self.states(grid)
        cloudy, unknown = states == State.CLOUDY, states == State.UNKNOWN
        return cloudy | (unknown & self._data(grid)) if self._ground and unknown.any() else cloudy

    def states(self, grid: Grid) -> NDArray[np.uint8]:
        """`State` (H, W) by the nearest pixel of the mask; 255 where it does not reach."""
        if self._mask.burnt:
            return self._mask.codes.states(self._mask.burnt.on_grid(grid)[None])
        return nearest(self._mask.grid, grid, self._states)

    def _states(self, window: Window) -> NDArray[np.uint8]:
        assert self._dataset
        indexes, codes = self._mask.band_indexes, self._mask.codes
        stored = access.read(self._dataset, list(indexes), window)
        states = codes.states(stored)
        states[~meaning.known(self._dataset, indexes, window, stored, codes)] = State.UNKNOWN
        if self._mask.class_indexes:
            classes = access.read(self._dataset, list(self._mask.class_indexes), window)
            states[~classes.any(axis=0)] = State.UNKNOWN
        return states

    def _data(self, grid: Grid) -> Mask:
        """Where the scene has data (H, W), by its nearest pixel."""
        assert self._mask.ground
        assert self._ground
        return _data_of(self._mask.ground, self._ground, grid)


def _data_of(scene: Scene, opened: SceneReader, grid: Grid) -> Mask:
    """Where an open scene has data on another grid (H, W), by its nearest pixel."""

    def data(w: Window) -> NDArray[np.uint8]:
        return has_data(opened.window(w.row_off, w.col_off, w.height, w.width)).astype(np.uint8)

    return np.asarray(nearest(scene.grid, grid, data) == 1)


def nearest(own: Grid, grid: Grid, read: Callable[[Window], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pixels of the grid `own`, of which `read` gives a window, on another grid (H, W) by the nearest; 255 beyond."""
    out = np.full(grid.shape, _BEYOND, np.uint8)
    row, col = (np.floor(position + 0.5) for position in spread_positions(own, grid))
    within = [(at >= 0) & (at < length) for at, length in ((row, own.height), (col, own.width))]
    inside = within[0] & within[1]
    if not inside.any():
        return out
    (row0, row1), (col0, col1) = (
        (int(at[ok].min()), int(at[ok].max())) for at, ok in zip((row, col), within, strict=True)
    )
    values = read(Window(col0, row0, col1 + 1 - col0, row1 + 1 - row0))
    rows, cols = (
        np.clip(np.nan_to_num(at), *ends).astype(np.intp) for at, ends in ((row, (row0, row1)), (col, (col0, col1)))
    )
    along_axes = rows.shape[1] == cols.shape[0] == 1  # many times as fast as pixel by pixel
    rows, cols = rows - row0, cols - col0
    taken = values[:, _sliced(cols[0])][_sliced(rows[:, 0])] if along_axes else values[rows, cols]
    np.copyto(out, taken, where=inside)
    return out


def _sliced(indexes: NDArray[np.intp]) -> NDArray[np.intp] | slice:
    """Indexes as a slice where each is the one after the last: that copies nothing."""
    return slice(int(indexes[0]), int(indexes[-1]) + 1) if (np.diff(indexes) == 1).all() else indexes


def identify_mask_of(
    scene: Scene, udm2: AnyPath | None, mask: AnyPath | None, options: MaskOptions | None = None
) -> CloudMask | None:
    """The mask of a scene: the file `mask` or `udm2`, or else the UDM2 beside the scene, or None.

    A UDM2 beside the scene that cannot be used is warned of and left out; so is how much of the scene's ground a mask
    says nothing of. Raises InputError or GridError for a file that is given.
    """
    options = options or MaskOptions()
    if mask and udm2:
        raise InputError("--mask and --udm2 are both given; one says where the clouds are: leave the other out")
    if options.threshold is not None and not mask:
        log.warning("--mask-threshold says how --mask is read, and none is given: it decides nothing")
    if mask:
        identified = identify_mask(mask, scene.grid, options)
    elif udm2:
        identified = identify_udm2(udm2, scene.grid)
    elif beside := planet_product.find(scene.path, planet_product.UDM2):
        try:
            identified = identify_udm2(beside, scene.grid)
        except CloudfreeError as error:
            log.warning("UDM2 beside the scene left out: %s (--udm2 or --mask gives another)", error.message)
            return None
    else:
        return None
    identified = replace(identified, ground=scene if options.unknown == "cloud" else None)
    return _looked_at(identified, scene, options)


def identify_udm2(path: AnyPath, area: Grid) -> CloudMask:
    """Identify a usable data mask 2, of which the bands of shadow, haze and cloud count.

    The bands are found by their names, or by Planet's order where they have none; a ninth may be an alpha band. 255 and
    nodata are unknown, but for 0: that is so where all classes are 0, clear included, if any is clear or nodata is 0.
    Raises InputError or GridError.
    """
    source, chosen = containers.one(Source.of(path), containers.UDM2)
    with access.opened(source) as dataset:
        return _udm2(dataset, area, chosen)


def identify_mask(path: AnyPath, area: Grid, options: MaskOptions | None = None) -> CloudMask:
    """Identify a raster of which one band says where there is cloud or shadow, a UDM2, or polygons around these.

    What its numbers mean is said by the options or by the name of its band or file, checked against its values; else
    zero is clear and the one other number is cloud. Raises InputError or GridError; the former for several other
    numbers without an explanation, and for fractions without a threshold.
    """
    options = options or MaskOptions()
    if polygons.are_in(source := Source.of(path)):
        return _of_polygons(source, area, options)
    source, chosen = containers.one(source, containers.MASK)
    with access.opened(source) as dataset:
        if not options.given and _is_udm2(dataset):
            return _udm2(dataset, area, chosen)
        grid = _overlapping(dataset, area)
        indexes = (1,) if meaning.is_own(dataset) else _mask_bands(dataset)
        found, *others = (meaning.of(dataset, index, options, _over(grid, area)) for index in indexes)
        if any(other.codes != found.codes for other in others):
            raise _several_bands(dataset)
        option = "--mask-values, --mask-bits or --mask-threshold"
        which = f"band {indexes[0]}" if len(indexes) == 1 else f"bands {_join(indexes)}"
        verb = "is" if len(indexes) == 1 else "are"
        reason = Decision(f"{source.name} {which} {verb} {_in_words(found.codes)}", found.why, option)
        reasons = reason, *found.reasons, *chosen
        return CloudMask(source, grid, indexes, found.codes, reasons, is_guess=found.is_guess)


def _of_polygons(source: Source, area: Grid, options: MaskOptions) -> CloudMask:
    burnt = polygons.read(source, area)
    if options.given:
        raise InputError(
            f"{source.name} holds polygons, and {options.given[0]} says what numbers of a raster mean; give one of the "
            "two"
        )
    said = names.meaning_in(source.stem)
    if said == "both" and burnt.are_cloud is None:
        raise InputError(
            f"{source.name}: the name of the file, {names.BOTH}; one of them is needed: call it clouds or clear"
        )
    codes = Codes(inverted=said == "clear" if burnt.are_cloud is None else not burnt.are_cloud)
    which = "clear inside its polygons" if codes.inverted else "cloud inside its polygons"
    why = "the name of the file" if codes.inverted else f"{burnt.count} of them in a file of vectors"
    if burnt.by_class:
        why = f"{burnt.count} of them by their {burnt.by_class}"
    return CloudMask(source, area, (1,), codes, (Decision(f"{source.name} is {which}", why),), burnt=burnt)


def is_named(dataset: DatasetReader) -> bool:
    """Whether the name of an open file, or of its first band, says that it is a mask."""
    if meaning.is_own(dataset) or meaning.preset_named(dataset, 1) or names.is_probability(dataset, 1):
        return True
    return any(map(names.meaning_in, names.of_band(dataset, 1)))


# --- which bands, and what their numbers mean ---


def _udm2_bands(dataset: DatasetReader) -> tuple[tuple[int, ...], Decision]:
    path, words = dataset.source, [band_texts(dataset, index) for index in dataset.indexes]
    others = OTHER_WORDS | CLEAR_WORDS
    named = tuple(i for i, of_band in enumerate(words, 1) if of_band & CLOUD_WORDS and not of_band & others)
    if named:
        return named, Decision(f"shadow, haze and cloud are bands {_join(named)} of {path.name}", "band descriptions")
    extra = dataset.count - UDM2_BAND_COUNT
    if extra == 0 or (extra == 1 and _is_alpha(dataset, dataset.count)):
        bands = tuple(int(band) for band in UDM2_OBSCURED)
        return bands, Decision(f"shadow, haze and cloud are bands {_join(bands)} of {path.name}", "order of a UDM2")
    kind = " and is the older usable data mask (UDM1), a bit field; a UDM2 has 8: give it with --mask"
    if dataset.count != 1 or meaning.preset_named(dataset, 1) != "udm1":
        kind = f"; a UDM2 has {UDM2_BAND_COUNT}: give the scene's _udm2 file, or another kind of mask with --mask"
    raise InputError(f"{path.name} has {dataset.count} band(s){kind}")


def _udm2(dataset: DatasetReader, area: Grid, chosen: tuple[Decision, ...]) -> CloudMask:
    grid = _overlapping(dataset, area)
    indexes, which = _udm2_bands(dataset)
    codes, window = Codes(no_data=frozenset({NO_CLASS}), zero_is_class=True), _over(grid, area)
    if strange := [value for value in meaning.values_of(dataset, indexes, window) if value not in (0, 1, NO_CLASS)]:
        raise InputError(
            f"{dataset.source.name} holds {dataset.dtypes[0]} values like {max(strange)}; a UDM2's bands of shadow, "
            "haze and cloud hold 0 and 1: give the scene's _udm2 file, or another kind of mask with --mask"
        )
    clear, classes = _udm2_classes(dataset)
    says_all = 0 in dataset.nodatavals or (clear and 1 in meaning.values_of(dataset, clear, window))
    classes = (*clear, *classes, *indexes) if says_all else ()
    return CloudMask(dataset.source, grid, indexes, codes, (which, *chosen), class_indexes=tuple(sorted({*classes})))


def _udm2_classes(dataset: DatasetReader) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The bands of clear ground, and all others of classes, by their names or by Planet's order."""
    words = {index: band_texts(dataset, index) for index in dataset.indexes}
    if not any(of_band & CLOUD_WORDS for of_band in words.values()):
        return (int(UDM2_CLASSES[0]),), tuple(map(int, UDM2_CLASSES[1:]))
    sure = {index: of_band for index, of_band in words.items() if not of_band & (OTHER_WORDS - {"snow"})}
    clear, snow = (tuple(i for i, of_band in sure.items() if of_band & which) for which in (CLEAR_WORDS, {"snow"}))
    return clear, snow


def _is_udm2(dataset: DatasetReader) -> bool:
    """Whether a file that is given as any mask is a UDM2 by its bands: by their names, or its own name."""
    if dataset.dtypes[0] != "uint8" or dataset.count not in (UDM2_BAND_COUNT, UDM2_BAND_COUNT + 1):
        return False
    named = set().union(*(band_texts(dataset, index) for index in dataset.indexes))
    return {"clear", "shadow", "cloud"} <= named or planet_product.UDM2.word in planet_product.words(
        dataset.source.stem
    )


def _is_alpha(dataset: DatasetReader, index: int) -> bool:
    """Whether a band is an alpha band, by its colour or by holding 0 and 255 alone."""
    if index in validity.alpha_bands(dataset):
        return True
    whole = Window(0, 0, dataset.width, dataset.height)
    return set(meaning.values_of(dataset, (index,), whole)) <= {0, NO_CLASS}


def _mask_bands(dataset: DatasetReader) -> tuple[int, ...]:
    """The bands of a mask: its only one, beside alpha, or those whose names say cloud, or the one that says clear."""
    bands = [index for index in dataset.indexes if index not in validity.alpha_bands(dataset)] or [1]
    if len(bands) == 1:
        return (bands[0],)
    words = {index: band_texts(dataset, index) for index in bands}
    named = [index for index in bands if words[index] & (CLOUD_WORDS | CLEAR_WORDS) and not words[index] & OTHER_WORDS]
    if len(named) > 1:
        said = {index: names.meaning_of(dataset, index) for index in named if not names.is_probability(dataset, index)}
        named = [index for index, of_it in said.items() if of_it and of_it.meaning == "cloud"]
    if not named:
        raise _several_bands(dataset)
    return tuple(named)


def _several_bands(dataset: DatasetReader) -> InputError:
    listed = ", ".join(text or "no name" for text in dataset.descriptions[:12])
    return InputError(
        f"{dataset.source.name} has {dataset.count} bands ({listed}); a mask has one, or one whose name says "
        "cloud: give a UDM2 with --udm2, or write one band of it to a file"
    )


def _in_words(codes: Codes) -> str:
    if codes.threshold is not None:
        return f"cloud {'under' if codes.inverted else 'from'} {codes.threshold:g}{'' if codes.inverted else ' on'}"
    if codes.bits is not None:
        return f"cloud by bits {_join(codes.bits)}"
    if codes.values is not None:
        return f"cloud where it is {_join(codes.values)}"
    return "clear where it is not zero" if codes.inverted else "cloud where it is not zero"


def _join(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def _over(grid: Grid, area: Grid) -> Window:
    """The pixels of a mask's grid that lie over an area."""
    row0, row1, col0, col1 = grid.pixel_bounds_of(area)
    return Window(col0, row0, col1 - col0, row1 - row0)


def _looked_at(mask: CloudMask, scene: Scene, options: MaskOptions) -> CloudMask:
    """The mask with its share of the scene among its reasons, where nothing names what its numbers mean.

    Warns of ground of the scene of which it says nothing, and of a mask that is all cloud or empty.
    """
    grid = scene.grid.resized(min(scene.grid.height, _LOOK_PX), min(scene.grid.width, _LOOK_PX))
    rows = max(1, _STRIP_ROWS * grid.height // scene.grid.height)  # about as many of the scene's as `_STRIP_ROWS`
    with mask.open() as reader:
        states = np.concatenate([reader.states(strip) for strip in grid.strips(rows)])
    cloudy, unknown = states == State.CLOUDY, states == State.UNKNOWN
    shares = dict.fromkeys(("unknown", "cloudy"), 0.0)
    if unknown.any() or mask.is_guess:
        with scene.open() as opened:
            # By the nearest pixel, as the mask is: an average has data beyond the edge of what the mask knows.
            data = np.concatenate([_data_of(scene, opened, strip) for strip in grid.strips(rows)])
        shares = {
            name: float((where & data).sum() / max(int(data.sum()), 1))
            for name, where in (("unknown", unknown), ("cloudy", cloudy))
        }
    if shares["unknown"] >= _LEAST_TOLD:
        log.warning(
            "%s says nothing of %.1f %% of the scene; that counts as %s (--mask-unknown %s decides otherwise)",
            *(mask.path.name, 100 * shares["unknown"]),
            *(options.unknown, "clear" if options.unknown == "cloud" else "cloud"),
        )
    if cloudy.all():
        log.warning("%s calls all of the scene cloud or shadow: look whether it is of this scene", mask.path.name)
    if not cloudy.any() and _classifies_nothing(mask, scene.grid):
        log.warning("%s classifies no pixel of the scene, not even as clear: it may be empty", mask.path.name)
    return _with_share(mask, shares["cloudy"]) if mask.is_guess else mask


def _with_share(mask: CloudMask, share: float) -> CloudMask:
    told = Decision(
        f"{100 * share:.1f} % of the scene is cloud by {mask.path.name}",
        "its numbers that are not zero are taken for cloud, for nothing names what they mean",
        "--mask-values 0, where zero is cloud,",
    )
    if _MUCH < share < 1:
        log.warning("%s", told)
    return replace(mask, reasons=(*mask.reasons, told))


def _classifies_nothing(mask: CloudMask, area: Grid) -> bool:
    """Whether a UDM2 holds zero in all its classes, clear included."""
    if len(mask.band_indexes) == 1:
        return False
    with access.opened(mask.path) as dataset:
        if dataset.count < UDM2_BAND_COUNT:
            return False
        clear, others = _udm2_classes(dataset)
        values = meaning.values_of(dataset, (*clear, *others, *mask.band_indexes), _over(mask.grid, area))
        return set(values) <= {0, NO_CLASS}


def _overlapping(dataset: DatasetReader, area: Grid) -> Grid:
    """The grid of an open mask. Raises GridError where it does not overlap `area`."""
    grid = Grid.of(dataset)
    if area.overlap_share(grid) == 0:
        raise GridError(
            f"{dataset.source.name} does not overlap the scene; a mask of the same ground is needed: "
            "compare the footprints with cloudfree info"
        )
    return grid
