"""What a run is told, and what it finds and decides before the network starts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cloudfree import detect
from cloudfree.bands import DETECTORS, SkyClass
from cloudfree.errors import CoregistrationError, DeviceError, InputError, warnings_heard
from cloudfree.geometry.displacement import Displacement
from cloudfree.geometry.grid import Grid
from cloudfree.inputs.area import BBox, Part, of_scene
from cloudfree.inputs.files import InputOptions, Inputs, identify
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.masks.found import FoundClouds
from cloudfree.inputs.masks.mask import BUFFER_M
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.optical.scene import Scene
from cloudfree.inputs.raster.access import gdal_settings
from cloudfree.network.device import Precision, resolve_device, resolve_precision
from cloudfree.network.models import CloudRemovalModel
from cloudfree.network.weights import default_weights, load_model
from cloudfree.product.kinds import KINDS, Kind
from cloudfree.product.targets import check_targets
from cloudfree.reconstruct import tiles
from cloudfree.reconstruct.strips import Fill, WithoutSar
from cloudfree.scene import cloud_edges, coregister, references, survey
from cloudfree.scene.model import SceneModel, of_survey
from cloudfree.scene.offset import Offset
from cloudfree.scene.survey import Survey
from cloudfree.scene.uncertainty import Uncertainty

log = logging.getLogger(__name__)

_SMALLEST_TILE_PX = 64
_FEW_CLEAR, _MUCH_FOUND = 0.05, 0.5
_COMPLETE = 0.999  # coverage under this share is worth a warning
_BEYOND_SAR = {
    "fill": "beyond it clouds are filled from their surroundings alone (--without-sar keep or nodata leaves them)",
    "keep": "beyond it clouds stay as observed",
    "nodata": "beyond it clouds become nodata",
}


@dataclass(frozen=True, kw_only=True)
class Options(InputOptions):
    """Everything a run can be told; what concerns its inputs is in `InputOptions`.

    `find_clouds`: whether clouds are found in the scene itself, "auto" without a mask, "always" beside it too, or
    "never"; `find_clouds_with` is one of `bands.DETECTORS`. `edge_limit_m`: how far beyond the mask its clouds are
    followed to where they end. `fill` "auto" is "clouds" where anything says where these are, and "all" elsewhere;
    `without_sar` is what becomes of cloudy pixels that radar does not see: see `inputs.strips.Fill`. `buffer_m` is the
    ground around the mask that is taken for cloudy too. `tile` and `overlap` are in pixels; `batch` None is chosen by
    memory. `adapt_minutes` over 0 fine-tunes the weights on the scene first. `wait_s`: how long to wait for another run
    that is making the same files. `bbox` or `aoi` is the part of the scene that is written (`inputs.part`); what is
    learned of the scene is of all of it.
    """

    output: Path
    bbox: BBox | None = None
    aoi: Path | None = None
    fill: Literal["auto", "clouds", "all"] = "auto"
    without_sar: WithoutSar = "fill"
    find_clouds: Literal["auto", "always", "never"] = "auto"
    find_clouds_with: str = DETECTORS[0]
    edge_limit_m: float = cloud_edges.LIMIT_M
    buffer_m: float = BUFFER_M
    weights: str = "auto"
    adapt_minutes: float = 0.0
    device: str = "auto"
    precision: Precision | Literal["auto"] = "auto"
    tile: int = 512
    overlap: int = 64
    batch: int | None = None
    coregister: Literal["auto", "off", "require"] = "auto"
    compress: str = "deflate"
    quicklook: Path | None = None
    report: Path | None = None
    stac: Path | None = None
    qa: Path | None = None
    uncertainty: Path | None = None
    write_mask: Path | None = None
    overwrite: bool = False
    wait_s: float = 0.0

    @property
    def files(self) -> dict[Kind, Path]:
        """The files to be made, by kind, the product first."""
        return {kind: path for kind in KINDS if (path := getattr(self, kind.field))}

    @property
    def targets(self) -> list[Path]:
        """The paths of these files."""
        return list(self.files.values())


@dataclass(frozen=True)
class Plan:
    """What a run found and decided before the network starts.

    `files` are all that decide it (`files_of`). `displacement` is applied to the Sentinel-1 image, and `survey` shows
    it displaced; so it is with the references and their own `reference_offsets`. `part` of the scene is written; all
    else is of the whole. `warnings` are what an analyst should know of it. `trust` (0..1) and `uncertainty` are found
    by the network itself, on the scene: see `scene.trust`.
    """

    options: Options
    files: tuple[Source, ...]
    inputs: Inputs
    fill: Fill
    survey: Survey
    offset: Offset | None
    displacement: Displacement
    reference_offsets: tuple[Offset, ...]
    prior: SceneModel | None
    model: CloudRemovalModel
    device: str
    precision: Precision
    tile: int
    overlap: int
    part: Part
    trust: float = 1.0
    uncertainty: Uncertainty | None = None
    warnings: tuple[str, ...] = ()

    @property
    def scene(self) -> Scene:
        return self.inputs.scene

    @property
    def grid(self) -> Grid:
        return self.scene.grid

    @property
    def primed(self) -> bool:
        """Whether the network finds the prior in place of all that the mask hides; else only where radar is missing."""
        return self.prior is not None and self.model.expects_primed

    def describe(self) -> dict[str, Any]:
        """The plan as plain data."""
        assert self.model.weights_info is not None
        info = self.model.weights_info
        return {
            "output": str(self.options.output),
            "fill": self.fill.extent,
            "without_sar": self.fill.without_sar,
            "weights": {"name": info.name, "sha256": info.sha256, "architecture": info.architecture},
            "primed": self.primed,
            "trust": self.trust,
            "device": self.device,
            "precision": self.precision,
            "tile": self.tile,
            "overlap": self.overlap,
            "grid": {"crs": self.grid.crs.to_string(), "width": self.grid.width, "height": self.grid.height},
            **self._describe_part(),
            "share": {
                "data": round(self.survey.data_share, 4),
                "cloudy_of_data": round(self.survey.cloudy_share, 4) if self.inputs.masked else None,
                "sar_of_data": round(self.survey.sar_share, 4),
            },
            "found": self.describe_found(),
            "coregistration": self._describe_offset(),
            "references": self.describe_references(),
            "scene_model": self.prior.weights if self.prior else {},
            "reasons": list(self.inputs.reasons),
            "warnings": list(self.warnings),
        }

    def describe_found(self) -> dict[str, Any] | None:
        """Shares of the data of what was found in the scene itself, by class; None where nothing was looked for."""
        if self.inputs.found is None:
            return None
        classes = self.inputs.found.classes[self.survey.data]
        return {sky.name.lower(): round(float((classes == sky).mean()), 4) for sky in SkyClass if sky != SkyClass.CLEAR}

    def describe_references(self) -> list[dict[str, Any]]:
        """What was used of other dates, numbered as in the weights of the scene's model."""
        offsets = self.reference_offsets or [None] * len(self.inputs.references)
        return [
            {
                "file": str(each.path),
                "acquired": each.acquired.isoformat() if each.acquired else None,
                "coregistration": offset.describe(self.survey.grid) if offset else {"accepted": False, "mode": "off"},
            }
            for each, offset in zip(self.inputs.references, offsets, strict=True)
        ]

    def _describe_part(self) -> dict[str, Any]:
        """The pixels that are written, where they are not all."""
        return {} if self.part == Part.whole(self.grid) else {"part": asdict(self.part)}

    def _describe_offset(self) -> dict[str, Any]:
        if self.offset is None:
            return {"mode": "off", "accepted": False, "shift_m": {"east": 0.0, "north": 0.0}}
        return {"mode": self.options.coregister, **self.offset.describe(self.survey.grid)}


