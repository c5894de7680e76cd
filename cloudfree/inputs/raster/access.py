"""Opening rasters: failures of GDAL become one clear line, and GDAL's settings stay the caller's."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from threading import RLock, local
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio._env import get_gdal_config
from rasterio.env import getenv, hasenv
from rasterio.errors import CRSError, RasterioError, RasterioIOError
from rasterio.windows import Window

from cloudfree.errors import InputError, without_secrets
from cloudfree.geometry.grid import strips
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.raster.admitted import admit, refuse_giants, refuse_parts_elsewhere, trusting

NEEDED_DRIVERS = "GTiff", "COG", "MEM"
"""GDAL's drivers without which nothing is read or written."""

_STRIP_ROWS = 512

_DOCUMENTS = (".xml", ".geojson", ".json")
_OVERVIEWS, _SIDE_FILE = ".ovr", ".aux.xml"


_HTTP_SETTINGS: dict[str, object] = {
    "GDAL_HTTP_CONNECTTIMEOUT": 10,  # seconds
    "GDAL_HTTP_LOW_SPEED_TIME": 20,  # seconds of fewer bytes a second than the limit, after which a server is dead
    "GDAL_HTTP_LOW_SPEED_LIMIT": 1000,
    "GDAL_HTTP_MAX_RETRY": 3,  # where a server is busy (429, 502, 503, 504)
    "GDAL_HTTP_RETRY_DELAY": 1,
}


_GDAL_SETTINGS: dict[str, object] = {
    # Bytes: rasterio takes no megabytes here. GDAL's own, a share of all memory, would defeat the bound by the width.
    "GDAL_CACHEMAX": 32 << 20,
    "GDAL_NUM_THREADS": "ALL_CPUS",
    "COG_TMP_COMPRESSION": "NONE",  # of overviews on their way into a COG; packing them takes a third of its time
    "GDAL_PAM_ENABLED": "NO",  # nothing is written beside a product; inputs are opened with it, see `opened`
    "CPL_VSIL_GZIP_WRITE_PROPERTIES": "NO",  # nor beside an input
    **_HTTP_SETTINGS,
}


_REMOTE_SETTINGS: dict[str, object] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",  # no listing of what lies beside; .aux.xml and .msk are asked for by name
    **_HTTP_SETTINGS,
}


_GEOREFERENCED_BY = "PAM,INTERNAL,TABFILE,WORLDFILE,XML"  # GDAL's own order


# GDAL's reader of several threads loses failures of a server's, and gives zeros. How many read is decided on opening.
_ONE_THREAD = {"GDAL_NUM_THREADS": 1}


@contextmanager
def gdal_settings(trust_inputs: bool | None = None) -> Iterator[None]:
    """cloudfree's settings of GDAL, except those that the caller or the environment has made.

    trust_inputs: whether files are opened that have GDAL read others, or ask a server (`admitted`); None leaves it.
    Raises InputError where GDAL lacks what nothing can be done without.
    """
    with _env(_GDAL_SETTINGS), nullcontext() if trust_inputs is None else trusting(trust_inputs):
        _refuse_lacking_drivers()
        yield


@cache
def _refuse_lacking_drivers() -> None:
    """GDAL registers its drivers once, by what the environment says then."""
    with rasterio.Env() as env:
        lacking = [name for name in NEEDED_DRIVERS if name not in env.drivers()]
    if lacking:
        skips = os.environ.get("GDAL_SKIP")
        mend = f"GDAL_SKIP is {skips!r}: unset it" if skips else "install rasterio's own wheel (cloudfree doctor)"
        raise InputError(f"GDAL is without its driver for {', '.join(lacking)}, which is needed; {mend}")


def _env(settings: dict[str, object]) -> rasterio.Env:
    made = set(os.environ) | (set(getenv()) if hasenv() else set())
    return rasterio.Env(**{key: value for key, value in settings.items() if key not in made})


class Raster(DatasetReader):  # type: ignore[misc]
    """An open raster with its `source`, whose `name` has no secrets. Threads that share it take turns."""

    def __init__(self, source: Source) -> None:
        address, drivers = admit(source)
        super().__init__(address, driver=drivers and list(drivers))
        refuse_parts_elsewhere(self, source)
        refuse_giants(self, source)
        self.source = source
        self._turn = RLock()

    def read(self, *arguments: Any, **options: Any) -> NDArray[np.generic]:
        with self._turn, _patient(self.source), _failing_where_gdal_does():
            return super().read(*arguments, **options)

    def read_masks(self, *arguments: Any, **options: Any) -> NDArray[np.generic]:
        with self._turn, _patient(self.source), _failing_where_gdal_does():
            return super().read_masks(*arguments, **options)

    @property
    def name(self) -> str:
        return str(self.source)


