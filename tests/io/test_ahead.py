"""Work ahead in threads: in order, no more of it than was asked for, errors where their result is asked for."""

from __future__ import annotations

import threading

import pytest

from spineseg.io.ahead import ahead


def test_results_come_in_the_order_of_the_items():
    """Also where the first item takes longest: it waits for the last one that is begun beside it."""
    begun = threading.Event()

    def tenfold(item: int) -> int:
        if item == 0:
            assert begun.wait(10)
        if item == 2:
            begun.set()
        return 10 * item

    assert [(item, future.result()) for item, future in ahead(tenfold, range(5), 3)] == [
        (item, 10 * item) for item in range(5)
    ]
    assert list(ahead(tenfold, [], 3)) == []


def test_no_more_is_begun_than_threads_and_one():
    taken: list[int] = []

    def items():
        for item in range(10):
            taken.append(item)
            yield item

    for item, future in ahead(lambda item: item, items(), 2):
        assert future.result() == item and len(taken) <= item + 3


def test_an_error_stays_with_its_item():
    def reciprocal(item: int) -> float:
        return 1 / item

    answers = ahead(reciprocal, [1, 0, 2], 1)
    assert next(answers)[1].result() == 1
    with pytest.raises(ZeroDivisionError):
        next(answers)[1].result()
    assert next(answers)[1].result() == 0.5


def test_what_has_begun_is_finished_where_the_caller_stops():
    finished: list[int] = []
    answers = ahead(finished.append, range(100), 2)
    next(answers)
    answers.close()
    assert finished == sorted(finished) and len(finished) <= 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]
