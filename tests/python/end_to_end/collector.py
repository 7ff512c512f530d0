"""A collector of spans: a receiver of OTLP over HTTP, in both of its encodings."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from end_to_end.server import wait_until


class Span(NamedTuple):
    """A span as it has arrived."""

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    #: Empty for the first span of a trace.
    parent_id: str
    #: In nanoseconds since 1970.
    start: int
    end: int
    attributes: dict[str, Any]
    is_error: bool


class Collector:
    """What has been exported to one address."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.spans: list[Span] = []
        #: The fields of the requests that brought them, with names in lower case.
        self.requests: list[Mapping[str, str]] = []
        #: The status of its answers.
        self.status = 200

    def take(self, headers: Mapping[str, str], body: bytes) -> None:
        """Takes an export."""
        self.requests.append(headers)
        exported = ExportTraceServiceRequest()
        if headers["content-type"] == "application/json":
            # Ids are hexadecimal in OTLP, and in the JSON of protobuf they are not.
            json_format.ParseDict(_with_encoded_ids(json.loads(body)), exported)
        else:
            exported.ParseFromString(body)
        for resource in exported.resource_spans:
            service = next(pair.value.string_value for pair in resource.resource.attributes if pair.key == "service.name")
            self.spans += [
                Span(
                    service,
                    span.name,
                    span.kind,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    {pair.key: _value(pair.value) for pair in span.attributes},
                    span.status.code == 2,
                )
                for scope in resource.scope_spans
                for span in scope.spans
            ]

    def wait_for(self, service: str, count: int = 1, kind: int = 2) -> list[Span]:
        """The spans of a service of this kind (2 is that of servers), once there are ``count``."""

        def found() -> list[Span]:
            return [span for span in list(self.spans) if (span.service, span.kind) == (service, kind)]

        wait_until(lambda: len(found()) >= count, f"{count} spans of {service}")
        return found()


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


def _with_encoded_ids(node: Any) -> Any:
    if isinstance(node, list):
        return [_with_encoded_ids(entry) for entry in node]
    if isinstance(node, dict):
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode()
            if key in ("traceId", "spanId", "parentSpanId")
            else _with_encoded_ids(value)
            for key, value in node.items()
        }
    return node


@contextmanager
def collecting(tls: ssl.SSLContext | None = None) -> Iterator[Collector]:
    """Runs a collector, with TLS if there is a context."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                collector.take({name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(collector.status if self.path == "/v1/traces" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        collector = Collector(f"{'http' if tls is None else 'https'}://localhost:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, name="collector")
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
