"""An app that has children of every kind, and tells what they are born with and how they end."""

import asyncio
import ctypes
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

#: Seconds in which a child that a signal ends has ended.
PATIENCE = 3

SLEEPING = "import time; print('awake', flush=True); time.sleep(120)"


def facts(pid: int) -> Any:
    """The system's facts of a process: sets of signals as numbers, and the targets of its descriptors."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    folder = f"/proc/{pid}/fd"
    descriptors = {}
    for name in os.listdir(folder):
        try:
            descriptors[name] = os.readlink(f"{folder}/{name}")
        except FileNotFoundError:
            continue  # what lists its own folder has closed it meanwhile
    sets = {kind: numbers(status[kind]) for kind in ("SigIgn", "SigCgt", "SigBlk")}
    mapped = {line.split(maxsplit=5)[-1] for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "memfd" in line}
    return {**sets, "descriptors": descriptors, "mapped": sorted(mapped)}


def numbers(mask: str) -> list[int]:
    """The signals of a set, but for the C library's own."""
    return [number for number in signal.valid_signals() if int(mask, 16) >> (number - 1) & 1]


def own_facts() -> Any:
    return facts(os.getpid())


def tell(pipe: Any) -> None:
    pipe.send(own_facts())
    time.sleep(120)


def popen(number: int, options: Any) -> Any:
    with subprocess.Popen([sys.executable, "-c", SLEEPING], stdout=subprocess.PIPE, **options) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = facts(child.pid)
        child.send_signal(number)
        return found, end_of(child)


def end_of(child: Any) -> Any:
    try:
        return child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        return "goes on"


def process(method: str, number: int) -> Any:
    """A child of multiprocessing."""
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    child: Any = context.Process(target=tell, args=(theirs,))  # type: ignore[attr-defined]
    child.start()
    found = ours.recv()
    os.kill(child.pid, number)
    child.join(PATIENCE)
    code = child.exitcode
    if code is None:
        child.kill()
        code = "goes on"
    return found, code


def bare_fork(number: int) -> Any:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, json.dumps(own_facts()).encode())
            os.close(writing)
            time.sleep(120)
        finally:
            os._exit(77)
    os.close(writing)
    with open(reading) as file:
        found = json.load(file)
    os.kill(child, number)
    return found, waited_for(child)


def crash() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


def waited_for(child: int) -> Any:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "goes on"


def executor(method: str) -> Any:
    """A pool of processes, told to end while its processes are idle."""
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        return pool.submit(own_facts).result(30), 0


def pool(method: str) -> Any:
    """A pool that is terminated while its processes work."""
    with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context(method).Pool(1) as made:
        found = made.apply(own_facts)
        made.apply_async(work, (f"{folder}/begun",))
        while not os.path.exists(f"{folder}/begun"):  # Python's pool may wait for ever for one that is about to begin
            time.sleep(0.01)
        made.terminate()
        made.join()
    return found, 0


def work(path: str) -> None:
    Path(path).touch()
    time.sleep(120)


def made(kind: str, number: int) -> Any:
    if kind == "popen":
        return popen(number, {})
    if kind == "popen-all-descriptors":
        return popen(number, {"close_fds": False})
    if kind == "bare-fork":
        return bare_fork(number)
    what, _, method = kind.partition("-")
    if what == "executor":
        return executor(method)
    if what == "pool":
        return pool(method)
    return process(method, number)


async def answer(send: Any, body: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    query = parse_qs(scope["query_string"].decode())
    path = scope["path"][1:]
    if path == "worker":
        return await answer(send, json.dumps({"pid": os.getpid(), "arguments": sys.orig_argv, **own_facts()}).encode())
    if path == "handle":
        # The numbers of the signals that have come are answered later.
        for name in query["name"]:
            signal.signal(getattr(signal, name), lambda number, frame: came.append(number))
        return await answer(send, b"")
    if path == "handle-by-loop":
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, came.append, "of the child")
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, came.append, "own")
        return await answer(send, b"")
    if path == "send-self":
        os.kill(os.getpid(), signal.SIGUSR1)
        return await answer(send, b"")
    if path == "came":
        while len(came) < int(query["count"][0]):
            await asyncio.sleep(0.01)
        return await answer(send, json.dumps(came).encode())
    if path == "crash":
        crash()
    if path == "crash-in-a-child":
        child = os.fork()
        if child == 0:
            crash()
        return await answer(send, str(waited_for(child)).encode())
    if path == "nothing":
        return await answer(send, str(os.getpid()).encode())
    number = int(query.get("signal", ["15"])[0])
    if query.get("thread"):
        found, code = await asyncio.to_thread(made, path, number)
    else:
        found, code = made(path, number)
    await answer(send, json.dumps({**found, "code": code}).encode())


came: list[Any] = []


def wsgi(environ: Any, start_response: Any) -> Any:
    """The same for WSGI, as far as it is of interest."""
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/nothing":
        return [str(os.getpid()).encode()]
    found, code = made(environ["PATH_INFO"][1:], int(parse_qs(environ["QUERY_STRING"])["signal"][0]))
    return [json.dumps({**found, "code": code}).encode()]


class WsgiThatHandles:
    """Installs a handler of its own."""

    def __init__(self) -> None:
        signal.signal(signal.SIGUSR1, lambda number, frame: print("handled", file=sys.stderr))

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return wsgi(environ, start_response)
