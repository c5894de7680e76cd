"""The files that a run may write: the product and what stands beside it, in one table.

Options of commands, names in a batch, `--json`, tags, identity and STAC items all read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

COG = "image/tiff; application=geotiff; profile=cloud-optimized"

_FORMATS = {
    COG: ("a GeoTIFF", (".tif", ".tiff")),
    "image/png": ("a PNG", (".png",)),
    "text/html": ("a page of HTML", (".html", ".htm")),
    "application/geo+json": ("JSON", (".json", ".geojson")),
    "application/xml": ("a style of QGIS", (".qml",)),
}
_OTHERS = (
    ".jp2 .j2k .jpg .jpeg .webp .gif .bmp .svg .pdf .img .vrt .nc .hdf .h5 .hdf5 .zarr .ecw .sid .dat .bil "
    ".bip .bsq .hdr .asc .grd .gpkg .shp .kml .kmz .xml .txt .csv .md .toml .yaml .yml .npy .npz .mbtiles "
    ".pmtiles .parquet .zip .gz .tgz .tar .7z .docx .xlsx .log .safetensors"
)
ENDINGS = frozenset(_OTHERS.split()).union(*(endings for _, endings in _FORMATS.values()))
"""Of names that say which format a file has."""


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    `field`: the field of `Options` with its path, and its key in `--json`. `suffix`: what follows the stem of the
    product in its name in a batch. `title`: what it shows, for help and catalogues. `asset` and `roles`: its key and
    roles in STAC items; no asset for the item itself. `bytes_per_pixel`: of a raster, uncompressed. `mark`: bytes that
    are in each such file of ours, beside its identity; of rasters a tag is instead. `listed_in`: file of a batch that
    lists them all.
    """

    field: str
    suffix: str
    title: str
    media_type: str
    asset: str | None = None
    roles: tuple[str, ...] = ()
    bytes_per_pixel: int = 0
    mark: bytes | None = None
    listed_in: str = ""

    @property
    def word(self) -> str:
        """What `--also` calls it."""
        return self.field.removeprefix("write_")

    @property
    def is_raster(self) -> bool:
        return self.media_type == COG

    @property
    def format(self) -> str:
        """Its format, in words."""
        return _FORMATS[self.media_type][0]

    @property
    def endings(self) -> tuple[str, ...]:
        """How names of such files end, in lower case; others are as good, unless they are another format's."""
        return _FORMATS[self.media_type][1]

    @property
    def has_identity(self) -> bool:
        """Whether the file itself says what it was made of: a picture does not."""
        return self.is_raster or self.mark is not None

    def beside(self, product: Path) -> Path:
        """Where it lies in a batch, named after its product."""
        return product.with_name(product.stem + self.suffix)


# fmt: off
OUTPUT = Kind("output", ".tif", "Cloud-free scene", COG, "product", ("data", "reflectance"), 8)
QA = Kind("qa", "_qa.tif", "What was observed and what reconstructed", COG, "qa", ("metadata", "data-mask"), 2)
UNCERTAINTY = Kind("uncertainty", "_uncertainty.tif", "One standard deviation of each band's reflectance", COG,
                   "uncertainty", ("metadata", "uncertainty"), 8)
WRITE_MASK = Kind("write_mask", "_mask.tif", "Mask that was used: cloud, haze, shadow, snow", COG,
                  "mask", ("metadata", "cloud", "cloud-shadow", "snow-ice"), 2)
QUICKLOOK = Kind("quicklook", ".png", "Picture of before, radar, after", "image/png", "picture", ("overview",))
REPORT = Kind("report", ".html", "Page of before and after, quality, numbers, provenance", "text/html", "report",
              ("metadata",), mark=b'<meta name="generator" content="cloudfree">', listed_in="index.html")
STAC = Kind("stac", ".json", "STAC item of all that is written", "application/geo+json",
            mark=b'"cloudfree:identity"', listed_in="collection.json")
# fmt: on

BESIDE = (QA, UNCERTAINTY, WRITE_MASK, QUICKLOOK, REPORT, STAC)
"""What may stand beside a product."""

STYLE = "style"
"""What `--also` calls a style for QGIS beside each raster."""

ALSO = (*(kind.word for kind in BESIDE), STYLE)
"""What `--also` takes: files named after the product."""

KINDS = (OUTPUT, *BESIDE)

STYLES = {
    kind: Kind(
        *(f"{kind.field}_style", kind.suffix.replace(".tif", ".qml"), f"{kind.title}, in QGIS", "application/xml"),
        mark=b"<!-- written by cloudfree -->",
    )
    for kind in KINDS
    if kind.is_raster
}
"""The style of each raster, by its kind. QGIS looks for it under the raster's name, and saves a user's own there."""