def _patient(source: Source) -> AbstractContextManager[object]:
    """Settings of how long a server is waited for, unless there are some.

    Those of an Env hold in its own thread, and only those of the main thread in others.
    """
    needed = source.is_remote and get_gdal_config("GDAL_HTTP_LOW_SPEED_TIME") is None
    return rasterio.Env(**_HTTP_SETTINGS) if needed else nullcontext()


_heard = local()


@contextmanager
def _failing_where_gdal_does() -> Iterator[None]:
    """Raises RasterioIOError for a failure that GDAL tells of within the block, though it may return pixels: zeros."""
    failures: list[str] = []
    _heard.failures = failures
    try:
        yield
    finally:
        _heard.failures = None
    if failures:
        raise RasterioIOError(failures[0])


class _WithoutSecrets(logging.Filter):
    """Takes secrets out of what GDAL logs, which has the addresses of servers in it, and keeps failures of a read."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = without_secrets(record.getMessage()), ()
        failures = getattr(_heard, "failures", None)
        if failures is not None and record.levelno >= logging.ERROR:
            failures.append(record.msg)
        return True


for _name in ("rasterio", "rasterio._env", "rasterio._io", "rasterio._base"):
    logging.getLogger(_name).addFilter(_WithoutSecrets())


def _tell_what_is_no_utf8(error: UnicodeDecodeError) -> None:
    """Log GDAL's words that quote bytes of a file, which rasterio cannot decode: it prints tracebacks of its own."""
    words = error.object.decode(errors="backslashreplace")
    logging.getLogger("rasterio._env").warning("%s", words)
    if (failures := getattr(_heard, "failures", None)) is not None:  # it may have been one
        failures.append(words)


def _unraisable(lost: Any, otherwise: Any = sys.unraisablehook) -> None:
    of_rasterio = isinstance(lost.exc_value, UnicodeDecodeError) and str(lost.object).startswith("rasterio.")
    _tell_what_is_no_utf8(lost.exc_value) if of_rasterio else otherwise(lost)


def _uncaught(kind: Any, error: Any, where: Any, otherwise: Any = sys.excepthook) -> None:
    if not (isinstance(error, UnicodeDecodeError) and where is None):  # the same once more: Python's own have a place
        otherwise(kind, error, where)


sys.unraisablehook, sys.excepthook = _unraisable, _uncaught


@contextmanager
def opened(path: AnyPath) -> Iterator[DatasetReader]:
    """Open a raster to read. Raises InputError where that, or a later read within the block, fails."""
    source = Source.of(path)
    if source.is_archive and source.exists:
        raise InputError(
            f"{source} is an archive; a raster file is needed: give the scene inside, as zip://ARCHIVE!FILE"
        )
    if not source.exists:
        what = "is not in its archive" if source.is_archived else "does not exist"
        raise InputError(f"{source} {what}; a raster file is needed: check the path")
    with opened_by_gdal(source) as dataset:
        yield dataset


@contextmanager
def opened_by_gdal(source: Source) -> Iterator[DatasetReader]:
    """Open a source by its address, as `opened` does, without looking whether it is there."""
    mend = (
        "check the address and what it needs of you, or download the file"
        if source.is_remote
        else "fetch or export it again"
    )
    try:
        settings = _REMOTE_SETTINGS if source.is_remote else {}
        with _env(settings), rasterio.Env(**(_ONE_THREAD if source.is_remote else {})), _with_sidecars(source):
            dataset = Raster(source)
            dataset.mask_flag_enums  # noqa: B018 - a `.msk` is looked for where masks are first asked for
        with dataset:
            yield dataset
    except RasterioIOError as error:
        raise InputError(f"{source} cannot be read as a raster ({_first_line(error)}); {mend}") from error
    except (RasterioError, CRSError) as error:
        raise InputError(f"{source} cannot be used: {_first_line(error)}; check the file with rio info") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{source} has band names or tags that are no UTF-8 ({error.object[:40]!r}); write it anew without them "
            "(gdal_translate -nomd)"
        ) from error


def _with_sidecars(source: Source) -> rasterio.Env:
    """An Env in which what lies beside a file is read with it: `.msk`, and `.aux.xml` (nodata, names, CRS).

    Environments are set up for addresses, at which asking for these takes time: there what they say holds.
    """
    if source.is_remote:
        return rasterio.Env(**({} if "GDAL_PAM_ENABLED" in os.environ else {"GDAL_PAM_ENABLED": "YES"}))
    listing = get_gdal_config("GDAL_DISABLE_READDIR_ON_OPEN")
    settings = {"GDAL_DISABLE_READDIR_ON_OPEN": "NO"} if listing == "EMPTY_DIR" else {}
    places = str(get_gdal_config("GDAL_GEOREF_SOURCES") or _GEOREFERENCED_BY).upper()
    if "INTERNAL" not in places:  # sound files would lie nowhere
        settings["GDAL_GEOREF_SOURCES"] = _GEOREFERENCED_BY
    return rasterio.Env(GDAL_PAM_ENABLED="YES", **settings)


