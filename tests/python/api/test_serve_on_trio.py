"""``hcrs.trio.serve``: what test_serve.py has not for both libraries."""

from __future__ import annotations

import signal

import pytest

from api.conftest import DEADLINE, Asking, Start, get
from end_to_end.server import wait_until


def test_the_urls_are_the_value_of_a_start_in_a_nursery(start_on_trio: Start) -> None:
    program = start_on_trio("""
        async def main():
            async with trio.open_nursery() as nursery:
                stop = trio.Event()
                start = lambda task_status: serve(app, config, shutdown_trigger=stop.wait, task_status=task_status)
                listening(await nursery.start(start))
                await line()
                stop.set()

        trio.run(main)
        say("end")
    """)
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    assert get(f"{url}/a").text.startswith("/a 1.1")
    program.say("stop")
    assert program.end() == ["lifespan.shutdown", "end"]


def test_a_second_ctrl_c_cuts_off(start_on_trio: Start) -> None:
    program = start_on_trio("""
        config.graceful_timeout = 60
        try:
            run()
        except KeyboardInterrupt:
            say("interrupted")
    """)
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    asking = Asking(f"{url}/slow")
    assert program.line() == "slow"
    program.process.send_signal(signal.SIGINT)
    wait_until(lambda: "Shutting down" in program.errors, "the drain to begin", DEADLINE)
    program.process.send_signal(signal.SIGINT)
    assert program.end() == ["cut off", "lifespan.shutdown", "interrupted"]
    answer = asking.answer()
    assert answer is None or answer.status_code == 500, "or the connection is lost"


def test_cancelling_it_ends_a_startup_that_hangs(start_on_trio: Start) -> None:
    program = start_on_trio("""
        async def hanging(scope, receive, send):
            say("hangs")
            await trio.sleep_forever()

        async def main():
            with trio.move_on_after(1) as scope:
                await serve(hanging, config)
            say("cancelled", scope.cancelled_caught)

        trio.run(main)
    """)
    assert program.end() == ["hangs", "cancelled True"]


def test_one_after_the_other_leaves_nothing_behind(start_on_trio: Start) -> None:
    program = start_on_trio("""
        import signal

        async def main():
            async def once():
                async with trio.open_nursery() as nursery:
                    await nursery.start(lambda task_status: serve(app, config, task_status=task_status))
                    nursery.cancel_scope.cancel()

            held = lambda: (len(os.listdir("/proc/self/fd")), trio.lowlevel.current_statistics().tasks_living)
            handler = signal.getsignal(signal.SIGINT)
            await once()
            before = held()
            for _ in range(3):
                await once()
            say(before == held(), before, held())
            say(signal.getsignal(signal.SIGINT) is handler, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)

        trio.run(main)
    """)
    lines = program.end()
    assert lines[:8] == ["lifespan.startup", "lifespan.shutdown"] * 4
    assert lines[8].startswith("True") and lines[9] == "True True", lines


def test_quart_trio_with_its_lifespan(start_on_trio: Start) -> None:
    pytest.importorskip("quart_trio")
    program = start_on_trio("""
        from quart_trio import QuartTrio

        site = QuartTrio("site")

        @site.before_serving
        async def open_database():
            say("open")

        @site.after_serving
        async def close_database():
            say("close")

        @site.get("/library")
        async def library():
            await trio.sleep(0)
            return "trio"

        run(site, shutdown_trigger=line)
    """)
    assert program.line() == "open"
    [url] = program.listening()
    assert get(f"{url}/library").text == "trio"
    program.say("stop")
    assert program.end() == ["close"]
