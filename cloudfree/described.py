"""What a run decided, as plain data for JSON and tags, and as lines of the log."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cloudfree.bands import Qa, SkyClass
from cloudfree.inputs.area import Part
from cloudfree.inputs.optical.planet_product import SURFACE
from cloudfree.plan import Plan
from cloudfree.scene.model import SceneModel
from cloudfree.scene.offset import Offset

log = logging.getLogger(__name__)

_FEW_CLEAR, _MUCH_FOUND, _MUCH_SNOW = 0.05, 0.5, 0.2
_COMPLETE = 0.999  # coverage under this share is worth a warning
_BEYOND_SAR = {
    "fill": "beyond it clouds are filled from their surroundings alone (--without-sar keep or nodata leaves them)",
    "keep": "beyond it clouds stay as observed",
    "nodata": "beyond it clouds become nodata",
}


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain data, in the order of its decisions."""
    info = plan.network.info
    whole = plan.part == Part.whole(plan.grid)
    return {
        "output": str(plan.options.output),
        "fill": plan.fill.extent,
        "without_sar": plan.fill.without_sar,
        "weights": {"name": info.name, "sha256": info.sha256, "architecture": info.architecture},
        "sees": plan.sees,
        "device": plan.device,
        "precision": plan.precision,
        "tile": plan.options.tile,
        "overlap": plan.options.overlap,
        "grid": {"crs": plan.grid.crs.to_string(), "width": plan.grid.width, "height": plan.grid.height},
        **({} if whole else {"part": asdict(plan.part)}),
        "share": {
            "data": round(plan.survey.data_share, 4),
            "cloudy_of_data": round(plan.survey.cloudy_share, 4) if plan.inputs.masked else None,
            "sar_of_data": round(plan.survey.sar_share, 4),
            "rewritten_of_data": round(plan.rewritten_share, 4),
        },
        "found": _found_shares(plan),
        "coregistration": _of_radar(plan),
        "references": _references(plan),
        "scene_model": plan.scene_model.weights if plan.scene_model else {},
        "scene_model_weights": _named_weights(plan),
        "reasons": list(plan.inputs.reasons),
        "warnings": list(plan.warnings),
    }


def _found_shares(plan: Plan) -> dict[str, float] | None:
    """Shares of the data that a detector found in the scene, by class; None where nothing was looked for."""
    if plan.inputs.found is None:
        return None
    classes = plan.inputs.found.classes[plan.survey.data]
    return {sky.name.lower(): round(float((classes == sky).mean()), 4) for sky in SkyClass if sky != SkyClass.CLEAR}


def _references(plan: Plan) -> list[dict[str, Any]]:
    """What was used of other dates, numbered as in the weights of the scene's model."""
    offsets = plan.reference_offsets or [None] * len(plan.inputs.references)
    return [
        {
            "file": str(reference.path),
            "acquired": reference.acquired.isoformat() if reference.acquired else None,
            "coregistration": _offset(offset, plan),
        }
        for reference, offset in zip(plan.inputs.references, offsets, strict=True)
    ]


def _named_weights(plan: Plan) -> dict[str, float]:
    """The weights of the scene's model by names of letters, digits and underscores."""
    weights = plan.scene_model.weights if plan.scene_model else {}
    return {re.sub(r"\W+", "_", name): weight for name, weight in weights.items()}


def _of_radar(plan: Plan) -> dict[str, Any] | None:
    """The offset of radar; None where there is no radar."""
    return {"mode": plan.options.coregister, **_offset(plan.offset, plan)} if plan.inputs.has_radar else None


def _offset(offset: Offset | None, plan: Plan) -> dict[str, Any]:
    """An offset as plain data; None is one that was not estimated."""
    if offset is None:
        return {"mode": "off", "accepted": False, "shift_m": {"east": 0.0, "north": 0.0}}
    return offset.describe(plan.survey.grid)


# --- in words ---


def log_plan(plan: Plan, description: dict[str, Any]) -> None:
    """Say what was taken for what, and warn of what an analyst should know; `description` is the plan's `as_json`."""
    for reason in description["reasons"]:
        log.info("%s", reason)
    log.info("weights are %s, on %s in %s", description["weights"]["name"], plan.device, plan.precision)
    _warn_of_inputs(plan, description["share"])
    _log_clouds(plan, description)
    _warn_of_scene_model(plan)
    _log_references(plan, description["references"])
    if plan.offset is not None:
        log.info("%s", offset_in_words(description["coregistration"]))


def in_words(plan: Plan) -> Iterator[str]:
    """The plan for people, in a few lines: the scene and its clouds, radar, other dates, the network."""
    description = as_json(plan)
    share = description["share"]
    yield f"{plan.scene.path.name} of {plan.inputs.acquired}: {_clouds_in_words(plan, share)}"
    if plan.inputs.has_radar:
        covered = f"{100 * share['sar_of_data']:.0f} % of the scene's data"
        yield f"Sentinel-1 covers {covered}, and is {_placed(description['coregistration'])}"
    for reference in description["references"]:
        date, place = reference["acquired"] or "an unknown date", _placed(reference["coregistration"])
        yield f"{Path(reference['file']).name} of {date} is {place}"
    ground = f"; the model of the ground is {_weights_in_words(plan.scene_model)}" if plan.scene_model else ""
    yield f"the network is {plan.network.info.name}, on {plan.device} in {plan.precision}{ground}"


