from __future__ import annotations

import asyncio
import json
import threading
import time

import numpy as np
import pytest
from serve_models import GOOD, acall, call

from charter.serve.app import Application, ServerLimits
from charter.serve.aside import MOST_STUCK, Aside
from charter.serve.batcher import Limits
from charter.serve.served import Served

BODY = json.dumps(GOOD).encode()
LATE = json.dumps({**GOOD, "late": 5}).encode()


class Model:
    """A model that does what a test wants of it."""

    def __init__(self, scorer) -> None:
        self.sound, self.hang, self.asked = scorer._model, threading.Event(), 0
        self.hang.set()

    def predict(self, X):
        self.asked += 1
        assert self.hang.wait(20)
        return self.sound.predict(X)


def application(credit, **limits) -> tuple[Application, Model]:
    scorer = credit.scorer()
    scorer._model = Model(scorer)
    batch = Limits(**limits)
    return Application([Served("credit-test", "v1", scorer)], limits=ServerLimits(batch=batch)), scorer._model


def test_a_model_that_hangs_is_answered_for_and_keeps_nobody_waiting(credit):
    served, model = application(credit, score_s=0.2)

    async def scenario():
        model.hang.clear()
        began = time.monotonic()
        first = await asyncio.gather(*(acall(served, body=b) for b in (BODY, LATE)))
        health = await acall(served, "/healthz", method="GET")
        for _ in range(MOST_STUCK):
            await acall(served, body=BODY)
        asked = model.asked
        tripped = time.monotonic()
        last = await acall(served, body=BODY)
        quick = time.monotonic() - tripped
        spent = time.monotonic() - began
        model.hang.set()
        await asyncio.sleep(0.3)
        return first, health, last, quick, spent, asked, await acall(served, body=BODY)

    first, health, last, quick, spent, asked, again = asyncio.run(scenario())
    answers = [json.loads(content) for _, _, content in first]
    assert [status for status, _, _ in first] == [200, 200]
    assert [a["decision"] for a in answers] == ["negative", "positive"]
    assert all(
        "the model did not answer in time; the fallback rule answered" in a["warnings"] for a in answers
    )
    assert health[0] == 200
    assert asked == MOST_STUCK
    assert quick < 0.2
    assert spent < 5
    assert json.loads(last[2])["warnings"]
    assert json.loads(again[2])["warnings"] == []
    assert b'charter_fallbacks_total{model="credit-test",version="v1"}' in served.metrics.text()


def test_many_rows_that_hang_are_answered_for_as_well(credit):
    served, model = application(credit, deadline_s=0.2, batch_rows=4)
    model.hang.clear()
    answers = json.loads(call(served, body=b"[" + b",".join([LATE] * 6) + b"]")[2])
    model.hang.set()
    assert {a["decision"] for a in answers} == {"positive"}
    assert len(answers) == 6


def test_a_declared_deadline_holds_for_many_rows_and_those_who_wait_behind_them(credit):
    served, model = application(credit, score_s=0.3, batch_rows=4)
    body = b"[" + b",".join([LATE] * 6) + b"]"

    async def scenario():
        model.hang.clear()
        began = time.monotonic()
        answers = await asyncio.gather(*(acall(served, body=body) for _ in range(3)))
        spent = time.monotonic() - began
        model.hang.set()
        return answers, spent

    answers, spent = asyncio.run(scenario())
    assert [status for status, _, _ in answers] == [200] * 3
    assert {a["decision"] for _, _, content in answers for a in json.loads(content)} == {"positive"}
    assert spent < 3  # five seconds are what a list has where nothing is declared


def test_after_a_slow_batch_the_next_is_scored_aside_until_one_is_quick(credit):
    served, model = application(credit, slow_s=0.05, deadline_s=0.3)
    threads: list[str] = []
    sound = model.sound

    class Watched:
        def predict(self, X):
            threads.append(threading.current_thread().name)
            time.sleep(0.1 if len(threads) == 1 else 0)
            return sound.predict(X)

    model.sound = Watched()
    statuses = [call(served, body=BODY)[0] for _ in range(3)]
    assert statuses == [200, 200, 200]
    assert [name == "score" for name in threads] == [False, True, False]


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_answered_for(credit, score):
    served, model = application(credit, score_s=5.0)
    model.sound = type("Broken", (), {"predict": lambda _self, X: np.full(len(X), score)})()
    answer = json.loads(call(served, body=LATE)[2])
    assert (answer["score"], answer["decision"]) == (None, "positive")
    assert answer["warnings"] == ["the model gave no finite score; the fallback rule answered"]


def test_without_a_fallback_a_model_that_hangs_is_503(credit):
    served, model = application(credit, score_s=0.1)
    plain = credit.scorer()
    plain.rules = plain.rules.__class__(threshold=0.5)
    plain._model = model
    served.replace([Served("credit-test", "v1", plain)])
    model.hang.clear()
    status, headers, content = call(served, body=BODY)
    model.hang.set()
    assert (status, headers["retry-after"]) == (503, "1")
    assert "did not answer in time and declares no fallback" in json.loads(content)["error"]["message"]


def test_what_a_call_aside_raises_reaches_whoever_waits():
    async def scenario():
        aside: Aside[int] = Aside()
        with pytest.raises(ZeroDivisionError):
            await aside.run(lambda: 1 // 0, 5)
        return await aside.run(lambda: 3, 5)

    assert asyncio.run(scenario()) == 3
