"""The program of a worker process, with the arguments ``APP --links 3:4 ...``.

The edge starts it with the descriptors of its links inherited, and without the working directory in ``sys.path``, so
that the imports here do not find files of the app.
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
from hcrs.app_interface import ServableApp
from hcrs.app_path import AppPath, NoAppError, load
from hcrs.asgi_runner import AsgiRunner
from hcrs.lifespan import Lifespan, LifespanFailureError, LifespanTimeoutError
from hcrs.loaded_files import LoadedFiles
from hcrs.process_exit import exit_now, exit_soon
from hcrs.process_title import name_process
from hcrs.pulse import PulseThread
from hcrs.stop_signals import AppHandlers
from hcrs.wsgi_runner import WSGI_THREADS, WsgiRunner

log = logging.getLogger("hcrs.error")
T = TypeVar("T")


def main() -> int:
    """Serves the app until the edge ends the worker. Returns the exit code."""
    args = arguments().parse_args()
    if args.title:
        name_process(args.title, args.comm)
    signals.leave_to_edge()
    handlers = AppHandlers()
    if args.crash is not None:
        signals.report_crashes(args.crash)
    _hcrs.die_with_parent()
    try:
        links = [_hcrs.Link(int(socket), int(memory)) for socket, memory in args.links]
    except OSError as error:  # an edge of another version of hcrs; the message says what to do
        sys.exit(str(error))
    pulse = None if args.pulse is None else _hcrs.Pulse(args.pulse)
    files = None if args.loaded_files is None else LoadedFiles(args.loaded_files)
    try:
        import_loop(args.worker_class)
        path = AppPath.parse(args.app)
        sys.path.insert(behind_standard_library(), os.getcwd())
        path.add_to_sys_path()  # the configuration of logging may name modules of the app
        logs.configure(
            args.loglevel, args.errorlog, args.logconfig, args.statsd_host, args.statsd_prefix, args.dogstatsd_tags
        )
        app = load(path)
        if files is not None:
            files.keep_reporting()
        return run(new_worker(args, app, links, handlers), pulse)
    except BaseException as error:  # a module may call sys.exit()
        if files is not None:
            files.report()
        # A traceback through this package does not help with these.
        is_plain = isinstance(error, (NoAppError, logs.LogConfigError))
        why = f"{error}\n" if is_plain else "".join(traceback.format_exception(error))
        if isinstance(error, ImportError):
            why += f"The interpreter is {sys.executable}.\n"
        for link in links:
            link.fail(why)
        exit_soon(1)
        return 1


def run(worker: AsgiWorker | WsgiWorker, pulse: _hcrs.Pulse | None) -> int:
    """Runs the worker, and answers the edge's pings meanwhile. Returns the exit code."""
    if pulse is None:
        return worker.run()
    pulse_thread = worker.new_pulse_thread(pulse)
    pulse_thread.start()
    try:
        return worker.run()
    finally:
        pulse_thread.close()


def behind_standard_library() -> int:
    """Returns the index in ``sys.path`` after the standard library and before installed packages."""
    library = os.path.dirname(os.__file__)
    standard = (library, os.path.join(library, "lib-dynload"))
    return max((place for place, path in enumerate(sys.path, 1) if path in standard), default=0)


def arguments() -> argparse.ArgumentParser:
    """Returns the parser of the command line. Options that the edge always passes are required, without a default."""
    parser = argparse.ArgumentParser(prog="hcrs.worker", description=__doc__)
    parser.add_argument("app")
    parser.add_argument("--links", type=links_of, required=True, metavar="SOCKET:MEMORY,...")
    parser.add_argument("--title", default="", help="command line that the system shows instead of this one")
    parser.add_argument("--comm", default="", metavar="NAME", help="short name that the system shows")
    parser.add_argument("--loaded-files", type=int, metavar="DESCRIPTOR", help="pipe to which their paths are written")
    parser.add_argument("--pulse", type=int, metavar="DESCRIPTOR", help="socket of the edge's liveness pings")
    parser.add_argument("--crash", type=int, metavar="DESCRIPTOR", help="file for the stacks of a crash")
    parser.add_argument("--worker-class", choices=("asyncio", "uvloop", "trio"), required=True)
    parser.add_argument("--root-path", required=True)
    parser.add_argument("--lifespan", choices=("auto", "on", "off"), required=True)
    parser.add_argument("--startup-timeout", type=float, required=True, metavar="SECONDS")
    parser.add_argument("--shutdown-timeout", type=float, required=True, metavar="SECONDS")
    parser.add_argument("--workers", type=int, required=True, help="number of worker processes")
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
    """Parses ``3:4,5:6``."""
    links = [link.split(":") for link in text.split(",")]
    if not all(len(link) == 2 and all(map(str.isdecimal, link)) for link in links):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form SOCKET:MEMORY,...")
    return links


def import_loop(worker_class: str) -> None:
    """Imports the modules of an event loop, if installed. Otherwise ``new_loop`` raises: WSGI apps need no loop."""
    with suppress(ModuleNotFoundError):
        if worker_class == "trio":
            import hcrs.trio.lifespan
            import hcrs.trio.runner  # noqa: F401
        elif worker_class == "uvloop":
            import uvloop  # noqa: F401