def parts_of(source: Source) -> list[Source]:
    """A raster and the other files that GDAL reads for its pixels: headers, side files, parts of a virtual one (VRT).

    For a document or an archive, as SAFE products have them, that file alone; for single bands in a folder, these.
    """
    in_folder = source.is_stack and source.file is not None and source.file.is_dir()
    if not (source.plain or in_folder) or source.suffix in _DOCUMENTS or source.is_folder:
        return [source]
    with opened(source) as dataset:
        parts = [part for part in map(Source.of, dataset.files) if not _is_derived(part)]
        return list(dict.fromkeys([*([] if in_folder else [source]), *parts]))


def _is_derived(part: Source) -> bool:
    """Whether a file is made from pixels alone: overviews, and side files of statistics, as viewers write them."""
    is_side_file = part.plain is not None and part.name.lower().endswith(_SIDE_FILE)
    return part.suffix == _OVERVIEWS or (is_side_file and _holds_statistics_alone(part))


def _holds_statistics_alone(side_file: Source) -> bool:
    try:
        root = ElementTree.fromstring(side_file.read_bytes())
    except (ElementTree.ParseError, ValueError, LookupError):  # the latter two of a wrong encoding
        return False
    elements = [inner for outer in root for inner in (outer if outer.tag == "PAMRasterBand" else [outer])]
    return all(map(_is_statistics, elements))


def _is_statistics(element: Element) -> bool:
    keys = [item.get("key", "") for item in element]
    metadata = element.tag == "Metadata" and not element.attrib and all(key.startswith("STATISTICS_") for key in keys)
    return metadata or element.tag == "Histograms"


def read(
    dataset: DatasetReader,
    indexes: list[int],
    window: Window,
    out_shape: tuple[int, int] | None = None,
) -> NDArray[np.generic]:
    """Bands (N, rows, columns) of one window, thinned to `out_shape`. Raises InputError where the file is damaged.

    A dataset that is not GDAL's, as of a SAFE product, thins by itself.
    """
    if max(indexes) > dataset.count:
        raise InputError(
            f"{dataset.name} has {dataset.count} bands, and no band {max(indexes)}; give a file that has it"
        )
    try:
        if not isinstance(dataset, DatasetReader):
            own: NDArray[np.generic] = dataset.read(indexes, window=window, out_shape=out_shape)
            return own
        if out_shape in (None, (window.height, window.width)):
            values: NDArray[np.generic] = dataset.read(indexes, window=window)
            return values
        return _thinned(dataset, indexes, window, out_shape)
    except RasterioError as error:
        raise InputError(
            f"{dataset.name} is damaged or cut short ({_first_line(error)}); a whole file is needed: fetch it again"
        ) from error


def _thinned(
    dataset: DatasetReader, indexes: list[int], window: Window, out_shape: tuple[int, int]
) -> NDArray[np.generic]:
    """The nearest pixels of a window; those of an overview where reading all would mean fetching all.

    Overviews may be empty, or of other pixels: whoever changes a file often leaves them as they were.
    """
    if isinstance(dataset, Raster) and dataset.source.is_remote and dataset.overviews(indexes[0]):
        overview: NDArray[np.generic] = dataset.read(indexes, window=window, out_shape=(len(indexes), *out_shape))
        if overview.any():
            return overview
    rows, cols = nearest(window.height, out_shape[0]), nearest(window.width, out_shape[1])
    parts = []
    # GDAL, told to thin, unpacks a block once for each row that it takes from it, which takes minutes for a scene.
    for start, stop in strips(window.height, _STRIP_ROWS):
        strip = Window(window.col_off, window.row_off + start, window.width, stop - start)
        chosen = rows[(rows >= start) & (rows < stop)] - start
        parts.append(dataset.read(indexes, window=strip)[:, chosen[:, None], cols])
    return np.concatenate(parts, axis=1)


def nearest(length: int, count: int) -> NDArray[np.intp]:
    """The pixels (count,) of `length` in a row that lie in the middle of `count` equal parts, as GDAL thins."""
    return ((np.arange(count) + 0.5) * (length / count) + 1e-10).astype(np.intp)


def is_complex(dataset: DatasetReader) -> bool:
    """Whether a band holds complex numbers."""
    return any(dtype.startswith("complex") for dtype in dataset.dtypes)


def refuse_complex(dataset: DatasetReader, needed: str) -> None:
    """Raise InputError for complex numbers; `needed` says in its message what is needed, and what to do."""
    if is_complex(dataset):
        raise InputError(f"{dataset.source.name} holds complex numbers ({dataset.dtypes[0]}); {needed}")


def _first_line(error: BaseException) -> str:
    """The root cause in one line: rasterio's own text only points to GDAL's."""
    cause = error.__cause__ or error
    return without_secrets(" ".join(str(cause).split()))[:200]
