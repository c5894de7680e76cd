"""Whether headers of netCDF and HDF5 files are whole, before GDAL reads them: its libraries crash on some that are not.

What reads them here is scipy, and h5py, which fail where netCDF's library frees what it never had.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from cloudfree.errors import UNPARSABLE, InputError
from cloudfree.inputs.location.source import Source

_CLASSIC = b"\1", b"\2"  # versions of netCDF that are no HDF5; 5 has sizes that scipy does not know


def refuse_damaged_netcdf(source: Source, header: bytes) -> None:
    """Raise InputError for a classic netCDF file whose header is damaged, or of a rare kind that is not looked into."""
    from scipy.io import netcdf_file  # noqa: PLC0415 - it takes a while, and few files are netCDF

    whole = source.container
    if header[3:4] not in _CLASSIC:
        raise InputError(
            f"{source} is netCDF of version {header[3:4].hex()}; 1, 2 and 4 are read: copy it (nccopy -k nc4)"
        )
    try:
        if whole.plain:
            netcdf_file(str(whole.plain), "r", mmap=True).close()
        else:
            with whole.opened() as file:
                netcdf_file(file, "r", mmap=False)
    except (OSError, TypeError, AttributeError, AssertionError, *UNPARSABLE) as error:
        raise InputError(
            f"{source} is damaged ({' '.join(str(error).split())[:120] or type(error).__name__}); a whole file is "
            "needed: fetch it again"
        ) from error


def read_attributes(item: Any) -> None:
    """Read what is said of a group or a variable of HDF5. Raises OSError where that is damaged."""
    for name in item.attrs:
        with suppress(TypeError):  # of a kind that numpy lacks
            item.attrs[name]
