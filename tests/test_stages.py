"""Work done ahead of its consumer: the order, how far ahead, errors, and that no thread outlives its block."""

import threading
import time
from collections.abc import Iterator

import pytest
from rasterio.env import Env, get_gdal_config

from cloudfree.stages import Stopwatch, prefetch


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("count", [0, 1, 10])
def test_it_is_a_map(count: int) -> None:
    with prefetch(lambda x: x * x, range(count)) as results:
        assert list(results) == [x * x for x in range(count)]


def test_one_thread_works_beside_the_consumer_and_only_so_far_ahead() -> None:
    begun: list[int] = []
    threads: set[int] = set()

    def work(x: int) -> int:
        begun.append(x)
        threads.add(threading.get_ident())
        return x

    with prefetch(work, range(100)) as results:
        assert next(results) == 0
        time.sleep(0.05)
        assert begun == [0, 1]
        assert next(results) == 1
        time.sleep(0.05)
        assert begun == [0, 1, 2]
    assert begun == [0, 1, 2]
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_items_are_drawn_by_the_consumer() -> None:
    drawn_in: set[int] = set()

    def items() -> Iterator[int]:
        for x in range(3):
            drawn_in.add(threading.get_ident())
            yield x

    with prefetch(abs, items()) as results:
        assert list(results) == [0, 1, 2]
    assert drawn_in == {threading.get_ident()}


def fail_at_two(x: int) -> int:
    if x == 2:
        raise ValueError("two")
    return x


def test_an_error_is_raised_where_the_result_is_asked_for() -> None:
    with prefetch(fail_at_two, range(5)) as results:
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ValueError, match="two") as caught:
            next(results)
    assert "fail_at_two" in [entry.name for entry in caught.traceback]


def test_an_error_of_the_items_passes_through() -> None:
    with prefetch(abs, map(fail_at_two, range(5))) as results, pytest.raises(ValueError, match="two"):
        list(results)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, ValueError])
def test_what_has_begun_is_waited_for_when_the_block_fails(error: type[BaseException]) -> None:
    ended: list[int] = []

    def slow(x: int) -> int:
        time.sleep(0.05)
        ended.append(x)
        return x

    def broken() -> None:
        with prefetch(slow, range(100)) as results:
            next(results)
            raise error

    with pytest.raises(error):
        broken()
    at_the_end = list(ended)
    time.sleep(0.1)
    assert ended == at_the_end
    assert len(ended) <= 3  # the first, and what had begun by then


def test_one_inside_the_other_like_reading_and_writing() -> None:
    with (
        prefetch(lambda x: x + 1, range(20)) as numbers,
        prefetch(lambda x: 2 * x, (n * n for n in numbers)) as doubled,
    ):
        assert list(doubled) == [2 * (x + 1) ** 2 for x in range(20)]


def test_the_settings_of_gdal_hold_in_the_thread() -> None:
    with Env(GDAL_CACHEMAX=77), prefetch(get_gdal_config, ["GDAL_CACHEMAX"]) as found:
        assert list(found) == [77]


def test_a_second_counts_once_where_stages_wait_for_each_other() -> None:
    watch = Stopwatch()

    def slow(count: int) -> Iterator[int]:
        for x in range(count):
            time.sleep(0.02)
            yield x

    inner = watch.waiting(slow(3), "read")
    outer = watch.waiting((x for x in inner if time.sleep(0.01) is None), "infer")
    with watch.timing("tell"):
        time.sleep(0.03)
    started = time.perf_counter()
    assert list(outer) == [0, 1, 2]
    elapsed = time.perf_counter() - started
    assert list(watch.seconds) == ["tell", "read", "infer"]
    assert watch.seconds["read"] >= 0.06
    assert watch.seconds["infer"] >= 0.03
    assert watch.seconds["read"] + watch.seconds["infer"] <= elapsed
