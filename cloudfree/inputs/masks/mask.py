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
from cloudfree.bands import UDM2_BAND_COUNT, UDM2_OBSCURED, Udm2
from cloudfree.errors import CloudfreeError, GridError, InputError
from cloudfree.geometry import Grid
from cloudfree.geometry.grid import strips
from cloudfree.geometry.resample import spread_positions
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.location import containers
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.masks.codes import (
    BIT_PRESETS,
    CLEAR_WORDS,
    CLOUD_WORDS,
    NO_CLASS,
    OTHER_WORDS,
    VALUE_PRESETS,
    Codes,
    MaskOptions,
    State,
    codes_of_values,
    codes_of_words,
)
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.optical.bands import band_texts
from cloudfree.inputs.optical.scene import Scene, SceneReader, has_data
from cloudfree.inputs.raster import access, validity

log = logging.getLogger(__name__)

BUFFER_M = 30.0
"""Ground beyond the mask that is taken for cloudy too: Planet advises to buffer UDM2, which misses thin edges."""

_STRIP_ROWS, _MOST_CLASSES = 512, 256
_LOOK_PX = 512  # pixels along a side at which a mask is looked at over its scene
_NO_WHOLE = -(2**31)  # stands for any number that is not whole
_BEYOND = 255  # neither of `State`: where a mask does not reach


@dataclass(frozen=True)
class CloudMask:
    """A mask file: `codes` say which numbers of its one-based `band_indexes` are cloud or shadow, clear, or unknown.

    `reasons` say why. Unknown pixels count as cloud where the scene `ground` has data; as clear without a `ground`.
    """

    path: Source
    grid: Grid
    band_indexes: tuple[int, ...]
    codes: Codes
    reasons: tuple[Decision, ...]
    ground: Scene | None = None

    @contextmanager
    def open(self) -> Iterator[MaskReader]:
        """A reader of the mask's pixels."""
        with ExitStack() as stack:
            dataset = stack.enter_context(access.opened(self.path))
            ground = stack.enter_context(self.ground.open()) if self.ground else None
            yield MaskReader(self, dataset, ground)


class MaskReader:
    """An open mask, on any grid."""

    def __init__(self, mask: CloudMask, dataset: DatasetReader, ground: SceneReader | None = None) -> None:
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
        return nearest(self._mask.grid, grid, self._states)

    def _states(self, window: Window) -> NDArray[np.uint8]:
        indexes = self._mask.band_indexes
        stored = access.read(self._dataset, list(indexes), window)
        states = self._mask.codes.states(stored)
        states[~validity.complete(self._dataset, indexes, window, stored)] = State.UNKNOWN
        return states

    def _data(self, grid: Grid) -> Mask:
        """Where the scene has data (H, W), by its nearest pixel."""
        assert self._mask.ground
        assert self._ground
        read = self._ground.window

        def data(w: Window) -> NDArray[np.uint8]:
            return has_data(read(w.row_off, w.col_off, w.height, w.width)).astype(np.uint8)

        return np.asarray(nearest(self._mask.ground.grid, grid, data) == 1)


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
    _warn_of_unknown(identified, scene, options)
    return identified


def identify_udm2(path: AnyPath, area: Grid) -> CloudMask:
    """Identify a usable data mask 2, of which the bands of shadow, haze and cloud count.

    The bands are found by their names, or by Planet's order where they have none; a ninth may be an alpha band. 255 and
    nodata are unknown. Raises InputError or GridError.
    """
    source, chosen = containers.one(Source.of(path), containers.UDM2)
    with access.opened(source) as dataset:
        grid = _overlapping(dataset, area)
        indexes, which = _udm2_bands(dataset)
        if strange := [value for value in _values(dataset, indexes, grid, area) if value not in (0, 1, NO_CLASS)]:
            raise InputError(
                f"{source.name} holds {dataset.dtypes[0]} values like {max(strange)}; a UDM2's bands of shadow, haze "
                "and cloud hold 0 and 1: give the scene's _udm2 file, or another kind of mask with --mask"
            )
        return CloudMask(source, grid, indexes, Codes(unknown=frozenset({NO_CLASS})), (which, *chosen))


