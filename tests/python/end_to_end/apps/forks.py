"""An app that forks: its children inherit what the worker holds, and may outlive it."""

import asyncio
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any
from urllib.parse import parse_qs

pool = None


async def answer(send: Any, body: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def fork(send: Any, query: Any) -> None:
    """Forks a child that only sleeps, and tells its number."""
    child = os.fork()
    if child == 0:
        time.sleep(120)
        os._exit(0)
    await answer(send, str(child).encode())


async def use_pool(send: Any, query: Any) -> None:
    """Runs something in a pool of forked processes, and answers with the numbers of all of them."""
    global pool
    if pool is None:
        pool = ProcessPoolExecutor(2, multiprocessing.get_context("fork"))
    await asyncio.get_running_loop().run_in_executor(pool, os.getpid)
    await answer(send, " ".join(str(child.pid) for child in multiprocessing.active_children()).encode())


async def both_answer(send: Any, query: Any) -> None:
    """Forks a child that answers the request as well, as if it were its own."""
    child = os.fork()
    await answer(send, (b"parent " if child else b"child ") * 4000)  # of a size that passes through a block
    if child == 0:
        return  # into a loop that finds its links closed
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    with open(query["file"], "w") as file:
        file.write(str(os.waitstatus_to_exitcode(status)))


async def sleep(send: Any, query: Any) -> None:
    """Answers nothing for a long time, which it says in a file."""
    with open(query["file"], "w") as file:
        file.write(str(os.getpid()))
    await asyncio.sleep(120)


async def leave_an_orphan(send: Any, query: Any) -> None:
    """Leaves a process behind whose parent has ended."""
    await (await asyncio.create_subprocess_exec("sh", "-c", "sleep 0.1 & exit 0")).wait()
    await answer(send, b"left")


async def number(send: Any, query: Any) -> None:
    await answer(send, str(os.getpid()).encode())


ROUTES = {"/fork": fork, "/pool": use_pool, "/both-answer": both_answer, "/orphan": leave_an_orphan, "/sleep": sleep, "/": number}


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    await ROUTES[scope["path"]](send, query)


def wsgi(environ: Any, start_response: Any) -> Any:
    """The same for WSGI, as far as it is of interest."""
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/fork":
        child = os.fork()
        if child == 0:
            time.sleep(120)
            os._exit(0)
        return [str(child).encode()]
    if environ["PATH_INFO"] == "/sleep":
        with open(query["file"], "w") as file:
            file.write(str(os.getpid()))
        time.sleep(120)
    return [str(os.getpid()).encode()]
