"""The measurements, and the ratios that are to be reached. Names are subject_protocol_variant."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from echo import Chat
from load import Shape

MIB = 1 << 20
TRANSFER_BYTES = 4 * MIB
FILE_BYTES = MIB
IDLE_CONNECTIONS = 1000
# One request in a hundred takes 100 ms, 500 of them are sent in a second: half of one
# worker's time when they block it, a quarter of two.
MIXED_PER_SECOND = 500
# Below the 100 streams that Hypercorn and Gunicorn allow, and more than 500/s pile up in 100 ms.
MIXED_STREAMS = 90

ASGI = ("hcrs", "granian", "uvicorn", "hypercorn", "gunicorn")
ASGI_H2 = ("hcrs", "granian", "hypercorn", "gunicorn")
PATHSEND = ("hcrs", "granian")
WSGI = ("hcrs", "granian", "gunicorn")
FILES = ("hcrs", "nginx", "h2o", "caddy")
PROXIES = ("hcrs", "nginx", "haproxy")
WEBSOCKET = ("hcrs", "granian", "uvicorn", "uvicorn_wsproto", "hypercorn")


@dataclass(frozen=True)
class Scenario:
    """One row of the plan: an app, how it is asked, and which servers can serve it."""

    name: str
    title: str
    app: str
    servers: tuple[str, ...]
    shape: Shape = field(default_factory=Shape)
    chat: Chat = field(default_factory=Chat)
    kind: str = "load"  # load, transfer, mixed, echo, idle or direct: what is done and reported
    interface: str = "asgi"
    ready_path: str = "/"
    tls: bool = True
    workers: int = 1
    wsgi_threads: int = 4
    transfer: int = TRANSFER_BYTES  # bytes that a request of kind transfer moves
    pathsend: bool = False  # hcrs offers http.response.pathsend
    files: bool = False  # a folder of files is served, and no app
    proxied: bool = False  # another server answers, and no app
    coding: str = ""  # in which responses are sent
    routes: int = 0  # of hcrs, which take none of the requests


def plan(upload: Path) -> list[Scenario]:
    """All scenarios; `upload` is the file of 4 MiB that uploads send."""
    return [
        *_small("bare", "Bare ASGI", "bare:app", "/"),
        *_small("fastapi", "FastAPI", "fastapi_item:app", "/items/42?name=bench"),
        Scenario(
            "fastapi_direct",
            "FastAPI called in a loop, no server",
            "fastapi_item:app",
            servers=("direct",),
            kind="direct",
        ),
        *_flask(),
        *_transfer("down_h2_{}", "4 MiB download in 64 KiB messages", "/down", None),
        *_transfer("whole_h2_{}", "4 MiB download in one message", "/whole", None),
        *_transfer("up_h2_{}", "4 MiB upload", "/up", upload),
        *_file("file", "FileResponse of 1 MiB", ASGI, ASGI_H2),
        *_file("pathsend", "The same file by its path", PATHSEND, PATHSEND, pathsend=True),
        _mixed("block", "slow ones hold the event loop (time.sleep)"),
        _mixed("wait", "slow ones await (asyncio.sleep)"),
        *_echo(),
        *_static(),
        *_proxied(),
        *_coded(),
        *_h3(upload),
        Scenario(
            "bare_h2_8x32_routes",
            "Bare ASGI behind ten routes that do not match, h2 TLS, 8 connections x 32 streams",
            "bare:app",
            servers=("hcrs",),
            shape=Shape(connections=8, streams=32),
            routes=10,
        ),
        Scenario(
            "idle_h2_1000",
            f"Memory at rest and with {IDLE_CONNECTIONS:,} idle connections, h2 TLS",
            "bare:app",
            servers=ASGI_H2,
            kind="idle",
        ),
        Scenario(
            "idle_h3_1000",
            f"Memory at rest and with {IDLE_CONNECTIONS:,} idle connections, h3",
            "bare:app",
            servers=("hcrs", "hypercorn"),
            shape=Shape(h3=True),
            kind="idle",
        ),
    ]


def _small(name: str, title: str, app: str, path: str) -> list[Scenario]:
    over_h1 = Scenario(
        f"{name}_h1_c64",
        f"{title}, h1 cleartext, 64 connections",
        app,
        servers=ASGI,
        shape=Shape(h1=True, connections=64, paths=(path,)),
        ready_path=path,
        tls=False,
    )
    over_h2 = [
        Scenario(
            f"{name}_h2_{connections}x{streams}",
            f"{title}, h2 TLS, {_count(connections, 'connection')} x {_count(streams, 'stream')}",
            app,
            servers=ASGI_H2,
            shape=Shape(connections=connections, streams=streams, paths=(path,)),
            ready_path=path,
        )
        for connections, streams in ((8, 32), (1, 64), (1, 1))
    ]
    return [over_h1, *over_h2]


def _flask() -> list[Scenario]:
    return [
        Scenario(
            f"flask_h1_{threads}t",
            f"Flask, h1 cleartext, 64 connections, {_count(threads, 'thread')}",
            "flask_text:app",
            servers=WSGI,
            shape=Shape(h1=True, connections=64),
            interface="wsgi",
            tls=False,
            wsgi_threads=threads,
        )
        for threads in (4, 1)
    ]


def _transfer(name: str, title: str, path: str, upload: Path | None) -> list[Scenario]:
    return [
        Scenario(
            name.format(f"{connections}x{streams}"),
            f"{title}, h2 TLS, {_count(connections, 'connection')} x {_count(streams, 'stream')}",
            "bare:app",
            servers=ASGI_H2,
            shape=Shape(
                connections=connections, streams=streams, paths=(path,), upload=upload
            ),
            kind="transfer",
        )
        for connections, streams in ((4, 4), (1, 1))
    ]


def _file(
    name: str, words: str, servers: tuple[str, ...], servers_h2: tuple[str, ...], *, pathsend: bool = False
) -> list[Scenario]:
    told = {"app": "file_response:app", "kind": "transfer", "ready_path": "/file", "transfer": FILE_BYTES}
    told["pathsend"] = pathsend
    over_h2 = [
        Scenario(
            f"{name}_h2_{connections}x{streams}",
            f"{words}, h2 TLS, {_count(connections, 'connection')} x {_count(streams, 'stream')}",
            servers=servers_h2,
            shape=Shape(connections=connections, streams=streams, paths=("/file",)),
            **told,
        )
        for connections, streams in ((4, 4), (1, 1))
    ]
    over_h1 = Scenario(
        f"{name}_h1_c16",
        f"{words}, h1 cleartext, 16 connections",
        servers=servers,
        shape=Shape(h1=True, connections=16, paths=("/file",)),
        tls=False,
        **told,
    )
    return [*over_h2, over_h1]


def _static() -> list[Scenario]:
    """Files of a folder, without an app."""
    small = Scenario(
        "static_h2_8x32",
        "File of 25 bytes, h2 TLS, 8 connections x 32 streams",
        "",
        servers=FILES,
        shape=Shape(connections=8, streams=32, paths=("/small.txt",)),
        ready_path="/small.txt",
        files=True,
    )
    told = {"kind": "transfer", "transfer": FILE_BYTES, "ready_path": "/large.bin", "files": True}
    return [
        small,
        Scenario(
            "static_h2_4x4",
            "File of 1 MiB, h2 TLS, 4 connections x 4 streams",
            "",
            servers=FILES,
            shape=Shape(connections=4, streams=4, paths=("/large.bin",)),
            **told,
        ),
        Scenario(
            "static_h1_c16",
            "File of 1 MiB, h1 cleartext, 16 connections",
            "",
            servers=FILES,
            shape=Shape(h1=True, connections=16, paths=("/large.bin",)),
            tls=False,
            **told,
        ),
    ]


def _proxied() -> list[Scenario]:
    return [
        Scenario(
            "proxied_h1_c64",
            "Proxied to a small upstream, h1 cleartext, 64 connections",
            "",
            servers=PROXIES,
            shape=Shape(h1=True, connections=64),
            tls=False,
            proxied=True,
        ),
        Scenario(
            "proxied_h2_8x32",
            "Proxied to a small upstream, h2 TLS, 8 connections x 32 streams",
            "",
            servers=PROXIES,
            shape=Shape(connections=8, streams=32),
            proxied=True,
        ),
    ]


def _coded() -> list[Scenario]:
    return [
        Scenario(
            f"coded_h2_{coding}",
            f"JSON of 10 KiB compressed with {coding} at each server's own level, h2 TLS, 8 connections x 8 streams",
            "",
            servers=servers,
            shape=Shape(connections=8, streams=8, paths=("/data.json",), fields=(f"accept-encoding: {coding}",)),
            ready_path="/data.json",
            files=True,
            coding=coding,
        )
        for coding, servers in (
            ("gzip", ("hcrs", "nginx", "caddy")),
            ("zstd", ("hcrs", "caddy")),
            ("br", ("hcrs",)),
        )
    ]


def _h3(upload: Path) -> list[Scenario]:
    """Over HTTP/3, beside the only other server of Python apps that speaks it, and Caddy."""
    told = {"servers": ("hcrs", "hypercorn"), "kind": "transfer"}
    small = Shape(h3=True, connections=8, streams=32)
    return [
        Scenario(
            "bare_h3_8x32",
            "Bare ASGI, h3, 8 connections x 32 streams",
            "bare:app",
            servers=("hcrs", "hypercorn"),
            shape=small,
        ),
        *[
            Scenario(
                f"{stem}_h3_{connections}x{streams}",
                f"{title}, h3, {_count(connections, 'connection')} x {_count(streams, 'stream')}",
                "bare:app",
                shape=Shape(h3=True, connections=connections, streams=streams, paths=(path,), upload=body),
                **told,
            )
            for stem, title, path, body in (
                ("down", "4 MiB download in 64 KiB messages", "/down", None),
                ("up", "4 MiB upload", "/up", upload),
            )
            for connections, streams in ((4, 4), (1, 1))
        ],
        Scenario(
            "static_h3_8x32",
            "File of 25 bytes, h3, 8 connections x 32 streams",
            "",
            servers=("hcrs", "caddy"),
            shape=replace(small, paths=("/small.txt",)),
            ready_path="/small.txt",
            files=True,
        ),
        Scenario(
            "static_h3_4x4",
            "File of 1 MiB, h3, 4 connections x 4 streams",
            "",
            servers=("hcrs", "caddy"),
            shape=Shape(h3=True, connections=4, streams=4, paths=("/large.bin",)),
            kind="transfer",
            transfer=FILE_BYTES,
            ready_path="/large.bin",
            files=True,
        ),
    ]


def _echo() -> list[Scenario]:
    return [
        Scenario(
            f"ws_echo_{message_bytes}",
            f"WebSocket echo of {words}, h1 cleartext, 64 connections",
            "echo:app",
            servers=WEBSOCKET,
            chat=Chat(connections=64, message_bytes=message_bytes),
            kind="echo",
            tls=False,
        )
        for message_bytes, words in ((32, "32-byte texts"), (4096, "4 KiB texts"))
    ]


def _mixed(how: str, words: str) -> Scenario:
    return Scenario(
        f"mixed_h2_{how}",
        f"Slow and fast requests on 1 h2 TLS connection, 2 workers; {words}",
        "bare:app",
        servers=ASGI_H2,
        shape=Shape(
            streams=MIXED_STREAMS,
            paths=("/fast",) * 99 + (f"/{how}",),
            per_second=MIXED_PER_SECOND,
        ),
        kind="mixed",
        workers=2,
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Goal:
    """A ratio between two cells of one round that is to be at least, or at most, so much.

    `better` says which way the metric improves: "more" divides ours by theirs, "less" theirs
    by ours, so a ratio above 1 is in our favour; "floor" divides ours by theirs, to be at most.
    """

    words: str
    scenario: str
    metric: str
    against: str
    better: str
    bound: float
    against_scenario: str = ""  # the same unless said


GOALS = [
    Goal("bare ASGI, h2 TLS 8 x 32, requests/s", "bare_h2_8x32", "rate", "granian", "more", 2.5),
    Goal("bare ASGI, h2 TLS 8 x 32, CPU/request", "bare_h2_8x32", "cpu_us", "granian", "less", 2.5),
    Goal("bare ASGI, h2 TLS 1 x 64, requests/s", "bare_h2_1x64", "rate", "granian", "more", 4),
    Goal("bare ASGI, h2 TLS 1 x 1, mean latency", "bare_h2_1x1", "mean_us", "granian", "less", 1.5),
    Goal("bare ASGI, h1 64 connections, requests/s", "bare_h1_c64", "rate", "granian", "more", 1.5),
    Goal("bare ASGI, h1 64 connections, requests/s", "bare_h1_c64", "rate", "uvicorn", "more", 3),
    Goal("FastAPI, h2 TLS 8 x 32, requests/s", "fastapi_h2_8x32", "rate", "granian", "more", 1.6),
    Goal("FastAPI, h2 TLS 8 x 32, requests/s", "fastapi_h2_8x32", "rate", "hypercorn", "more", 8),
    Goal(
        "FastAPI through hcrs (h2 TLS 8 x 32), CPU/request",
        "fastapi_h2_8x32",
        "cpu_us",
        "direct",
        "floor",
        1.2,
        against_scenario="fastapi_direct",
    ),
    Goal("Flask, h1, 4 threads, requests/s", "flask_h1_4t", "rate", "granian", "more", 1.2),
    Goal("Flask, h1, 4 threads, requests/s", "flask_h1_4t", "rate", "gunicorn", "more", 2),
    Goal("Flask, h1, 1 thread, requests/s", "flask_h1_1t", "rate", "granian", "more", 1.2),
    Goal("Flask, h1, 1 thread, requests/s", "flask_h1_1t", "rate", "gunicorn", "more", 2),
    *[
        Goal(f"4 MiB {words}, h2 TLS {shape}, bytes/s", name, "bytes_per_s", "granian", "more", 1.5)
        for words, stem in (("down", "down_h2"), ("up", "up_h2"))
        for shape, name in (("4 x 4", f"{stem}_4x4"), ("1 x 1", f"{stem}_1x1"))
    ],
    *[
        Goal(f"1 MiB file by its path, h2 TLS {shape}, bytes/s", name, "bytes_per_s", "granian", "more", 2)
        for shape, name in (("4 x 4", "pathsend_h2_4x4"), ("1 x 1", "pathsend_h2_1x1"))
    ],
    Goal("25-byte file, h2 TLS 8 x 32, CPU/request", "static_h2_8x32", "cpu_us", "nginx", "less", 2.5),
    Goal("25-byte file, h2 TLS 8 x 32, CPU/request", "static_h2_8x32", "cpu_us", "h2o", "floor", 1.6),
    Goal("25-byte file, h2 TLS 8 x 32, CPU/request", "static_h2_8x32", "cpu_us", "caddy", "less", 15),
    *[
        Goal(f"1 MiB file, {words}, {metric_words}", name, metric, "nginx", better, 1)
        for words, name in (("h2 TLS 4 x 4", "static_h2_4x4"), ("h1 16 connections", "static_h1_c16"))
        for metric_words, metric, better in (("bytes/s", "bytes_per_s", "more"), ("CPU/byte", "cpu_us", "less"))
    ],
    *[
        Goal(f"Proxied, {words}, CPU/request", name, "cpu_us", peer, "less", bound)
        for words, name in (("h1 64 connections", "proxied_h1_c64"), ("h2 TLS 8 x 32", "proxied_h2_8x32"))
        for peer, bound in (("nginx", 1.3), ("haproxy", 1.0))
    ],
    Goal("10 KiB of JSON with gzip, requests/s", "coded_h2_gzip", "rate", "nginx", "more", 1),
    Goal("10 KiB of JSON with zstd, requests/s", "coded_h2_zstd", "rate", "caddy", "more", 2),
    Goal(
        "bare ASGI behind ten routes, h2 TLS 8 x 32, CPU/request",
        "bare_h2_8x32_routes",
        "cpu_us",
        "hcrs",
        "floor",
        1.02,
        against_scenario="bare_h2_8x32",
    ),
    Goal("bare ASGI, h3 8 x 32, requests/s", "bare_h3_8x32", "rate", "hypercorn", "more", 20),
    Goal(
        "bare ASGI, h3 against h2, 8 x 32, CPU/request of the edge",
        "bare_h3_8x32",
        "edge_cpu_us",
        "hcrs",
        "floor",
        3,
        against_scenario="bare_h2_8x32",
    ),
    Goal(
        "an idle connection, h3 against h2, memory of the edge",
        "idle_h3_1000",
        "edge_connection",
        "hcrs",
        "floor",
        2,
        against_scenario="idle_h2_1000",
    ),
    *[
        Goal(f"WebSocket echo, {words}, messages/s", f"ws_echo_{size}", "rate", peer, "more", 2)
        for size, words in ((32, "32 bytes"), (4096, "4 KiB"))
        for peer in WEBSOCKET[1:]
    ],
]

# Upper bounds on hcrs itself: words, scenario, metric, bytes.
CEILINGS = [
    ("RSS of the edge at rest", "idle_h2_1000", "edge_rest", 15e6),
    ("RSS of the edge at rest with a quic_bind", "idle_h3_1000", "edge_rest", 20e6),
    ("RSS of the edge with 1,000 idle TLS h2 connections", "idle_h2_1000", "edge_held", 60e6),
]
