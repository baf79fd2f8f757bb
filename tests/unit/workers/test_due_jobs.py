"""engine rule 24: the next due jobs in memory are the right ones, whatever is added, removed, run and loaded."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from reactor.values.keys import encode_value
from reactor.workers.due_jobs import DueJob, DueJobs

operations = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 50)),
        st.tuples(st.just("remove"), st.integers(0, 30)),
        st.tuples(st.just("take"), st.just(0)),
    ),
    max_size=120,
)


@settings(max_examples=300)
@given(operations)
def test_what_is_taken_is_what_the_database_has_first(steps: list[tuple[str, int]]) -> None:
    capacity = 4
    jobs = DueJobs(capacity)
    database: dict[str, DueJob] = {}
    for number, (step, value) in enumerate(steps):
        if step == "add":
            job = DueJob(encode_value(float(value)) + encode_value(float(number)), f"j{number}", float(value))
            database[job.id] = job
            jobs.add(job)
        elif step == "remove":
            database.pop(f"j{value}", None)
            jobs.remove(f"j{value}")
        else:
            if jobs.first() is None and jobs.must_load:
                first = sorted(database.values())[:capacity]
                jobs.load(first, complete=len(first) < capacity)
            expected = min(database.values(), default=None)
            assert jobs.first() == expected
            if expected is not None:
                assert jobs.take() == expected
                del database[expected.id]
        assert len(jobs) <= 2 * capacity
