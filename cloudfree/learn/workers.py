"""Processes that draw or make samples beside this one."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from cloudfree import process
from cloudfree.errors import CloudfreeError, DeviceError
from cloudfree.process import end_with_parent

K = TypeVar("K")
R = TypeVar("R")


def batches_of(make: Callable[[K], R], batches: Iterable[list[K]], workers: int | None) -> Iterator[list[R]]:
    """What `make` returns for the keys of each batch, in their order, made by `workers` processes; 0 is this one.

    None is half as many as cores, shared with other processes of torchrun. Raises the CloudfreeError that `make`
    raised, and DeviceError where a process was ended.
    """
    share = process.cores() // (2 * int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    count = share if workers is None else workers
    # Sources hold open files and closures, which only a fork can take along.
    context = "fork" if count and "fork" in multiprocessing.get_all_start_methods() else None
    loader = DataLoader(
        _Made(make),
        batch_sampler=batches,
        num_workers=count if context else 0,
        collate_fn=list,
        multiprocessing_context=context,
        worker_init_fn=_begin_worker,
    )
    others = multiprocessing.active_children()
    made = iter(loader)
    started = [child for child in multiprocessing.active_children() if child not in others]
    try:
        for results in made:
            for result in results:
                if isinstance(result, CloudfreeError):
                    raise result
            yield results
    except RuntimeError as error:
        if "exited unexpectedly" not in str(error):
            raise
        raise DeviceError(
            f"one of {count} processes that make samples was ended, as the system does where memory is short: give "
            "fewer --workers, and the command again"
        ) from error
    finally:  # torch would wait for what they are about, which may take minutes
        for child in started:
            child.terminate()


@dataclass(frozen=True)
class _Made(Dataset[Any], Generic[K, R]):
    make: Callable[[K], R]

    def __getitem__(self, key: K) -> R | CloudfreeError:
        """What is made, or the error in its place: of one that is raised in a worker torch makes a traceback."""
        try:
            return self.make(key)
        except CloudfreeError as error:
            return error


def _begin_worker(_: int) -> None:
    """A worker ends with the command, which alone answers to Ctrl-C and to a scheduler's SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    end_with_parent()
