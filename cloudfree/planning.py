"""What a run does before its network starts: look at every input, and decide everything."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cloudfree import described, detect
from cloudfree.arrays import Image, Mask, as_image, known_of
from cloudfree.bands import SkyClass
from cloudfree.detect import FoundSky
from cloudfree.errors import InputError, warnings_heard
from cloudfree.geometry import Grid, distance_m
from cloudfree.inputs.area import of_scene
from cloudfree.inputs.files import Inputs, identify
from cloudfree.inputs.location.source import AnyPath
from cloudfree.inputs.location.versions import versions_of
from cloudfree.inputs.masks.found import FoundClouds
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.optical.reference import Reference
from cloudfree.inputs.optical.scene import grid_of
from cloudfree.inputs.optical.sun import Sun
from cloudfree.inputs.optical.sun import of_scene as sun_of_scene
from cloudfree.inputs.raster.access import gdal_settings
from cloudfree.network.device import resolve_device, resolve_precision
from cloudfree.network.models import CloudRemovalModel
from cloudfree.network.weights import load_model
from cloudfree.plan import Options, Plan
from cloudfree.product.needs import check_needs
from cloudfree.product.targets import check_targets, named
from cloudfree.reconstruct import tiles
from cloudfree.reconstruct.strips import Fill
from cloudfree.scene import cloud_edges, look, references, survey
from cloudfree.scene.model import of_survey
from cloudfree.scene.survey import Survey
from cloudfree.stages import begin

log = logging.getLogger(__name__)

_Looked = tuple[Inputs, Survey]

_MOST_HIDDEN = 0.9
"""Share of what a reference shows of a scene; where a detector takes more for cloud, it is not believed."""

_AROUND_M = 20.0
"""Around clouds and shadows that are found in references."""


def make_plan(options: Options, load: Callable[[str], CloudRemovalModel] | None = None) -> Plan:
    """Look at every input and decide everything, without running the network or writing a file.

    `load` returns the network by the name or file of its weights, where that is not `load_model`. Raises
    CloudfreeError for what a user can mend.
    """
    started_s = time.perf_counter()
    with warnings_heard() as warnings:
        plan = _decided(options, load or load_model)
        described.log_plan(plan, described.as_json(plan))
    return replace(plan, warnings=tuple(warnings), seconds=time.perf_counter() - started_s)


def _decided(options: Options, load: Callable[[str], CloudRemovalModel]) -> Plan:
    tiles.check_tile(options.tile, options.overlap)
    check_without_radar(options)
    begin("reading inputs")
    device = resolve_device(options.device)
    precision = resolve_precision(options.precision, device)
    network = load(options.weights)
    with gdal_settings(options.trust_inputs):
        grid = grid_of(options.planet, options.planet_date)
        part = of_scene(grid, options.bbox, options.aoi)
        check_needs(options.files, grid.shape, (part.height, part.width), len(options.references))
        before = versions_of(options.sources)
        inputs = identify(options)
        files = inputs.deciding(options, options.aoi)
        versions = versions_of(files) | before
        read: list[AnyPath] = [*files, *options.references, Path(options.weights)]
        check_targets(options.targets, read, options.overwrite)
        with inputs.open() as reader:
            taken = survey.take(inputs.scene, reader)
            begin("finding clouds")
            inputs, surveyed = _with_found_clouds(options, inputs, taken)
            if inputs.references:
                begin("comparing dates")
            inputs, surveyed = references.with_other_acquisitions(inputs, surveyed, reader)
            inputs, surveyed = _with_clear_references(options, inputs, surveyed)
            inputs, surveyed = _compared(options, inputs, surveyed, taken)
            begin("aligning inputs")
            placed = look.coregistered(inputs, surveyed, reader, options.coregister, options.max_shift_m)
    begin("following clouds")
    inputs, surveyed = _with_followed_edges(options, placed.inputs, placed.survey)
    fill = Fill(_extent(options, inputs), options.without_sar)
    if not inputs.has_radar:
        _check_ground(inputs, surveyed)
    if options.uncertainty:
        _check_uncertainty(inputs, network)
    sees = bool(network.planes)
    needs_model = sees or (inputs.masked and fill.without_sar == "fill")
    begin("modelling ground")
    return Plan(
        options=options,
        files=files,
        versions=versions,
        inputs=inputs,
        fill=fill,
        survey=surveyed,
        offset=placed.offset,
        displacement=placed.displacement,
        reference_offsets=placed.reference_offsets,
        scene_model=of_survey(_suspected(inputs, surveyed), inputs.scene) if needs_model else None,
        network=network,
        device=str(device),
        precision=precision,
        part=part,
    )


def make_plan_of_one(options: Options) -> Plan:
    """The same for a run that a user names, whose outputs may be links, and who can mend a UDM2 that is lost."""
    plan = make_plan(replace(options, **named(options.files, (*options.sources, options.aoi))))
    _refuse_lost_mask(plan)
    return plan


def _refuse_lost_mask(plan: Plan) -> None:
    """Raise InputError where all would be rewritten because the scene's own UDM2 cannot be used."""
    options, inputs = plan.options, plan.inputs
    if inputs.mask or options.find_clouds != "never" or options.fill != "auto":
        return
    if beside := planet_product.find(inputs.scene.path, planet_product.UDM2):
        raise InputError(
            f"{beside.name} beside the scene cannot be used, and with --find-clouds never nothing else says where "
            "clouds are; give --udm2 or --mask, or leave --find-clouds at auto, or rewrite all of it with --fill all"
        )


