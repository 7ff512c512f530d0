"""The program of a worker process, with the arguments ``APP --links 3:4 ...``.

The edge starts it with the descriptors of its links inherited, and without the working directory in ``sys.path``, so
that the imports here do not find files of the app.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from hcrs import _hcrs, logs, signals
from hcrs.app_interface import ServableApp
from hcrs.app_path import AppPath, NoAppError, load
from hcrs.asgi_runner import AsgiRunner
from hcrs.hooks import HookError, Hooks
from hcrs.lifespan import Lifespan, LifespanFailureError, LifespanTimeoutError
from hcrs.loaded_files import LoadedFiles
from hcrs.process_exit import exit_now, exit_soon
from hcrs.process_title import name_process
from hcrs.pulse import PulseThread
from hcrs.stop_signals import AppHandlers
from hcrs.template import EdgeSocket, Template
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
    if args.captured:
        write_line_by_line()
    if args.template is not None:
        return run_template(args, handlers)
    try:
        ends = EdgeEnds.take(args.links, args.pulse, args.loaded_files)
    except OSError as error:  # an edge of another version of hcrs; the message says what to do
        sys.exit(str(error))
    return serve(args, handlers, ends, args.slot, partial(load_app, args))


def run_template(args: argparse.Namespace, handlers: AppHandlers) -> int:
    """Loads the app and forks workers from this process, as the edge orders them. Returns the exit code."""
    edge = EdgeSocket(args.template)
    files = None if args.loaded_files is None else LoadedFiles(args.loaded_files)
    try:
        template = Template(edge)
        loaded = load_app(args)
        template.prepare()
        if files is not None:
            files.report()
        order = template.next_worker()
    except BaseException as error:  # a module may call sys.exit()
        if files is not None:
            files.report()
        edge.report_failure(reason(error))
        exit_soon(1)
        return 1
    if order is None:
        exit_soon(0)
        return 0
    if files is not None:
        files.close()
    if args.crash is not None and order.crash is not None:
        signals.redirect_crashes(order.crash)
        _hcrs.release(args.crash)
        os.close(args.crash)
    if order.output is not None:
        write_to(order.output)
    name_process(order.title, order.comm)
    args.workers = order.workers
    ends = EdgeEnds.take(order.links, order.pulse, order.loaded_files)
    return serve(args, handlers, ends, order.slot, partial(after_fork, template, loaded, order.slot))


def write_line_by_line() -> None:
    """Makes ``print`` write each line at once although standard output is a pipe: it is to be in the log in time."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # the interpreter was started without it
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def write_to(output: int) -> None:
    """Makes a pipe the standard output and the standard error of this process, in place of the template's."""
    for number in (1, 2):
        os.dup2(output, number)
    os.close(output)


def after_fork(template: Template, loaded: LoadedApp, slot: int) -> LoadedApp:
    """Makes this process, which was forked from the template, a worker. Returns the app that it serves."""
    template.become_worker()
    loaded.hooks.post_fork(slot)
    return loaded


class LoadedApp(NamedTuple):
    """The app with the hooks of its workers."""

    app: ServableApp
    hooks: Hooks


def load_app(args: argparse.Namespace) -> LoadedApp:
    """Imports the app and the hooks, and sets up logging."""
    import_loop(args.worker_class)
    path = AppPath.parse(args.app)
    sys.path.insert(behind_standard_library(), os.getcwd())
    path.add_to_sys_path()  # the configuration of logging may name modules of the app
    logs.configure(
        args.loglevel,
        args.errorlog,
        args.logconfig,
        args.statsd_host,
        args.statsd_prefix,
        args.dogstatsd_tags,
        args.stderr,
    )
    app = load(path)
    hooks = Hooks(post_fork=args.post_fork, worker_start=args.worker_start, worker_exit=args.worker_exit)
    return LoadedApp(app, hooks)


class EdgeEnds(NamedTuple):
    """The worker's ends of what joins it with the edge."""

    links: list[_hcrs.Link]
    pulse: _hcrs.Pulse | None
    files: LoadedFiles | None

    @classmethod
    def take(cls, links: list[tuple[int, int]], pulse: int | None, loaded_files: int | None) -> EdgeEnds:
        """Takes ownership of descriptors. Raises ``OSError`` if the edge is one of another version."""
        return cls(
            [_hcrs.Link(socket, memory) for socket, memory in links],
            None if pulse is None else _hcrs.Pulse(pulse),
            None if loaded_files is None else LoadedFiles(loaded_files),
        )


def serve(
    args: argparse.Namespace, handlers: AppHandlers, ends: EdgeEnds, slot: int, load: Callable[[], LoadedApp]
) -> int:
    """Serves the app that ``load`` returns. Returns the exit code."""
    try:
        app, hooks = load()
        if ends.files is not None:
            ends.files.keep_reporting()
        hooks.worker_start(slot)
        worker = new_worker(args, app, ends.links, AppHooks(handlers, partial(hooks.worker_exit, slot)))
        return run(worker, ends.pulse)
    except BaseException as error:  # a module may call sys.exit()
        if ends.files is not None:
            ends.files.report()
        why = reason(error)
        for link in ends.links:
            link.fail(why)
        exit_soon(1)
        return 1