def files_of(options: Options, inputs: Inputs) -> tuple[Source, ...]:
    """Every file that decides what a run makes, identified as `inputs`: references that are left out too."""
    told = [each for each in options.references if not each.is_folder]  # of a container, what was taken of it
    images = [inputs.scene.path, *told, *(each.path for each in inputs.references)]
    metadata = [xml for each in images if (xml := planet_product.find(each, planet_product.METADATA_XML))]
    area = [Source.of(options.aoi)] if options.aoi else []
    return tuple(dict.fromkeys([*inputs.paths, *told, *metadata, *area]))


def make_plan(options: Options, load: Callable[[str], CloudRemovalModel] | None = None) -> Plan:
    """Look at every input and decide everything, without running the network or writing a file.

    `load` gets the network by the name or file of its weights, where that is not `load_model`. Raises CloudfreeError
    for what a user can mend.
    """
    with warnings_heard() as heard:
        plan = _decided(options, load or load_model)
        _log(plan)
    return replace(plan, warnings=tuple(heard))


def _decided(options: Options, load: Callable[[str], CloudRemovalModel]) -> Plan:
    tiles.check_tile(options.tile, options.overlap)
    device = resolve_device(options.device)
    with gdal_settings():
        inputs = identify(options)
        files = files_of(options, inputs)
        read: list[AnyPath] = [*files, *options.references, Path(options.weights)]
        check_targets(options.targets, read, options.overwrite)
        part = of_scene(inputs.scene.grid, options.bbox, options.aoi)
        with inputs.open() as reader:
            surveyed = survey.take(inputs.scene, reader)
            inputs, surveyed = _with_found_clouds(options, inputs, surveyed)
            offset = _coregister(options, inputs.scene, surveyed)
            displacement = offset.on(surveyed.grid) if offset else Displacement(surveyed.grid)
            surveyed = survey.with_sar_displaced(surveyed, reader.sar, displacement)
        max_shift_m = None if options.coregister == "off" else options.max_shift_m
        inputs, surveyed, reference_offsets = references.align(inputs, surveyed, max_shift_m)
    inputs, surveyed = _with_followed_edges(options, inputs, surveyed)
    fill = Fill(_extent(options, inputs), options.without_sar)
    model = load(weights_of(options))
    if options.uncertainty:
        _check_uncertainty(inputs, model)
    needs_prior = inputs.masked and (model.expects_primed or fill.without_sar == "fill")
    return Plan(
        options=options,
        files=files,
        inputs=inputs,
        fill=fill,
        survey=surveyed,
        offset=offset,
        displacement=displacement,
        reference_offsets=reference_offsets,
        prior=of_survey(surveyed, inputs.scene) if needs_prior else None,
        model=model,
        device=str(device),
        precision=resolve_precision(options.precision, device),
        tile=options.tile,
        overlap=options.overlap,
        part=part,
    )


