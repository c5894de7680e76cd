"""The last line of a command: what was written, how much was reconstructed, by what, how sure, and how long it took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cloudfree.bands import RECONSTRUCTED

if TYPE_CHECKING:
    from pathlib import Path

    from cloudfree.batch import BatchPlan
    from cloudfree.batch.results import Outcome
    from cloudfree.pipeline import Result
    from cloudfree.plan import Plan

_REST = "the rest as observed"


def of_run(result: Result) -> str:
    """Of a run: "done in 12 s on cpu, with out_qa.tif; out.tif: 47.4 % of the data rewritten (...), the rest ..."."""
    plan, files = result.plan, result.plan.options.files
    product, *others = files.values()
    beside = f", with {_listed([path.name for path in others])}" if others else ""
    made = f"done in {seconds(result.total_s)} on {plan.device}{beside}"
    return f"{made}; {product}: {_rewritten(result.rewritten_share, _by(result))}"


def _by(result: Result) -> list[str]:
    """By what clouds were reconstructed, and how sure that is."""
    if not result.rewritten_share:
        return []
    return [*sources(result.pixels, len(result.plan.inputs.references)), _network(result), *_deviation(result)]


def sources(pixels: Mapping[str, int], dates: int) -> Iterator[str]:
    """The share of the data that was made from each source of knowledge."""
    data = max(sum(pixels.values()) - pixels["nodata"], 1)
    others = f" and {_dates(dates)}" if dates else ""
    without = f"{_dates(dates)} and surroundings" if dates else "surroundings"
    words = {
        "reconstructed": f"radar{others}",
        "reconstructed_without_sar": f"{without} without radar",
        "seen_through": "what shows through",
    }
    yield from (f"{100 * pixels[name] / data:.1f} % from {what}" for name, what in words.items() if pixels[name])


def _network(result: Result) -> str:
    name = result.network.info.name
    if not result.plan.sees:
        return f"by {name}"
    shares = [100 * share for believed in result.trust for share in believed]
    if not any(shares):
        return f"without {name}, which did no better than the model of the ground"
    return f"{name} with a weight of {_range(shares)} %"


def _range(percents: Sequence[float]) -> str:
    low, high = f"{min(percents):.0f}", f"{max(percents):.0f}"
    return low if low == high else f"{low} to {high}"


def _deviation(result: Result) -> Iterator[str]:
    """How far off it may be: the mean of the bands, where it was measured."""
    if any(deviation := list(result.deviation.values())):
        yield f"one standard deviation is {sum(deviation) / len(deviation):.2g} of reflectance"


def _rewritten(share: float, by: Sequence[str] = ()) -> str:
    how = f" ({'; '.join(by)})" if by else ""
    return f"{100 * share:.1f} % of the data rewritten{how}, {_REST}"


def of_run_plan(plan: Plan) -> str:
    """Which files a run would write."""
    return f"{_listed(plan.options.targets)} would be written; nothing was"


def of_scene(outcome: Outcome) -> str:
    """Of a scene of a batch, that did not fail."""
    if outcome.status != "made":
        return f"{outcome.status}, for its product is there: {outcome.job.output}"
    pixels = outcome.details["pixels"]
    data = max(sum(pixels.values()) - pixels["nodata"], 1)
    rewritten = sum(pixels[qa.name.lower()] for qa in RECONSTRUCTED) / data
    return f"made in {seconds(outcome.seconds)}; {outcome.job.output}: {_rewritten(rewritten)}"


def of_batch(outcomes: Sequence[Outcome], folder: Path, elapsed_s: float) -> str:
    """Of a batch: how many scenes were made, skipped, failed, or not begun."""
    counts = {status: sum(one.status == status for one in outcomes) for status in ("made", "skipped", "failed")}
    left = len(outcomes) - sum(counts.values())
    listed = [f"{count} {status}" for status, count in (counts | ({"not begun": left} if left else {})).items()]
    done = f"{_scenes(len(outcomes))} in {seconds(elapsed_s)}: {', '.join(listed)}"
    return f"{done}; products and results.csv are in {folder}"


def of_batch_plan(plan: BatchPlan) -> Iterator[str]:
    """What a batch would do: a line for each scene, and what all of it takes."""
    for job in plan.jobs:
        radar = _listed([source.name for source in job.sar]) if job.sar else "no Sentinel-1"
        dates = f", {_dates(len(job.references))}" if job.references else ""
        yield f"{job.planet.name}: {job.fault or f'{job.output}, with {radar}{dates}'}"
    yield (
        f"{_scenes(len(plan.jobs))} into {plan.folder}: {plan.product_bytes / 1e9:.1f} GB of files at most, about "
        f"{plan.memory_gb:.1f} GB of memory; nothing was written"
    )


def seconds(value: float) -> str:
    """A time in words: seconds with a fraction below ten, else minutes or hours too."""
    if value < 9.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _dates(count: int) -> str:
    return f"{count} other date{'' if count == 1 else 's'}"


def _scenes(count: int) -> str:
    return f"{count} scene{'' if count == 1 else 's'}"


def _listed(words: Sequence[Any]) -> str:
    *first, last = map(str, words)
    return f"{', '.join(first)} and {last}" if first else last
