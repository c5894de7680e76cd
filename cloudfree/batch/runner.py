"""Jobs one after the other: one that fails is recorded, and the others go on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

from cloudfree.batch.jobs import Job, WithoutRadar
from cloudfree.batch.results import Outcome
from cloudfree.batch.sound import sound_files
from cloudfree.errors import CloudfreeError, OutputError, warnings_heard
from cloudfree.inputs.files import RADAR_OPTIONS, identify
from cloudfree.inputs.raster.access import gdal_settings
from cloudfree.network.models import CloudRemovalModel
from cloudfree.network.weights import load_model
from cloudfree.pipeline import execute, identity_but_references, identity_of
from cloudfree.plan import Options
from cloudfree.planning import make_plan
from cloudfree.product import provenance
from cloudfree.product.kinds import Kind
from cloudfree.product.locks import claimed
from cloudfree.product.provenance import is_finished

log = logging.getLogger(__name__)


NewReferences = Literal["keep", "remake"]


@dataclass(frozen=True)
class Settings:
    """What all scenes of a batch have in common.

    `common`: fields of `Options` and their values, other than files. `beside`: kinds of `product.kinds.BESIDE` that are
    made beside each product and named after it. `max_failures`: after more of them no scene is begun; None: all are.
    `timeout_s`: how long a scene may take, in a process of its own (`apart`); None: for ever.
    `without_radar`: what becomes of scenes for which there is no radar. `new_references`: whether a product that is
    finished is kept or made again where other references would be chosen for it now. `outputs_anywhere`: whether a list
    may name products outside of the folder.
    """

    common: Mapping[str, Any] = field(default_factory=dict)
    beside: tuple[Kind, ...] = ()
    max_failures: int | None = None
    timeout_s: float | None = None
    without_radar: WithoutRadar = "refuse"
    new_references: NewReferences = "keep"
    outputs_anywhere: bool = False

    def options(self, job: Job) -> Options:
        """Return the options of a run that does a job: those for reading radar only where it has some.

        Raises TypeError for a name in `common` that is no option.
        """
        files: dict[str, Any] = {"planet": job.planet, "sar": job.sar, "udm2": job.udm2, "mask": job.mask}
        files |= {"references": job.references, "references_rule": job.references_rule}
        beside: dict[str, Any] = {kind.field: kind.beside(job.output) for kind in self.beside}
        common = {name: value for name, value in self.common.items() if job.sar or name not in RADAR_OPTIONS}
        return Options(**files, output=job.output, **beside, **common)


@lru_cache(maxsize=1)
def held_model(name: str) -> CloudRemovalModel:
    """Return a network by the name or file of its weights, loaded once for all scenes."""
    return load_model(name)


def run_jobs(
    jobs: Sequence[Job],
    settings: Settings,
    done: Callable[[Outcome], None],
    begun: Callable[[Job], None] = lambda _: None,
) -> list[Outcome]:
    """Do all jobs in this process and return their outcomes.

    `begun` is called with each job as it is begun, `done` with each outcome as it comes.
    """
    outcomes: list[Outcome] = []
    for job in jobs:
        begins = not enough_failed(outcomes, settings)
        if begins:
            begun(job)
        outcomes.append(run_job(job, settings) if begins else not_begun(job, settings))
        done(outcomes[-1])
    return outcomes


def enough_failed(outcomes: Iterable[Outcome], settings: Settings) -> bool:
    """Whether no more jobs are to be begun."""
    most = settings.max_failures
    return most is not None and sum(outcome.status == "failed" for outcome in outcomes) > most


def not_begun(job: Job, settings: Settings) -> Outcome:
    """Return the outcome of a job after enough have failed."""
    return Outcome(job, "not begun", error=f"more than {settings.max_failures} had failed before")


def run_job(job: Job, settings: Settings) -> Outcome:
    """Do a job, unless its product is there, whole, and of the same inputs, options and weights."""
    started = time.monotonic()
    with warnings_heard() as warnings:
        for doubt in job.doubts:
            log.warning("%s", doubt)
        outcome = _done(job, settings)
    return replace(outcome, seconds=time.monotonic() - started, warnings=tuple(warnings))


def _done(job: Job, settings: Settings) -> Outcome:
    try:
        if job.fault:
            raise CloudfreeError(job.fault)
        details = _made_of_sound_files(job, settings)
        return Outcome(job, "made" if details else "skipped", details=details)
    except CloudfreeError as error:
        failure = error.message
    except OSError as error:
        failure = f"{job.output.name}: {error}; see to it and run again"
    except Exception as error:  # a bug in one scene must not stop the others
        log.exception("%s failed by a bug", job.planet)
        failure = f"bug: {type(error).__name__}: {error}"
    return Outcome(job, "failed", error=failure)


def _made_of_sound_files(job: Job, settings: Settings) -> dict[str, Any]:
    """Make a product; again, where that fails, without files that a batch has chosen and that cannot be used."""
    try:
        return _make(job, settings.options(job), settings.new_references)
    except OutputError:
        raise  # other files would not help, and looking for them may take long
    except Exception:
        sound = sound_files(job, settings.options(job))
        if sound is None:
            raise
    return _make(sound, settings.options(sound), settings.new_references)


def _make(job: Job, options: Options, new_references: NewReferences) -> dict[str, Any]:
    """Return numbers of the run that made the product; nothing where none was needed."""
    job.output.parent.mkdir(parents=True, exist_ok=True)
    with claimed(options.targets, options.wait_s):
        if _is_made(options, new_references):
            return {}
        if not options.overwrite:
            provenance.refuse_others(options.files)
        # Files of ours that are there have other inputs or options, are damaged, or are not all that is wanted.
        result = execute(make_plan(replace(options, overwrite=True), held_model))
    return {"pixels": result.pixels, "trust": result.trust.as_json(), "peak_memory_mb": result.peak_memory_mb}


def _is_made(options: Options, new_references: NewReferences) -> bool:
    """Whether all files are there, whole, and what would be made; with any references, where a batch chooses them."""
    if not all(target.exists() for target in options.targets):
        return False
    weights_sha256 = held_model(options.weights).info.sha256
    keeps = options.references_rule and new_references == "keep"
    with gdal_settings(options.trust_inputs):
        inputs = identify(replace(options, references=()) if keeps else options)
    expected: str | None
    if keeps:
        settled = identity_but_references(options, inputs, weights_sha256)
        expected = provenance.identity_by(options.output, settled)
    else:
        expected = identity_of(options, inputs.deciding(options, options.aoi), weights_sha256)
    return expected is not None and is_finished(options.files, expected)
