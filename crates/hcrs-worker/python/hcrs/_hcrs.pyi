from collections.abc import Callable
from typing import Any, final

__all__ = [
    "AsgiLink",
    "BodyTooLargeError",
    "Link",
    "UnexpectedMessageError",
    "WsgiServer",
    "_leave_links",
    "die_with_parent",
    "release",
    "withhold",
]

class UnexpectedMessageError(Exception): ...
class BodyTooLargeError(Exception): ...

def _leave_links() -> None: ...
def die_with_parent() -> None: ...
def release(descriptor: int) -> None: ...
def withhold(descriptor: int) -> None: ...

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
        errors: Any,
        multithread: bool,
        multiprocess: bool,
        failed: Callable[[BaseException | None], object],
    ) -> WsgiServer: ...
    def start(self) -> None: ...
    def work(self) -> None: ...
    def wait(self) -> bool: ...
    def close(self, timeout: float) -> None: ...