def identify_mask(path: AnyPath, area: Grid, options: MaskOptions | None = None) -> CloudMask:
    """Identify a raster of which one band says where there is cloud or shadow.

    What its numbers mean is said by the options or by the name of its band or file; else zero is clear and the one
    other number is cloud. Raises InputError or GridError; the former for several other numbers without an explanation.
    """
    source, chosen = containers.one(Source.of(path), containers.MASK)
    with access.opened(source) as dataset:
        grid = _overlapping(dataset, area)
        index = _mask_band(dataset)
        codes, why = _codes(dataset, index, options or MaskOptions(), _values(dataset, (index,), grid, area))
        reason = Decision(f"{source.name} band {index} is {_in_words(codes)}", why, "--mask-values or --mask-bits")
        return CloudMask(source, grid, (index,), codes, (reason, *chosen))


def is_named(dataset: DatasetReader) -> bool:
    """Whether the name of an open file, or of its first band, says that it is a mask."""
    return bool(band_texts(dataset, 1) & (CLOUD_WORDS | CLEAR_WORDS) or codes_of_words(_words(dataset, 1)))


def _words(dataset: DatasetReader, index: int) -> set[str]:
    """Of the names of a file and of one of its bands."""
    return {*planet_product.words(dataset.source.stem), *band_texts(dataset, index)}


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
    if dataset.count != 1 or not codes_of_words(set(planet_product.words(path.stem))):
        kind = f"; a UDM2 has {UDM2_BAND_COUNT}: give the scene's _udm2 file, or another kind of mask with --mask"
    raise InputError(f"{path.name} has {dataset.count} band(s){kind}")


def _is_alpha(dataset: DatasetReader, index: int) -> bool:
    """Whether a band is an alpha band, by its colour or by holding 0 and 255 alone."""
    if index in validity.alpha_bands(dataset):
        return True
    return set(_distinct(dataset, (index,), Window(0, 0, dataset.width, dataset.height))) <= {0, NO_CLASS}


def _mask_band(dataset: DatasetReader) -> int:
    """The band of a mask: its only one, beside alpha, or the one whose name says cloud."""
    bands = [index for index in dataset.indexes if index not in validity.alpha_bands(dataset)] or [1]
    words = {index: band_texts(dataset, index) for index in bands}
    named = [index for index in bands if words[index] & (CLOUD_WORDS | CLEAR_WORDS) and not words[index] & OTHER_WORDS]
    if len(bands) > 1 and len(named) != 1:
        names = ", ".join(text or "no name" for text in dataset.descriptions[:12])
        raise InputError(
            f"{dataset.source.name} has {dataset.count} bands ({names}); a mask has one, or one whose name says "
            "cloud: give a UDM2 with --udm2, or write one band of it to a file"
        )
    return named[0] if len(bands) > 1 else bands[0]


def _codes(dataset: DatasetReader, index: int, options: MaskOptions, values: list[int]) -> tuple[Codes, str]:
    """What the band's numbers mean, given those that it holds over the scene, and why."""
    if codes := options.codes():
        return codes, "--mask-values" if options.values else "--mask-bits"
    words = band_texts(dataset, index)
    if stated := codes_of_words(_words(dataset, index)):
        return stated
    plain = codes_of_values(values)
    if plain and words & CLEAR_WORDS and not words & OTHER_WORDS:
        return replace(plain, inverted=True), f"its band is called {dataset.descriptions[index - 1]}"
    if plain:
        return plain, "zero and one other number"
    shown = ", ".join(map(str, values[:12])) + (", ..." if len(values) > 12 else "")
    presets = ", ".join(VALUE_PRESETS), ", ".join(BIT_PRESETS)
    raise InputError(
        f"{dataset.source.name} holds {shown}, and nothing says which are cloud; a mask is zero and one other number: "
        f"say which classes are cloud or shadow with --mask-values 2,3 (or {presets[0]}), or which bits with "
        f"--mask-bits 1 (or {presets[1]})"
    )


