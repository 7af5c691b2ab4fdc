"""Query parameters that may be given only once. Else the last one would win and nobody would say so."""

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError


def once_each(*, but: tuple[str, ...] = ()) -> Any:
    """A dependency that refuses a repeated query parameter; those in `but` may be repeated."""

    async def check(request: Request) -> None:
        counts = Counter(name for name, _ in request.query_params.multi_items() if name not in but)
        repeated = [name for name, count in counts.items() if count > 1]
        if repeated:
            raise RequestValidationError([_error(name, counts[name]) for name in repeated])

    dependency: Callable[[Request], Coroutine[Any, Any, None]] = check
    return Depends(dependency)


def _error(name: str, count: int) -> dict[str, Any]:
    return {"type": "repeated", "loc": ("query", name), "msg": "may be given once", "input": f"{count} times"}
