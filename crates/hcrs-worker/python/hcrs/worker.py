"""A worker's program, which is given ``APP --links 3:4``.

The edge starts it, with the descriptors of its links inherited, and without the working directory in ``sys.path``: what is
imported here is not to be looked for among the app's files.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import traceback
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from hcrs import _hcrs, logs, signals
from hcrs.ending import end_soon, leave
from hcrs.interface import KnownApp
from hcrs.lifespan import Lifespan, LifespanFailureError, LifespanTimeoutError
from hcrs.loaded_files import LoadedFiles
from hcrs.loading import AppPath, NoAppError, load
from hcrs.pulse import Answering
from hcrs.serving import WSGI_THREADS, AsgiServing, WsgiServing
from hcrs.stop_signals import AppHandlers

log = logging.getLogger("hcrs.error")
T = TypeVar("T")


def main() -> int:
    """Serves the app until the edge says that this is enough; gives the exit code."""
    args = arguments().parse_args()
    signals.leave_to_edge()
    handlers = AppHandlers()
    if args.crash is not None:
        signals.tell_crashes(args.crash)
    _hcrs.die_with_parent()
    try:
        links = [_hcrs.Link(int(socket), int(memory)) for socket, memory in args.links]
    except OSError as error:  # of another version of hcrs: the words say what to do
        sys.exit(str(error))
    pulse = None if args.pulse is None else _hcrs.Pulse(args.pulse)
    files = None if args.loaded_files is None else LoadedFiles(args.loaded_files)
    try:
        import_loop(args.worker_class)
        path = AppPath.parse(args.app)
        sys.path.insert(behind_standard_library(), os.getcwd())
        path.enter()  # the configuration of logging may name what stands there
        logs.configure(
            args.loglevel, args.errorlog, args.logconfig, args.statsd_host, args.statsd_prefix, args.dogstatsd_tags
        )
        app = load(path)
        if files is not None:
            files.keep_telling()
        if app.interface == "wsgi":
            return run(WsgiWorker(args, app, links, handlers), pulse)
        worker = TrioWorker if args.worker_class == "trio" else AsgiWorker
        return run(worker(args, app, new_loop(args.worker_class), links, handlers), pulse)
    except BaseException as error:  # a module may call sys.exit()
        if files is not None:
            files.tell()
        # Where this package looked for the app is nobody's business.
        is_plain = isinstance(error, (NoAppError, logs.LogConfigError))
        why = f"{error}\n" if is_plain else "".join(traceback.format_exception(error))
        if isinstance(error, ImportError):
            why += f"The interpreter is {sys.executable}.\n"
        for link in links:
            link.fail(why)
        end_soon(1)
        return 1


def run(worker: AsgiWorker | WsgiWorker, pulse: _hcrs.Pulse | None) -> int:
    """Serves until the edge says that this is enough, and answers meanwhile whether the worker lives."""
    if pulse is None:
        return worker.run()
    answering = worker.answering(pulse)
    answering.start()
    try:
        return worker.run()
    finally:
        answering.close()


def behind_standard_library() -> int:
    """The place in ``sys.path`` where modules are looked for after the standard library and before what is installed."""
    library = os.path.dirname(os.__file__)
    standard = (library, os.path.join(library, "lib-dynload"))
    return max((place for place, path in enumerate(sys.path, 1) if path in standard), default=0)


def arguments() -> argparse.ArgumentParser:
    """What the edge says on the command line."""
    parser = argparse.ArgumentParser(prog="hcrs.worker", description=__doc__)
    parser.add_argument("app")
    parser.add_argument("--links", type=links_of, required=True, metavar="SOCKET:MEMORY,...")
    parser.add_argument("--loaded-files", type=int, metavar="DESCRIPTOR", help="where to tell which they are")
    parser.add_argument("--pulse", type=int, metavar="DESCRIPTOR", help="where it is asked whether this process lives")
    parser.add_argument("--crash", type=int, metavar="DESCRIPTOR", help="where to write the stack of a crash")
    parser.add_argument("--worker-class", choices=("asyncio", "uvloop", "trio"), required=True)
    parser.add_argument("--root-path", required=True)
    parser.add_argument("--lifespan", choices=("auto", "on", "off"), required=True)
    parser.add_argument("--startup-timeout", type=float, required=True, metavar="SECONDS")
    parser.add_argument("--shutdown-timeout", type=float, required=True, metavar="SECONDS")
    parser.add_argument("--workers", type=int, required=True, metavar="NUMBER", help="of such processes")
    parser.add_argument("--wsgi-threads", type=int, default=WSGI_THREADS)
    parser.add_argument("--wsgi-max-body-size", type=int, required=True, metavar="BYTES")
    parser.add_argument("--loglevel", required=True)
    parser.add_argument("--errorlog", required=True)
    parser.add_argument("--logconfig", default="")
    parser.add_argument("--statsd-host", default="")
    parser.add_argument("--statsd-prefix", default="")
    parser.add_argument("--dogstatsd-tags", default="")
    return parser


def links_of(text: str) -> list[list[str]]:
    """Splits ``3:4,5:6``."""
    links = [link.split(":") for link in text.split(",")]
    if not all(len(link) == 2 and all(map(str.isdecimal, link)) for link in links):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form SOCKET:MEMORY,...")
    return links


def import_loop(worker_class: str) -> None:
    """Imports what an event loop needs. If that is not installed, ``new_loop`` says so: WSGI apps need none."""
    with suppress(ModuleNotFoundError):
        if worker_class == "trio":
            import hcrs.trio_lifespan
            import hcrs.trio_loop
            import hcrs.trio_serving  # noqa: F401
        elif worker_class == "uvloop":
            import uvloop  # noqa: F401


def new_loop(worker_class: str) -> Any:
    """The event loop that the operator has asked for."""
    if worker_class == "asyncio":
        return asyncio.new_event_loop()
    try:
        if worker_class == "trio":
            from hcrs.trio_loop import TrioLoop

            return TrioLoop()
        import uvloop
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"worker_class is '{worker_class}', but {worker_class} is not installed for {sys.executable}:"
            f" run 'pip install {worker_class}' or choose 'asyncio'"
        ) from error
    return uvloop.new_event_loop()


class AsgiWorker:
    """Runs an ASGI app on a loop of its own, from lifespan startup to lifespan shutdown."""

    def __init__(
        self, args: argparse.Namespace, app: KnownApp, loop: Any, links: list[_hcrs.Link], handlers: AppHandlers
    ) -> None:
        self._args = args
        self._app = app.app
        self._loop = loop
        self._handlers = handlers
        self._serving = self._new_serving(app, links)

    def _new_serving(self, app: KnownApp, links: list[_hcrs.Link]) -> AsgiServing:
        return AsgiServing(
            app.app,
            links,
            event_loop=self._loop,
            root_path=self._args.root_path,
            is_guess=app.is_guess,
            stopping=self._on_stopping,
        )

    def _on_stopping(self, number: int) -> None:
        # Not at once, because a handler may do whatever it likes, and a link calls.
        self._loop.call_soon(partial(self._handlers.call, number))

    def answering(self, pulse: _hcrs.Pulse) -> Answering:
        """What answers pings: the loop, in the end."""
        return Answering(pulse, loop=self._loop)

    def run(self) -> int:
        """Serves until the edge says that this is enough; gives the exit code."""
        asyncio.set_event_loop(self._loop)
        lifespan = Lifespan(self._app, self._args.lifespan)
        self._loop.run_until_complete(lifespan.startup(self._args.startup_timeout))
        self._serving.start(lifespan.state)
        self._run(self._loop.create_task(self._until_over()))
        code: int = self._run(self._loop.create_task(self._stop(lifespan)))
        return code

    def _run(self, future: asyncio.Future[T]) -> T:
        """Runs the loop until ``future`` is done."""
        while not future.done():
            try:
                result: T = self._loop.run_until_complete(future)
                return result
            except (SystemExit, KeyboardInterrupt):
                continue  # raised by a request's task, which has logged it; the other requests go on
            except RuntimeError:
                if future.done() or self._loop.is_closed():
                    raise
                continue  # the app has stopped the loop, perhaps by its handler of SIGTERM; the requests go on
        return future.result()

    async def _until_over(self) -> None:
        # As a task, because anyio ties its threads to the one that the loop runs for: without one each request would
        # start a thread of its own, and end it. An app that cancels whatever task there is does not end it.
        while not self._serving.over.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([self._serving.over])

    async def _stop(self, lifespan: Lifespan) -> int:
        await self._serving.finish()
        code = int(self._serving.link_is_broken)
        try:
            await lifespan.shutdown(self._args.shutdown_timeout)
        except (LifespanFailureError, LifespanTimeoutError) as error:
            log.error("%s", error)
            code = 1
        end_soon(code)
        await self._loop.shutdown_asyncgens()
        return code


class TrioWorker(AsgiWorker):
    """Serves an ASGI app on all links of a worker, on trio."""

    def run(self) -> int:
        """Runs the app from lifespan startup to lifespan shutdown."""
        import trio

        return trio.run(self._main)

    def _new_serving(self, app: KnownApp, links: list[_hcrs.Link]) -> AsgiServing:
        from hcrs.trio_serving import TrioServing

        return TrioServing(
            app.app,
            links,
            event_loop=self._loop,
            root_path=self._args.root_path,
            is_guess=app.is_guess,
            stopping=self._on_stopping,
        )

    async def _main(self) -> int:
        import trio

        from hcrs.trio_lifespan import TrioLifespan

        failure: Exception | None = None
        code = 1
        async with trio.open_nursery() as nursery:
            self._loop.run_in(nursery)
            lifespan = TrioLifespan(self._app, nursery, self._args.lifespan)
            try:
                await lifespan.startup(self._args.startup_timeout)
                self._serving.start(lifespan.state)
                await self._serving.over.wait()
                code = await self._stop(lifespan)
            except Exception as error:
                failure = error  # raised outside of the nursery, which would wrap it in a group
            await lifespan.end()
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return code

    async def _stop(self, lifespan: Lifespan) -> int:
        has_finished = await self._serving.finish()
        code = int(self._serving.link_is_broken)
        try:
            await lifespan.shutdown(self._args.shutdown_timeout)
        except (LifespanFailureError, LifespanTimeoutError) as error:
            log.error("%s", error)
            code = 1
        if not has_finished:
            # A nursery does not end before its tasks, and these are shielded against being cancelled.
            leave(code)
        end_soon(code)
        return code


class WsgiWorker:
    """Runs a WSGI app in a pool of threads."""

    def __init__(
        self, args: argparse.Namespace, app: KnownApp, links: list[_hcrs.Link], handlers: AppHandlers
    ) -> None:
        self._handlers = handlers
        self._serving = WsgiServing(
            app.app,
            links,
            root_path=args.root_path,
            threads=args.wsgi_threads,
            max_body_size=args.wsgi_max_body_size,
            multiprocess=args.workers > 1,
            is_guess=app.is_guess,
        )

    def answering(self, pulse: _hcrs.Pulse) -> Answering:
        """What answers pings: the pool, in the end."""
        return Answering(pulse, is_free=self._serving.has_free_thread)

    def run(self) -> int:
        """Runs the app until the edge says that this is enough."""
        self._serving.start()
        number = self._serving.wait_for_signal()
        if number is not None:
            self._handlers.call(number)
        self._serving.wait()
        if not self._serving.finish():
            # A thread cannot be ended from outside, and an interpreter does not end well around one that runs.
            leave(0)
        end_soon(0)
        return 0


if __name__ == "__main__":
    sys.exit(main())