def _in_words(codes: Codes) -> str:
    if codes.bits is not None:
        return f"cloud by bits {_join(codes.bits)}"
    if codes.values is not None:
        return f"cloud where it is {_join(codes.values)}"
    return "clear where it is not zero" if codes.inverted else "cloud where it is not zero"


def _join(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def _values(dataset: DatasetReader, indexes: tuple[int, ...], grid: Grid, area: Grid) -> list[int]:
    """Whole numbers that bands hold over `area`, in order; data alone."""
    row0, row1, col0, col1 = grid.pixel_bounds_of(area)
    return _distinct(dataset, indexes, Window(col0, row0, col1 - col0, row1 - row0))


def _distinct(dataset: DatasetReader, indexes: tuple[int, ...], window: Window) -> list[int]:
    """The same for a window of the mask; of too many, some."""
    distinct: set[int] = set()
    for start, stop in strips(window.height, _STRIP_ROWS):
        part = Window(window.col_off, window.row_off + start, window.width, stop - start)
        stored = access.read(dataset, list(indexes), part)
        known = validity.complete(dataset, indexes, part, stored)
        data = stored if known.all() else stored[:, known]
        distinct |= {int(value) if value == int(value) else _NO_WHOLE for value in _unique(data)}
        if len(distinct) > _MOST_CLASSES:
            break
    return sorted(distinct)


def _unique(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Values without repetition, sought among those that differ from the one before: sorting all would take seconds."""
    flat = values.ravel()
    return np.unique(np.append(flat[:1], flat[1:][flat[1:] != flat[:-1]]))


def _warn_of_unknown(mask: CloudMask, scene: Scene, options: MaskOptions) -> None:
    """Warn of ground of the scene of which the mask says nothing, and of a mask that is all cloud or empty."""
    grid = scene.grid.resized(min(scene.grid.height, _LOOK_PX), min(scene.grid.width, _LOOK_PX))
    rows = max(1, _STRIP_ROWS * grid.height // scene.grid.height)  # about as many of the scene's as `_STRIP_ROWS`
    with mask.open() as reader:
        states = np.concatenate([reader.states(strip) for strip in grid.strips(rows)])
    if (unknown := states == State.UNKNOWN).any():
        with scene.open() as opened:
            data = has_data(opened.averaged(*grid.shape))
        share = float((unknown & data).sum() / max(int(data.sum()), 1))
        if share > 0:
            log.warning(
                "%s says nothing of %.1f %% of the scene; that counts as %s (--mask-unknown %s decides otherwise)",
                *(mask.path.name, 100 * share, options.unknown, "clear" if options.unknown == "cloud" else "cloud"),
            )
    if (states == State.CLOUDY).all():
        log.warning("%s calls all of the scene cloud or shadow: look whether it is of this scene", mask.path.name)
    if not (states == State.CLOUDY).any() and _classifies_nothing(mask, scene.grid):
        log.warning("%s classifies no pixel of the scene, not even as clear: it may be empty", mask.path.name)


def _classifies_nothing(mask: CloudMask, area: Grid) -> bool:
    """Whether a UDM2 holds zero in all its classes, clear included."""
    with access.opened(mask.path) as dataset:
        if len(mask.band_indexes) == 1:
            return False
        classes = tuple(range(1, min(dataset.count, Udm2.CONFIDENCE - 1) + 1))
        return set(_values(dataset, classes, mask.grid, area)) <= {0, NO_CLASS}


def _overlapping(dataset: DatasetReader, area: Grid) -> Grid:
    """The grid of an open mask. Raises GridError where it does not overlap `area`."""
    grid = Grid.of(dataset)
    if area.overlap_share(grid) == 0:
        raise GridError(
            f"{dataset.source.name} does not overlap the scene; a mask of the same ground is needed: "
            "compare the footprints with cloudfree info"
        )
    return grid