def reason(error: BaseException) -> str:
    """Returns the reason why the app cannot be served, for the log of the edge."""
    # A traceback through this package does not help with these.
    is_plain = isinstance(error, (NoAppError, HookError, logs.LogConfigError))
    trace = frames_of_app(error.__traceback__)
    why = f"{error}\n" if is_plain else "".join(traceback.format_exception(type(error), error, trace))
    if isinstance(error, ImportError):
        why += f"The interpreter is {sys.executable}.\n"
    return why


def frames_of_app(trace: TracebackType | None) -> TracebackType | None:
    """Returns the frames from the app's module on. Those above, of this package and of the import system, are the same for
    every app."""
    above = os.path.dirname(__file__)
    shown = trace
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        is_import = file == importlib.__file__ or file.startswith("<frozen importlib.")
        if not is_import and os.path.dirname(file) != above:
            break
        trace = trace.tb_next
        if is_import:
            shown = trace
    return shown


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
    parser.add_argument("--template", type=int, metavar="DESCRIPTOR", help="socket over which workers are ordered")
    parser.add_argument("--links", type=links_of, default=[], metavar="SOCKET:MEMORY,...")
    parser.add_argument("--slot", type=int, default=0, help="number of the configured worker")
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
    parser.add_argument("--post-fork", default="", metavar="MODULE:FUNCTION")
    parser.add_argument("--worker-start", default="", metavar="MODULE:FUNCTION")
    parser.add_argument("--worker-exit", default="", metavar="MODULE:FUNCTION")
    parser.add_argument("--workers", type=int, required=True, help="number of worker processes")
    parser.add_argument("--wsgi-threads", type=int, default=WSGI_THREADS)
    parser.add_argument("--wsgi-max-body-size", type=int, required=True, metavar="BYTES")
    parser.add_argument("--loglevel", required=True)
    parser.add_argument("--errorlog", required=True)
    parser.add_argument("--captured", action="store_true", help="standard output and error are a pipe to the edge")
    parser.add_argument("--stderr", type=int, metavar="DESCRIPTOR", help="standard error of the edge, if it is the log")
    parser.add_argument("--logconfig", default="")
    parser.add_argument("--statsd-host", default="")
    parser.add_argument("--statsd-prefix", default="")
    parser.add_argument("--dogstatsd-tags", default="")
    return parser


def links_of(text: str) -> list[tuple[int, int]]:
    """Parses ``3:4,5:6``."""
    links = [link.split(":") for link in text.split(",")]
    if not all(len(link) == 2 and all(map(str.isdecimal, link)) for link in links):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form SOCKET:MEMORY,...")
    return [(int(socket), int(memory)) for socket, memory in links]


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


class AppHooks(NamedTuple):
    """Functions of the app and of the operator that a worker calls."""

    #: The app's handlers of signals that stop a server.
    handlers: AppHandlers
    #: Calls ``worker_exit``. Returns False if it has raised.
    on_exit: Callable[[], bool]

    def exit_code(self, code: int) -> int:
        """Calls ``worker_exit``. Returns the exit code of a worker that would end with ``code`` without it."""
        return code if self.on_exit() else 1


def new_worker(
    args: argparse.Namespace, app: ServableApp, links: list[_hcrs.Link], hooks: AppHooks
) -> AsgiWorker | WsgiWorker:
    """Creates the worker for the app's interface and the event loop of ``--worker-class``."""
    if app.interface == "wsgi":
        return WsgiWorker(args, app, links, hooks)
    loop = new_loop(args.worker_class)
    if args.worker_class == "trio":
        from hcrs.trio.runner import TrioRunner

        return TrioWorker(args, app, loop, links, hooks, TrioRunner)
    return AsgiWorker(args, app, loop, links, hooks, AsgiRunner)


class AsgiWorker:
    """An ASGI app on a loop of asyncio, from lifespan startup to lifespan shutdown."""

    def __init__(
        self,
        args: argparse.Namespace,
        app: ServableApp,
        loop: Any,
        links: list[_hcrs.Link],
        hooks: AppHooks,
        runner_type: type[AsgiRunner],
    ) -> None:
        self._args = args
        self._app = app.app
        self._loop = loop
        self._hooks = hooks
        self._runner = runner_type(
            app, links, event_loop=loop, root_path=args.root_path, on_stopping=self._on_stopping
        )

    def _on_stopping(self, number: int) -> None:
        # Deferred, because the caller is a link, and the handler may do anything.
        self._loop.call_soon(partial(self._hooks.handlers.call, number))

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
        code = self._hooks.exit_code(code)
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
        self, args: argparse.Namespace, app: ServableApp, links: list[_hcrs.Link], hooks: AppHooks
    ) -> None:
        self._hooks = hooks
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
            self._hooks.handlers.call(number)
        self._runner.wait()
        has_finished = self._runner.finish()
        code = self._hooks.exit_code(0)
        if not has_finished:
            # A thread cannot be killed, and the interpreter cannot shut down cleanly while one runs.
            exit_now(code)
        exit_soon(code)
        return code


if __name__ == "__main__":
    sys.exit(main())
