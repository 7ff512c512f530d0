from collections.abc import Callable
from typing import Any, final

__all__ = [
    "AsgiLink",
    "BodyTooLargeError",
    "Link",
    "UnexpectedMessageError",
    "WsgiServer",
    "die_with_parent",
]

class UnexpectedMessageError(Exception): ...
class BodyTooLargeError(Exception): ...

def die_with_parent() -> None: ...

@final
class Link:
    def __new__(cls, socket: int, memory: int) -> Link: ...
    def fail(self, why: str) -> None: ...

@final
class AsgiLink:
    def __new__(
        cls,
        link: Link,
        app: Any,
        *,
        event_loop: Any,
        root_path: str,
        state: dict[str, Any],
        drained: Callable[[], object],
        gone: Callable[[BaseException | None], object],
        failed: Callable[[BaseException | None], object],
    ) -> AsgiLink: ...
    def __call__(self) -> None: ...
    def start(self) -> None: ...
    def tasks(self) -> list[Any]: ...

@final
class WsgiServer:
    def __new__(
        cls,
        links: list[Link],
        app: Any,
        *,
        root_path: str,
        max_body_size: int,
        spool_folder: str | None,
        errors: Any,
        multithread: bool,
        multiprocess: bool,
        failed: Callable[[BaseException | None], object],
    ) -> WsgiServer: ...
    def start(self) -> None: ...
    def work(self) -> None: ...
    def wait(self) -> bool: ...
    def close(self, timeout: float) -> None: ...
