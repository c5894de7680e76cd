"""A small Sentinel-1 GRD product (SAFE), whose every number is known by a formula."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.warp import transform as transform_points
from support import ORIGIN, UTM33

HEIGHT, WIDTH = 300, 400
NAME = "S1A_IW_GRDH_1SDV_20240612T165810_20240612T165835_054295_069B48_7C21.SAFE"
STEM = "s1a-iw-grd-{pol}-20240612t165810-20240612t165835-054295-069b48-00{number}"
MIDDLE = 150, 200
"""The line and pixel in the middle of the scenes of the other tests, which are 288 m wide."""


def ground_of(line: np.ndarray, pixel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """UTM coordinates of (fractional) samples, whose centres are whole numbers: turned, and bent by some 10 m."""
    v, u = 10.0 * (np.asarray(line) - MIDDLE[0]), 10.0 * (np.asarray(pixel) - MIDDLE[1])
    bent = 40 * (u / 2000) ** 2 + 15 * (u / 2000) ** 3 - 25 * (u / 2000) * (v / 1500)
    x = ORIGIN[0] + 144 + np.cos(0.2) * u + np.sin(0.2) * v + bent
    return x, ORIGIN[1] - 120 + np.sin(0.2) * u - np.cos(0.2) * v + 0.5 * bent


def sigma0_db(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """VV and VH (2, ...) of the ground at UTM coordinates."""
    vv = -9 + 3 * np.sin(2 * np.pi * (x - ORIGIN[0]) / 400) + 2 * np.cos(2 * np.pi * (y - ORIGIN[1]) / 500)
    return np.stack([vv, vv - 7])


def sigma_nought_lut(line: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    return 3000 + 2.0 * pixel + 1.0 * line


def range_noise(line: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    return 40_000 + 30.0 * pixel + 20.0 * line


def azimuth_noise(line: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """A factor that jumps between two blocks, at the pixel in the middle."""
    return np.where(np.asarray(pixel) < MIDDLE[1], 1 + line / 600, 1.5 - line / 600)


@dataclass
class SafeRecipe:
    """What is odd about a product; `write` makes it, in a folder or a zip."""

    polarisations: tuple[str, ...] = ("vh", "vv")
    old_noise: bool = False
    noise: bool = True
    denoised: bool = False
    product_type: str = "GRD"
    name: str = NAME
    stem: str = STEM
    end: str = ".tiff"
    height_m: float = 0.0
    ground: object = field(default=ground_of)
    crs: CRS = UTM33
    holes: tuple[slice, slice] | None = None
    power_db: object = field(default=sigma0_db)

    def write(self, folder: Path, zipped: bool = False) -> Path:
        safe = folder / self.name
        for inner in ("annotation/calibration", "measurement"):
            (safe / inner).mkdir(parents=True)
        (safe / "manifest.safe").write_text("<XFDU/>")
        for number, pol in enumerate(self.polarisations, 1):
            stem = self.stem.format(pol=pol, number=number)
            self._measure(safe / f"measurement/{stem}{self.end}", pol)
            (safe / f"annotation/{stem}.xml").write_text(self.annotation(pol))
            (safe / f"annotation/calibration/calibration-{stem}.xml").write_text(self._calibration(pol))
            if self.noise:
                (safe / f"annotation/calibration/noise-{stem}.xml").write_text(self._noise(pol))
        return _zipped(safe) if zipped else safe

    def dn(self, pol: str) -> np.ndarray:
        """Counts (HEIGHT, WIDTH) as the instrument has them: with its noise, unless that is removed."""
        line, pixel = np.mgrid[:HEIGHT, :WIDTH].astype(float)
        db = self.power_db(*self.ground(line, pixel))[1 if pol in ("vh", "hv") else 0]
        noise = range_noise(line, pixel) * (1 if self.old_noise else azimuth_noise(line, pixel))
        power = 10 ** (db / 10) * sigma_nought_lut(line, pixel) ** 2
        dn = np.rint(np.sqrt(np.maximum(power + (0 if self.denoised else noise), 1))).astype(np.uint16)
        if self.holes:
            dn[self.holes] = 0
        return dn

    def _measure(self, path: Path, pol: str) -> None:
        options = {"width": WIDTH, "height": HEIGHT, "count": 1, "dtype": "uint16", "blockysize": 1}
        gcps = [rasterio.control.GroundControlPoint(row=r, col=c, x=15 + c, y=45 - r) for r in (0, 1) for c in (0, 1)]
        with rasterio.open(path, "w", driver="GTiff", gcps=gcps, crs="EPSG:4326", **options) as dataset:
            dataset.write(self.dn(pol), 1)

    # --- its XML ---

    def _header(self, pol: str) -> str:
        stated = f"<productType>{self.product_type}</productType><polarisation>{pol.upper()}</polarisation>"
        return f"<adsHeader>{stated}</adsHeader>"

    def annotation(self, pol: str = "vv") -> str:
        lines, pixels = (np.rint(np.linspace(0, length - 1, count)) for length, count in ((HEIGHT, 7), (WIDTH, 9)))
        line, pixel = (axis.ravel() for axis in np.meshgrid(lines, pixels, indexing="ij"))
        lon, lat = transform_points(self.crs, CRS.from_epsg(4326), *self.ground(line, pixel))
        points = "".join(
            f"<geolocationGridPoint><line>{r:.0f}</line><pixel>{c:.0f}</pixel><latitude>{y:.12f}</latitude>"
            f"<longitude>{x:.12f}</longitude><height>{self.height_m * (k % 2):.3f}</height>"
            "<incidenceAngle>38.0</incidenceAngle></geolocationGridPoint>"
            for k, (r, c, x, y) in enumerate(zip(line, pixel, lon, lat, strict=True))
        )
        done = str(self.denoised).lower()
        return (
            f"<product>{self._header(pol)}<imageAnnotation><imageInformation><numberOfSamples>{WIDTH}</numberOfSamples>"
            f"<numberOfLines>{HEIGHT}</numberOfLines></imageInformation><processingInformation>"
            f"<thermalNoiseCorrectionPerformed>{done}</thermalNoiseCorrectionPerformed></processingInformation>"
            f"</imageAnnotation><geolocationGrid><geolocationGridPointList>{points}</geolocationGridPointList>"
            "</geolocationGrid></product>"
        )

    def _calibration(self, pol: str) -> str:
        vectors = _vectors("calibrationVector", "sigmaNought", sigma_nought_lut, (-50, 120, 350), 40)
        body = f"<calibrationVectorList>{vectors}</calibrationVectorList>"
        return f"<calibration>{self._header(pol)}{body}</calibration>"

    def _noise(self, pol: str) -> str:
        if self.old_noise:
            vectors = _vectors("noiseVector", "noiseLut", range_noise, (0, 110, 299), 57)
            return f"<noise>{self._header(pol)}<noiseVectorList>{vectors}</noiseVectorList></noise>"
        vectors = _vectors("noiseRangeVector", "noiseRangeLut", range_noise, (0, 110, 299), 57)
        blocks = "".join(_block(first, last) for first, last in ((0, MIDDLE[1] - 1), (MIDDLE[1], WIDTH - 1)))
        return (
            f"<noise>{self._header(pol)}<noiseRangeVectorList>{vectors}</noiseRangeVectorList>"
            f"<noiseAzimuthVectorList>{blocks}</noiseAzimuthVectorList></noise>"
        )


def _vectors(name: str, tag: str, formula: object, lines: tuple[int, ...], step: int) -> str:
    """The later vectors have fewer pixels."""
    vectors = []
    for count, line in enumerate(lines, 1):
        pixels = np.append(np.arange(0, WIDTH - 1, step * count), WIDTH - 1)
        values = " ".join(f"{value:.6e}" for value in formula(line, pixels))
        listed = " ".join(map(str, pixels))
        vectors.append(f"<{name}><line>{line}</line><pixel>{listed}</pixel><{tag}>{values}</{tag}></{name}>")
    return "".join(vectors)


def _block(first: int, last: int) -> str:
    lines = np.array([0, 140, HEIGHT - 1])
    values = " ".join(f"{value:.8f}" for value in azimuth_noise(lines, first))
    return (
        f"<noiseAzimuthVector><firstAzimuthLine>0</firstAzimuthLine><firstRangeSample>{first}</firstRangeSample>"
        f"<lastAzimuthLine>{HEIGHT - 1}</lastAzimuthLine><lastRangeSample>{last}</lastRangeSample>"
        f"<line>{' '.join(map(str, lines))}</line><noiseAzimuthLut>{values}</noiseAzimuthLut></noiseAzimuthVector>"
    )


def _zipped(safe: Path) -> Path:
    path = safe.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(safe.rglob("*")):
            archive.write(file, file.relative_to(safe.parent))
    return path
