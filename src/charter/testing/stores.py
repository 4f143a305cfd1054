"""What every online feature store must do. Derive from `StoreConformance` and say how to open one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pytest

from charter.serve.ports import Chunk, Freshness, OnlineStore, StoreDown

WIDTH = 3
FIRST = datetime(2026, 1, 1)  # noqa: DTZ001 - stores keep naive UTC
SECOND = datetime(2026, 1, 2, 3, 4, 5, 678_901)  # noqa: DTZ001
AWKWARD = (
    "",
    "0",
    "-7",
    "a b",
    "a'\"`;--",
    "%s",
    "Zoë",
    "名前",
    "\U0001f600",
    "x" * 5000,
    "meta",
    "\n",
    "[1]",
    "null",
)
Open = Callable[[str], OnlineStore]


class StoreConformance:
    """Tests that every `OnlineStore` must pass. A subclass provides ``open_store``, `break_store` and `mend_store`."""

    @pytest.fixture
    def open_store(self) -> Open:
        """Open a store of `WIDTH` numbers for a feature set; the first call finds it empty."""
        raise NotImplementedError

    def break_store(self) -> None:
        """Make the store fail, so that it cannot answer."""
        raise NotImplementedError

    def mend_store(self) -> None:
        """Let it work again, with what it held."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, open_store: Open) -> Iterator[OnlineStore]:
        """Return an empty store."""
        store = open_store("a" * 64)
        yield store
        store.close()

    def test_an_empty_store_knows_nobody(self, store: OnlineStore) -> None:
        """And says so without an error."""
        assert store.freshness() is None
        found = store.get_many(["1", "2"])
        assert not found.known.any()
        assert np.isnan(found.vectors).all()
        assert found.vectors.shape == (2, WIDTH)
        assert store.get_many([]).vectors.shape == (0, WIDTH)

    def test_vectors_come_back_to_the_bit(self, store: OnlineStore) -> None:
        """Every double there is, also those that text would round."""
        bits = np.random.default_rng(0).integers(0, 2**63, (500, WIDTH), dtype=np.uint64)
        vectors = bits.view(np.float64)
        vectors[0] = [-0.0, np.nan, 5e-324]
        names = [str(i) for i in range(len(vectors))]
        assert store.put_many(SECOND, [(names, vectors)]) == Freshness(SECOND, len(names))
        found = store.get_many(names)
        assert found.known.all()
        assert found.vectors.tobytes() == vectors.tobytes()
        assert set(found.as_of.tolist()) == {(SECOND - datetime(1970, 1, 1)).total_seconds() * 1e6}  # noqa: DTZ001
        assert store.freshness() == Freshness(SECOND, len(names))

    def test_the_answer_stands_in_the_order_of_the_question(self, store: OnlineStore) -> None:
        """With repeats, and strangers in between."""
        store.put_many(FIRST, [_chunk(10)])
        found = store.get_many(["3", "nobody", "3", "9", "03", " 3"])
        assert found.known.tolist() == [True, False, True, True, False, False]
        assert found.vectors[found.known][:, 0].tolist() == [3, 3, 9]
        assert found.as_of[1] == 0

    def test_any_text_is_a_name(self, store: OnlineStore) -> None:
        """Names are data."""
        store.put_many(FIRST, [(AWKWARD, _numbers(len(AWKWARD)))])
        assert store.get_many(AWKWARD).vectors[:, 0].tolist() == list(range(len(AWKWARD)))
        assert not store.get_many(["%", "_", "a", "meta\0", "\0"]).known.any()

    def test_a_new_set_takes_the_place_of_the_old(self, store: OnlineStore) -> None:
        """Whoever is no longer in it is gone; an earlier moment is fine."""
        store.put_many(SECOND, [_chunk(10)])
        store.put_many(FIRST, [_chunk(3), (["11"], _numbers(1))])
        assert store.get_many(["2", "5", "11"]).known.tolist() == [True, False, True]
        assert store.freshness() == Freshness(FIRST, 4)
        store.put_many(SECOND, [])
        assert store.freshness() == Freshness(SECOND, 0)
        assert not store.get_many(["2"]).known.any()

    def test_readers_see_the_old_until_the_new_is_whole(self, store: OnlineStore, open_store: Open) -> None:
        """Also when the writer dies on the way."""
        reader = open_store("a" * 64)
        store.put_many(FIRST, [_chunk(10)])

        def dies() -> Iterator[Chunk]:
            yield _chunk(5)
            assert reader.get_many(["7"]).known.all()
            assert reader.freshness() == Freshness(FIRST, 10)
            raise _DiedError

        with pytest.raises(_DiedError):
            store.put_many(SECOND, dies())
        assert reader.get_many(["7"]).known.all()
        assert reader.freshness() == store.freshness() == Freshness(FIRST, 10)
        reader.close()

    def test_another_feature_set_is_not_seen(self, store: OnlineStore, open_store: Open) -> None:
        """Nor touched."""
        other = open_store("b" * 64)
        store.put_many(FIRST, [_chunk(10)])
        assert other.freshness() is None
        assert not other.get_many(["1"]).known.any()
        other.put_many(SECOND, [_chunk(2)])
        assert store.freshness() == Freshness(FIRST, 10)
        other.close()

    def test_several_threads_may_ask(self, store: OnlineStore) -> None:
        """While a new set is written."""
        store.put_many(FIRST, [_chunk(200)])
        names = [str(i) for i in range(200)]
        wrong: list[str] = []

        def ask() -> None:
            for _ in range(50):
                found = store.get_many(names)
                if not found.known.all() or len(set(found.as_of.tolist())) != 1:
                    wrong.append(f"{found.known.sum()} known")

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for moment in (SECOND, FIRST, SECOND):
            store.put_many(moment, [_chunk(200)])
        for thread in threads:
            thread.join()
        assert not wrong

    def test_a_broken_store_says_so_and_recovers(self, store: OnlineStore) -> None:
        """The same object, without being opened anew; nothing else is ever raised."""
        store.put_many(FIRST, [_chunk(10)])
        assert store.get_many(["1"]).known.all()
        self.break_store()
        for ask in (
            lambda: store.get_many(["1"]),
            store.freshness,
            lambda: store.put_many(FIRST, [_chunk(1)]),
        ):
            with pytest.raises(StoreDown, match="cannot be used") as caught:
                ask()
            assert caught.value.remedy
        self.mend_store()
        assert store.get_many(["1"]).known.all()
        assert store.freshness() == Freshness(FIRST, 10)


class _DiedError(Exception):
    pass


def _numbers(rows: int) -> npt.NDArray[np.float64]:
    return np.arange(rows, dtype=float)[:, None] + [0, 0.5, 1000]


def _chunk(rows: int) -> Chunk:
    return [str(i) for i in range(rows)], _numbers(rows)
