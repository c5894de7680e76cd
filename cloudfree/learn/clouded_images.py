"""Real images with clouds, the place on another date, and what another network says of cloud."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloudfree.arrays import Image, Mask, as_image, known_of
from cloudfree.bands import OPTICAL_BANDS, REFLECTANCE_SCALE
from cloudfree.errors import InputError
from cloudfree.learn.places import read_bands, site_of

CLOUDY_SUFFIX, CLEAR_SUFFIX = "_cloudy.tif", "_clear.tif"

_DARKEST = 0.01  # reflectance
_GAIN = 0.8, 1.25  # between two clear dates; cloud over most of an image would have more


@dataclass(frozen=True)
class CloudedImage:
    """An image (4, H, W), NaN where nothing, and the place on another date, if there is one.

    `site` is shared by the images of one place; `name` is that of the file, without its ending.
    """

    name: str
    site: str
    reflectance: Image
    other: Image | None

    @property
    def valid(self) -> Mask:
        return known_of(self.reflectance)

    @property
    def filled(self) -> Image:
        """Reflectance 0..1, 0 where there is nothing."""
        return np.clip(np.nan_to_num(self.reflectance), 0, 1)

    def other_in_its_light(self) -> Image | None:
        """The other date (4, H, W), 0 where it shows nothing, each band as bright as the image for the most part."""
        if self.other is None:
            return None
        both = self.valid & known_of(self.other)
        if not both.any():
            return np.nan_to_num(self.other)
        ratio = self.reflectance[:, both] / np.maximum(self.other[:, both], _DARKEST)
        gain = np.clip(np.median(ratio, axis=1), *_GAIN)
        return np.nan_to_num(self.other) * as_image(gain)[:, None, None]


def read_clouded_images(folder: Path) -> Iterator[CloudedImage]:
    """The images `NAME_cloudy.tif` of a folder; `NAME_clear.tif` is another date.

    Both are uint16 blue, green, red, NIR, reflectance * 10000, 0 nodata, on one grid of about 10 m. NAME tells places
    apart (`places.site_of`). Raises InputError where two have different sizes.
    """
    for path in sorted(folder.glob(f"*{CLOUDY_SUFFIX}")):
        name = path.name.removesuffix(CLOUDY_SUFFIX)
        clear = path.with_name(f"{name}{CLEAR_SUFFIX}")
        cloudy, other = _read(path), _read(clear) if clear.exists() else None
        if other is not None and other.shape != cloudy.shape:
            raise InputError(f"{clear} and {path.name} have different sizes; they must share their pixels: warp one")
        yield CloudedImage(path.stem, site_of(name), cloudy, other)


def cloud_share(cloud_percent: Path | None, stem: str, shape: tuple[int, ...]) -> Image | None:
    """What another network says of cloud (H, W), 0..1, in the image `STEM.tif` of a shape: `STEM_cloud.tif`, percent.

    None where there is no such file. Raises InputError for one of another size, or other numbers.
    """
    path = cloud_percent and cloud_percent / f"{stem}_cloud.tif"
    if not path or not path.exists():
        return None
    percent = read_bands(path, "percent of cloud")[0]
    if percent.shape != shape:
        raise InputError(f"{path} and {stem}.tif have different sizes; they must share their pixels: warp one")
    if not ((percent >= 0) & (percent <= 100)).all():
        raise InputError(
            f"{path} holds numbers that are no percent of cloud, which are 0 to 100: check --cloud-percent"
        )
    return percent / np.float32(100)


def check_cloud_percent(folder: Path) -> None:
    """Raise InputError for a folder that says nothing of any image."""
    if not any(folder.glob("*_cloud.tif")):
        raise InputError(f"{folder} holds no STEM_cloud.tif, percent of cloud in STEM.tif: check --cloud-percent")


def _read(path: Path) -> Image:
    """Reflectance (4, H, W), NaN where any band is 0."""
    image = read_bands(path, *OPTICAL_BANDS) * np.float32(REFLECTANCE_SCALE)
    return as_image(np.where((image > 0).all(axis=0), image, np.nan))