def check_without_radar(options: Options) -> None:
    """Raise InputError for what cannot be done to a scene without radar, if these options give it none."""
    if options.sar:
        return
    refused = (
        (options.fill == "all", "--fill all rewrites clear ground with the help of radar", "use --fill clouds"),
        (options.without_sar != "fill", f"--without-sar {options.without_sar} reconstructs nothing", "leave it out"),
        (options.adapt_minutes > 0, "--adapt learns on ground that radar shows", "leave it out"),
        (options.coregister == "require", "--coregister require needs an offset of radar", "use --coregister auto"),
    )
    for given, why, instead in refused:
        if given:
            raise InputError(f"there is no Sentinel-1 for {options.planet.name}, and {why}; give --sar, or {instead}")


def _check_ground(inputs: Inputs, surveyed: Survey) -> None:
    """Raise InputError where without radar nothing says where clouds are, or what the ground under them is like."""
    name = inputs.scene.path.name
    if not inputs.masked:
        raise InputError(
            f"without Sentinel-1 only clouds can be reconstructed, and nothing says where those of {name} are; give "
            "--udm2 or --mask, or leave --find-clouds at auto, or give --sar"
        )
    if not surveyed.clear.any():
        raise InputError(
            f"{name} shows no clear ground and there is no Sentinel-1, so that nothing tells of the ground under its "
            "clouds; give --sar, or a scene that is clear in part"
        )


def _with_found_clouds(options: Options, inputs: Inputs, surveyed: Survey, other: Image | None = None) -> _Looked:
    """With what a detector finds in the scene, where that is wanted; other (4, h, w): what other dates show of it."""
    if options.find_clouds == "never" or (options.find_clouds == "auto" and inputs.mask):
        return inputs, surveyed
    reflectance = np.clip(inputs.scene.reflectance(surveyed.dn), 0, 1)
    sky = _found(options, reflectance, surveyed.data, surveyed.grid, inputs.scene.sun, other)
    clouds = FoundClouds(surveyed.grid, sky.classes, sky.obstructed)
    return replace(inputs, found=clouds), replace(surveyed, cloudy=surveyed.cloudy | clouds.hidden)


def _compared(options: Options, inputs: Inputs, surveyed: Survey, taken: Survey) -> _Looked:
    """The same anew, now that the references are known to be of other dates, and where they are clear.

    taken: the survey without what was found.
    """
    if not surveyed.others or options.find_clouds_with != detect.DEFAULT:
        return inputs, surveyed
    others = surveyed.others
    return _with_found_clouds(options, inputs, replace(taken, others=others), references.clear_median(others))


def _with_clear_references(options: Options, inputs: Inputs, surveyed: Survey) -> tuple[Inputs, Survey]:
    """With what a detector finds in references that have no mask left out of them, as their own masks' clouds are.

    Where it takes nearly all that one shows for cloud it is not believed: bright ground may look so everywhere.
    """
    if options.find_clouds == "never":
        return inputs, surveyed
    pairs = [
        (reference, other) if reference.mask else _without_found_clouds(options, reference, other, surveyed.grid)
        for reference, other in zip(inputs.references, surveyed.others, strict=True)
    ]
    clear = replace(inputs, references=tuple(reference for reference, _ in pairs))
    return clear, replace(surveyed, others=tuple(other for _, other in pairs))


