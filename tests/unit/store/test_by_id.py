"""Scans of `by_id` go over the document table: every range of keys must give exactly the documents whose key is in it."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from reactor.clock import ManualClock
from reactor.store.catalogue import BY_ID
from reactor.store.protocol import Writer
from reactor.store.sqlite.reader import id_bounds
from reactor.store.sqlite.store import SqliteStore
from reactor.values.ids import new_id
from reactor.values.keys import encode_key

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ids = st.text(ALPHABET, min_size=1, max_size=4)
keys = ids.map(lambda text: b"\x10" + text.encode() + b"\x00")
bounds = st.one_of(
    st.just(b""),
    st.binary(max_size=4),
    keys,
    st.builds(lambda key, cut: key[:cut], keys, st.integers(0, 6)),
    st.builds(lambda key, more: key + more, keys, st.binary(min_size=1, max_size=2)),
    st.builds(lambda key, more: key[:-1] + more, keys, st.sampled_from([b"\x01", b"\xff", b"\x00\xff", b"~", b"\x80"])),
)


@given(documents=st.sets(ids, max_size=12), start=bounds, end=st.none() | bounds)
def test_a_range_of_keys_is_the_same_range_of_ids(documents: set[str], start: bytes, end: bytes | None) -> None:
    def key(text: str) -> bytes:
        return b"\x10" + text.encode() + b"\x00"

    expected = {d for d in documents if start <= key(d) and (end is None or key(d) < end)}
    bounds = id_bounds(start, end)
    found = set() if bounds is None else {d for d in documents if bounds[0] <= d.encode() < bounds[1]}
    assert found == expected


async def test_by_id_scans_give_index_keys_and_take_any_bytes_as_bounds(tmp_path: Path, clock: ManualClock) -> None:
    store = SqliteStore(tmp_path, clock=clock, synchronous="OFF")
    await store.open()
    try:

        def make(writer: Writer) -> None:
            writer.begin()
            writer.create_tables(["t"])
            writer.commit()

        await store.write(make)
        table = store.catalogue.tables["t"]
        by_id = table.indexes[BY_ID]
        documents = sorted(new_id(table.number, clock.now_ns()) for _ in range(30))

        def fill(writer: Writer) -> None:
            writer.begin()
            for document in documents:
                writer.insert(table, document, document.encode())
                writer.add_key(by_id, b"ignored", document)  # it has no table of its own
                writer.remove_key(by_id, b"ignored")
            writer.commit()

        await store.write(fill)
        every = [(encode_key([d]), d.encode()) for d in documents]
        middle, later = encode_key([documents[10]]), encode_key([documents[20]])
        odd = b"\x10" + documents[10].encode() + b"\xff\xfe"  # not UTF-8
        for start, end in [
            (b"", None),
            (middle, None),
            (b"", middle),
            (middle, later),
            (middle, middle + b"\xff"),
            (middle + b"\xff", later + b"\xff"),
            (odd, b"\x10\xc3"),
            (b"\x11", None),
            (b"", b"\x0f"),
            (later, middle),
        ]:
            rows = [row for row in every if start <= row[0] and (end is None or row[0] < end)]
            for reverse in (False, True):
                expected = rows[::-1] if reverse else rows
                got = await store.read(
                    lambda r, s=start, e=end, v=reverse: (
                        r.scan(by_id, s, e, reverse=v, limit=100),
                        r.scan(by_id, s, e, reverse=v, limit=3),
                        r.count(by_id, s, e),
                    )
                )
                assert got == (expected, expected[:3], len(rows))
    finally:
        await store.close()