def _clouds_in_words(plan: Plan, share: dict[str, float]) -> str:
    rewritten = f"{100 * share['rewritten_of_data']:.1f} % of its data"
    if not plan.inputs.masked:
        return f"nothing says where clouds are, and {rewritten} are to be rewritten"
    by = [plan.inputs.mask.path.name] if plan.inputs.mask else []
    by += ["what is found in the scene"] if plan.inputs.found else []
    hidden = f"{100 * share['cloudy_of_data']:.1f} % cloud, haze or shadow"
    return f"{hidden} (by {' and '.join(by)}), {rewritten} to be rewritten"


def _weights_in_words(model: SceneModel) -> str:
    """The parts of a scene's model, the largest first."""
    weights = sorted(model.weights.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{100 * weight:.0f} % {name}" for name, weight in weights if weight >= 0.005)


def offset_in_words(offset: dict[str, Any]) -> str:
    """The decision on an offset of radar, as `Offset.describe` has it, and its reason."""
    return f"Sentinel-1 is {_placed(offset)}"


def _placed(offset: dict[str, Any]) -> str:
    """Where something was put and why, "moved by"; without a reason where nothing was looked for."""
    shift_m = offset["shift_m"]
    moved = f"moved by {shift_m['east']:+.1f} m east, {shift_m['north']:+.1f} m north"
    place = moved if offset["accepted"] else "left where it is"
    return f"{place}: {offset['reason']} (confidence {offset['confidence']:.4f})" if "reason" in offset else place


def _warn_of_inputs(plan: Plan, share: dict[str, float]) -> None:
    name = plan.scene.path.name
    if plan.scene.quantity != SURFACE:
        log.warning("%s is %s; the weights were trained on surface reflectance", name, plan.scene.quantity)
    if not plan.inputs.has_radar:
        log.warning("%s", _without_radar(plan))
    elif share["sar_of_data"] < _COMPLETE:
        log.warning(
            "Sentinel-1 covers %.1f %% of the scene's data; %s",
            100 * share["sar_of_data"],
            _BEYOND_SAR[plan.fill.without_sar] if plan.inputs.masked else "the rest stays as observed",
        )
    mask = plan.inputs.mask
    if mask and plan.grid.overlap_share(mask.grid) < _COMPLETE:
        log.warning("%s does not reach the whole scene; beyond it, pixels count as clear", mask.path.name)
    if plan.options.stac and not plan.inputs.acquired.moment:
        log.warning(
            "nothing tells when %s was taken; its STAC item says between 2013 and now: name it as Planet does, or keep "
            "Planet's metadata XML beside it",
            name,
        )


def _without_radar(plan: Plan) -> str:
    """What a reconstruction without radar rests on, and what radar would add to it."""
    known = "other dates and the scene's surroundings" if plan.inputs.references else "the scene's surroundings"
    return (
        f"there is no Sentinel-1: ground under opaque cloud is told by {known} alone, class "
        f"{Qa.RECONSTRUCTED_WITHOUT_SAR:d} of --qa; --sar would add its structure, worth 1 to 3 dB where no other date "
        "shows it"
    )


def _log_clouds(plan: Plan, description: dict[str, Any]) -> None:
    """What was found in the scene itself."""
    if not description["found"]:
        return
    listed = ", ".join(f"{100 * share:.1f} % {name}" for name, share in description["found"].items())
    log.info("found beside what a mask says: %s (--find-clouds, --edge-limit)", listed)
    if plan.inputs.mask is None:
        _warn_of_white(plan, description["share"]["cloudy_of_data"], description["found"]["snow"])


def _warn_of_white(plan: Plan, cloudy: float, snow: float) -> None:
    """Shares of what was found: all-white scenes are told from each other by texture alone, which may be wrong."""
    compare = "" if plan.options.references else ", or an image of another date (--reference) to compare with"
    if cloudy > _MUCH_FOUND:
        log.warning(
            "%.0f %% of the scene is taken for cloud, haze or shadow, as snow easily is: look at --write-mask, or give "
            "a mask (--udm2, --mask)%s",
            100 * cloudy,
            compare,
        )
    if snow > _MUCH_SNOW:
        log.warning(
            "%.0f %% of the scene is taken for snow, and stays as it is; an overcast sky may look so: look at it, or "
            "give a mask (--udm2, --mask)%s",
            100 * snow,
            compare,
        )


def _warn_of_scene_model(plan: Plan) -> None:
    if plan.sees and not plan.inputs.masked:
        log.warning("there is no mask; these weights do better with one: give --udm2 or --mask, or --find-clouds auto")
    elif plan.sees and plan.scene_model and plan.scene_model.clear_share < _FEW_CLEAR:
        log.warning(
            "only %.1f %% of the scene is clear: its colours are guessed from %s",
            100 * plan.scene_model.clear_share,
            "radar and from other places" if plan.inputs.has_radar else "little",
        )


def _log_references(plan: Plan, references: list[dict[str, Any]]) -> None:
    """Which other dates take part, where they were moved, and what the scene's model is made of."""
    for number, reference in enumerate(references, 1):
        date, place = reference["acquired"] or "an unknown date", _placed(reference["coregistration"])
        log.info("image %d is %s of %s, %s", number, Path(reference["file"]).name, date, place)
    if references and not plan.inputs.masked:
        log.warning("without a mask references are of no use: give --udm2 or --mask, or --find-clouds auto")
    elif references and not plan.sees:
        log.warning("these weights are shown the plain image: references help only where radar has a gap")
    if plan.scene_model:
        log.info("the scene's model is %s", _weights_in_words(plan.scene_model))