def new_loop(worker_class: str) -> Any:
    """Creates the event loop of ``worker_class``."""
    if worker_class == "asyncio":
        return asyncio.new_event_loop()
    try:
        if worker_class == "trio":
            from hcrs.trio.event_loop import TrioLoop

            return TrioLoop()
        import uvloop
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"worker_class is '{worker_class}', but {worker_class} is not installed for {sys.executable}:"
            f" run 'pip install {worker_class}' or choose 'asyncio'"
        ) from error
    return uvloop.new_event_loop()


def new_worker(
    args: argparse.Namespace, app: ServableApp, links: list[_hcrs.Link], handlers: AppHandlers
) -> AsgiWorker | WsgiWorker:
    """Creates the worker for the app's interface and the event loop of ``--worker-class``."""
    if app.interface == "wsgi":
        return WsgiWorker(args, app, links, handlers)
    loop = new_loop(args.worker_class)
    if args.worker_class == "trio":
        from hcrs.trio.runner import TrioRunner

        return TrioWorker(args, app, loop, links, handlers, TrioRunner)
    return AsgiWorker(args, app, loop, links, handlers, AsgiRunner)


class AsgiWorker:
    """An ASGI app on a loop of asyncio, from lifespan startup to lifespan shutdown."""

    def __init__(
        self,
        args: argparse.Namespace,
        app: ServableApp,
        loop: Any,
        links: list[_hcrs.Link],
        handlers: AppHandlers,
        runner_type: type[AsgiRunner],
    ) -> None:
        self._args = args
        self._app = app.app
        self._loop = loop
        self._handlers = handlers
        self._runner = runner_type(
            app, links, event_loop=loop, root_path=args.root_path, on_stopping=self._on_stopping
        )

    def _on_stopping(self, number: int) -> None:
        # Deferred, because the caller is a link, and the handler may do anything.
        self._loop.call_soon(partial(self._handlers.call, number))

    def new_pulse_thread(self, pulse: _hcrs.Pulse) -> PulseThread:
        """Creates the thread that passes pings on to the loop."""
        return PulseThread(pulse, loop=self._loop)

    def run(self) -> int:
        """Serves until the edge ends the worker. Returns the exit code."""
        asyncio.set_event_loop(self._loop)
        lifespan = Lifespan(self._app, self._args.lifespan)
        self._loop.run_until_complete(lifespan.startup(self._args.startup_timeout))
        self._runner.start(lifespan.state)
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
        # As a task, because anyio ties its threads to the task for which the loop runs: without one, each request would
        # start and end a thread of its own. An app that cancels all tasks does not end it.
        while not self._runner.over.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([self._runner.over])

    async def _stop(self, lifespan: Lifespan) -> int:
        """Ends the requests and runs the lifespan shutdown. Returns the exit code."""
        has_finished = await self._runner.finish()
        code = int(self._runner.link_is_broken)
        try:
            await lifespan.shutdown(self._args.shutdown_timeout)
        except (LifespanFailureError, LifespanTimeoutError) as error:
            log.error("%s", error)
            code = 1
        await self._begin_exit(code, has_finished)
        return code

    async def _begin_exit(self, code: int, has_finished: bool) -> None:
        exit_soon(code)
        await self._loop.shutdown_asyncgens()


class TrioWorker(AsgiWorker):
    """An ASGI app on trio, from lifespan startup to lifespan shutdown."""

    def run(self) -> int:
        """Serves until the edge ends the worker. Returns the exit code."""
        import trio

        return trio.run(self._main)

    async def _main(self) -> int:
        import trio

        from hcrs.trio.lifespan import TrioLifespan

        failure: Exception | None = None
        code = 1
        async with trio.open_nursery() as nursery:
            self._loop.run_in(nursery)
            lifespan = TrioLifespan(self._app, nursery, self._args.lifespan)
            try:
                await lifespan.startup(self._args.startup_timeout)
                self._runner.start(lifespan.state)
                await self._runner.over.wait()
                code = await self._stop(lifespan)
            except Exception as error:
                failure = error  # raised outside of the nursery, which would wrap it in a group
            await lifespan.end()
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return code

    async def _begin_exit(self, code: int, has_finished: bool) -> None:
        if not has_finished:
            # A nursery waits for its tasks, and these are shielded from cancellation.
            exit_now(code)
        exit_soon(code)


class WsgiWorker:
    """A WSGI app in a pool of threads."""

    def __init__(
        self, args: argparse.Namespace, app: ServableApp, links: list[_hcrs.Link], handlers: AppHandlers
    ) -> None:
        self._handlers = handlers
        self._runner = WsgiRunner(
            app,
            links,
            root_path=args.root_path,
            threads=args.wsgi_threads,
            max_body_size=args.wsgi_max_body_size,
            multiprocess=args.workers > 1,
        )

    def new_pulse_thread(self, pulse: _hcrs.Pulse) -> PulseThread:
        """Creates the thread that answers pings for the pool."""
        return PulseThread(pulse, is_free=self._runner.has_free_thread)

    def run(self) -> int:
        """Serves until the edge ends the worker. Returns the exit code."""
        self._runner.start()
        number = self._runner.wait_for_signal()
        if number is not None:
            self._handlers.call(number)
        self._runner.wait()
        if not self._runner.finish():
            # A thread cannot be killed, and the interpreter cannot shut down cleanly while one runs.
            exit_now(0)
        exit_soon(0)
        return 0


if __name__ == "__main__":
    sys.exit(main())