def _without_found_clouds(options: Options, reference: Reference, shown: Image, grid: Grid) -> tuple[Reference, Image]:
    """A reference, and what it shows on a grid (4, H, W), without clouds that are found in it."""
    known = known_of(shown)
    if not known.any():
        return reference, shown
    sky = _found(options, np.clip(np.nan_to_num(shown), 0, 1), known, grid, sun_of_scene(reference.path))
    clouds = FoundClouds(grid, _thick(sky), sky.obstructed)
    share, name = float(clouds.hidden[known].mean()), reference.path.name
    if not share:
        return reference, shown
    if share > _MOST_HIDDEN:
        log.warning(
            "%s has no mask, and %.0f %% of it looks like cloud, which is not believed: see that it is clear, or lay "
            "its UDM2 beside it",
            name,
            100 * share,
        )
        return reference, shown
    log.info("%s has no mask, and %.1f %% of it, which looks like cloud, is left out", name, 100 * share)
    return replace(reference, found=clouds), as_image(np.where(clouds.hidden, np.float32(np.nan), shown))


def _thick(sky: FoundSky) -> NDArray[np.uint8]:
    """Classes (h, w) of a reference: cloud and shadow, and what lies close around them, which they alter too.

    Through haze the model sees more than it would without: 0.6 dB on the sample, whose other date is hazy in part.
    """
    thick = np.isin(sky.classes, (SkyClass.CLOUD, SkyClass.SHADOW))
    around = (distance_m(thick, sky.pixel_size_m, _AROUND_M) <= _AROUND_M) & sky.valid & ~thick
    thin = sky.classes == SkyClass.HAZE
    return np.where(around, SkyClass.CLOUD, np.where(thin, SkyClass.CLEAR, sky.classes)).astype(np.uint8)


def _found(
    options: Options, reflectance: Image, known: Mask, grid: Grid, sun: Sun | None, other: Image | None = None
) -> FoundSky:
    """What is in the sky of an image (4, h, w) that is known in places (h, w), and was lit by the sun."""
    precision = resolve_precision(options.precision, resolve_device("cpu"))
    detector = detect.load(options.find_clouds_with, precision)
    sun_on_grid = sun.on_grid(grid) if sun else None
    return detect.find_sky(reflectance, known, grid.pixel_size_m, detector, sun_on_grid, other)


def _with_followed_edges(options: Options, inputs: Inputs, surveyed: Survey) -> tuple[Inputs, Survey]:
    """With what is connected to the clouds that are known, and the shadows that they cast, where that is wanted."""
    if not inputs.masked or not options.edge_limit_m:
        return inputs, surveyed
    classes = cloud_edges.follow(surveyed, inputs.scene, options.edge_limit_m, options.buffer_m, inputs.found)
    surveyed, clouds = cloud_edges.with_edges(surveyed, inputs.found, classes)
    return replace(inputs, found=clouds), surveyed


def _suspected(inputs: Inputs, surveyed: Survey) -> Survey:
    """The survey with all of it hidden where nothing says where clouds are: a model that is to replace everything."""
    return surveyed if inputs.masked else replace(surveyed, cloudy=surveyed.data)


def _extent(options: Options, inputs: Inputs) -> Literal["clouds", "all"]:
    if options.fill == "auto":
        return "clouds" if inputs.masked else "all"
    if options.fill == "clouds" and not inputs.masked:
        raise InputError(
            "--fill clouds needs to know where they are, and there is no mask; give --udm2 or --mask, or leave "
            "--find-clouds at auto, or use --fill all"
        )
    return options.fill


def _check_uncertainty(inputs: Inputs, network: CloudRemovalModel) -> None:
    """Raise InputError where nothing would calibrate it: it needs a mask, and weights that start from the model."""
    if not inputs.masked:
        raise InputError(
            "--uncertainty is calibrated on clear ground hidden like the clouds of a mask, and there is none; "
            "give --udm2 or --mask, or leave --find-clouds at auto, or leave it out"
        )
    if not network.planes:
        raise InputError(
            f"--uncertainty needs weights that start from the scene's model; {network.info.name} is shown the "
            "plain image: use the default weights (cloudfree weights list), or leave it out"
        )