def weights_of(options: Options) -> str:
    """The name or file of the weights of a run."""
    return default_weights().name if options.weights == "auto" else options.weights


def with_smaller_tile(plan: Plan) -> Plan:
    """The same plan with tiles of half the size. Raises DeviceError where that would be absurdly small."""
    half = plan.tile // 2 // tiles.LATTICE_PX * tiles.LATTICE_PX
    if half < _SMALLEST_TILE_PX:
        raise DeviceError(
            f"{plan.device} has too little free memory for a tile of {plan.tile} pixels; "
            f"{_SMALLEST_TILE_PX} is the smallest tried: free some memory, or use --device cpu or smaller weights"
        )
    log.warning("out of memory on %s: starting again with tiles of %d", plan.device, half)
    return replace(plan, tile=half, overlap=min(plan.overlap, half // 4))


def _with_found_clouds(options: Options, inputs: Inputs, surveyed: Survey) -> tuple[Inputs, Survey]:
    """With what a detector finds in the scene, where that is wanted."""
    if options.find_clouds == "never" or (options.find_clouds == "auto" and inputs.mask):
        return inputs, surveyed
    reflectance = np.clip(inputs.scene.reflectance(surveyed.dn), 0, 1)
    precision = resolve_precision(options.precision, resolve_device("cpu"))
    detector, size_m = detect.load(options.find_clouds_with, precision), surveyed.grid.pixel_size_m
    # Neither radar nor other dates, which are not in their places yet: our own does without them as well.
    sky = detect.find_sky(reflectance, None, surveyed.data, size_m, (), detector)
    found = FoundClouds(surveyed.grid, sky.classes, 1 - sky.probability[[SkyClass.CLEAR, SkyClass.SNOW]].sum(axis=0))
    return replace(inputs, found=found), replace(surveyed, cloudy=surveyed.cloudy | found.hidden)


def _with_followed_edges(options: Options, inputs: Inputs, surveyed: Survey) -> tuple[Inputs, Survey]:
    """With what hangs together with the clouds that are known, where that is wanted."""
    if not inputs.masked or not options.edge_limit_m:
        return inputs, surveyed
    classes = cloud_edges.follow(surveyed, inputs.scene, options.edge_limit_m)
    surveyed, found = cloud_edges.with_edges(surveyed, inputs.found, classes)
    return replace(inputs, found=found), surveyed


def _extent(options: Options, inputs: Inputs) -> Literal["clouds", "all"]:
    if options.fill == "auto":
        return "clouds" if inputs.masked else "all"
    if options.fill == "clouds" and not inputs.masked:
        raise InputError(
            "--fill clouds needs to know where they are, and there is no mask; give --udm2 or --mask, or leave "
            "--find-clouds at auto, or use --fill all"
        )
    return options.fill


def _check_uncertainty(inputs: Inputs, model: CloudRemovalModel) -> None:
    """Raise InputError where nothing would calibrate it: it is told by holes, which networks find filled."""
    assert model.weights_info is not None
    if not inputs.masked:
        raise InputError(
            "--uncertainty is calibrated on clear ground hidden like the clouds of a mask, and there is none; "
            "give --udm2 or --mask, or leave --find-clouds at auto, or leave it out"
        )
    if not model.expects_primed:
        raise InputError(
            f"--uncertainty needs weights that start from the scene's model; {model.weights_info.name} is shown the "
            "plain image: use the default weights (cloudfree weights list), or leave it out"
        )


def _coregister(options: Options, scene: Scene, surveyed: Survey) -> Offset | None:
    if options.coregister == "off":
        return None
    offset = coregister.of_survey(surveyed, scene, options.max_shift_m)
    if options.coregister == "require" and not offset.accepted:
        raise CoregistrationError(
            f"no reliable offset between Sentinel-1 and the scene: {offset.reason}; --coregister require needs one: "
            "use a clearer scene or a nearer date, or --coregister auto to go on without"
        )
    return offset


def _log_references(plan: Plan) -> None:
    """Which other dates take part, where they were moved, and what the scene's own holes made of everything."""
    for number, told in enumerate(plan.describe_references(), 1):
        shift = told["coregistration"].get("shift_m", {"east": 0.0, "north": 0.0})
        log.info(
            "image %d is %s of %s, moved by %+.1f m east, %+.1f m north",
            *(number, Path(told["file"]).name, told["acquired"] or "an unknown date", shift["east"], shift["north"]),
        )
    if plan.inputs.references and not plan.inputs.masked:
        log.warning("without a mask references are of no use: give --udm2 or --mask, or --find-clouds auto")
    elif plan.inputs.references and not plan.primed:
        log.warning("these weights are shown the plain image: references help only where radar has a gap")
    if plan.prior:
        weights = sorted(plan.prior.weights.items(), key=lambda pair: -pair[1])
        log.info("the scene's model is %s", ", ".join(f"{100 * w:.0f} % {name}" for name, w in weights if w >= 0.005))


def _warn_of_prior(plan: Plan) -> None:
    if plan.model.expects_primed and not plan.primed:
        log.warning("there is no mask; these weights do better with one: give --udm2 or --mask, or --find-clouds auto")
    if plan.primed and plan.prior and plan.prior.clear_share < _FEW_CLEAR:
        log.warning(
            "only %.1f %% of the scene is clear: its colours are guessed from radar and from other places",
            100 * plan.prior.clear_share,
        )


def _log_clouds(plan: Plan) -> None:
    """What was found in the scene itself."""
    found = plan.describe_found()
    if found:
        shares = ", ".join(f"{100 * share:.1f} % {name}" for name, share in found.items())
        log.info("found beside what a mask says: %s (--find-clouds, --edge-limit)", shares)
    if found and plan.inputs.mask is None and plan.survey.cloudy_share > _MUCH_FOUND:
        log.warning(
            "%.0f %% of the scene is taken for cloud, haze or shadow, as snow easily is: look at --write-mask, or give "
            "a mask (--udm2, --mask)",
            100 * plan.survey.cloudy_share,
        )


def _log(plan: Plan) -> None:
    """Tell what was taken for what, and warn of what an analyst should know."""
    for reason in plan.inputs.reasons:
        log.info("%s", reason)
    assert plan.model.weights_info is not None
    log.info("weights are %s, on %s in %s", plan.model.weights_info.name, plan.device, plan.precision)
    if not plan.scene.is_surface_reflectance:
        log.warning(
            "%s is %s; the weights were trained on surface reflectance", plan.scene.path.name, plan.scene.quantity
        )
    if plan.survey.sar_share < _COMPLETE:
        log.warning(
            "Sentinel-1 covers %.1f %% of the scene's data; %s",
            100 * plan.survey.sar_share,
            _BEYOND_SAR[plan.fill.without_sar] if plan.inputs.masked else "the rest stays as observed",
        )
    mask = plan.inputs.mask
    if mask and plan.grid.overlap_share(mask.grid) < _COMPLETE:
        log.warning("%s does not reach the whole scene; beyond it, pixels count as clear", mask.path.name)
    _log_clouds(plan)
    if plan.options.stac and not plan.inputs.acquired.moment:
        log.warning(
            "nothing tells when %s was taken; its STAC item says between 2013 and now: name it as Planet does, or keep "
            "Planet's metadata XML beside it",
            plan.scene.path.name,
        )
    _warn_of_prior(plan)
    _log_references(plan)
    if plan.offset is not None:
        log.info("%s", plan.offset.in_words(plan.survey.grid))
