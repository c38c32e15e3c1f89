"""Work that may fail in any way, where other work is to go on."""

from __future__ import annotations

import traceback
from types import TracebackType


class Attempt:
    """Keeps the traceback of an error in its ``with`` block, rather than let it out."""

    traceback: str | None = None

    def __enter__(self) -> Attempt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or isinstance(error, KeyboardInterrupt):
            return False
        self.traceback = "".join(traceback.format_exception(error))
        return True
