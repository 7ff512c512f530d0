"""Under lasting overload workers run what clients still wait for, and the others are refused in words and soon."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable

from end_to_end.crowd import Crowd, Key
from end_to_end.h1_client import H1Client
from end_to_end.server import Server

#: Streams of one connection, as the server allows them.
STREAMS = 100
#: How long each request keeps the only worker busy, in seconds.
BUSY = 0.02
QUEUE_TIMEOUT = 2.0
#: The part of queue_timeout after which clients give up, as those that wait for 3 s do with its default of 10 s.
PATIENCE = 0.3 * QUEUE_TIMEOUT


def test_overload_leaves_workers_to_clients_that_wait(serve: Callable[..., Server]) -> None:
    """Four times as many requests as the worker can run, for longer than anyone waits."""
    server = serve("numbered.py:app", workers=1, hcrs={"queue_timeout": QUEUE_TIMEOUT, "lifespan": "off"})
    seconds, rate = 3.0, 4 / BUSY
    total = int(seconds * rate)
    asked: dict[Key, float] = {}
    gave_up, newest_at = 0, 0.0
    newest = H1Client(server.listener)
    with Crowd(server.listener, total // STREAMS * 4) as crowd:
        answers = crowd.answers
        start = time.monotonic()

        def go_on() -> bool:
            nonlocal gave_up, newest_at
            now = time.monotonic()
            while len(asked) < total and now >= start + len(asked) / rate:
                # In turn, so that none has more streams than the server allows.
                connection = crowd.connections[len(asked) % len(crowd.connections)]
                asked[crowd.ask(connection, f"/work?n={len(asked)}&seconds={BUSY}")] = now
                crowd.flush(connection)
            for key in [key for key in answers if not answers[key].over_at and now > asked[key] + PATIENCE]:
                gave_up += 1
                crowd.reset(key)
                crowd.flush(crowd.connections[key[0]])
            if len(asked) == total and not newest_at:
                newest.request("GET", "/own?n=newest")
                newest_at = now
            return len(asked) == total and all(answer.over_at for answer in answers.values())

        crowd.run(go_on, "every answer", deadline=60, pause=0.002)
        took = time.monotonic() - start
        assert newest.response().body == b"newest"
        ran = dict(json.loads(newest.get("/ran").body))
        newest.close()
        statuses = Counter(answer.status for answer in answers.values())
        refused = [answer for answer in answers.values() if answer.status == 503]
    print(f"\n{total} requests in {took:.1f} s: {len(ran)} run, {dict(statuses)}, and {gave_up} gave up")
    assert set(statuses) == {200, 503} and {answer.retry_after for answer in refused} == {b"1"}
    before = [number for number, began in ran.items() if newest_at < began < ran["newest"]]
    assert len(before) < 10, "the newest waits only for those that the worker was sent before it"
    # The worker had something to do, and what it did was of use.
    assert len(ran) > 0.5 * seconds / BUSY
    assert statuses[200] > 0.7 * len(ran)
    assert statuses[503] > gave_up, "refused before they gave up"


def test_burst_that_is_served_within_the_queue_timeout_is_served_as_a_whole(serve: Callable[..., Server]) -> None:
    """A burst of more work than the target and the windows of pressure last."""
    server = serve("numbered.py:app", workers=1, hcrs={"queue_timeout": 5, "lifespan": "off"})
    with Crowd(server.listener, 1) as crowd:
        keys = [crowd.ask(crowd.connections[0], f"/work?n={number}&seconds={BUSY}") for number in range(90)]
        crowd.run(lambda: crowd.over == len(keys), "every answer", deadline=30)
        assert Counter(crowd.answers[key].status for key in keys) == {200: 90}
