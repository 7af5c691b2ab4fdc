"""Host and origin checks. They protect a service without API keys from web pages that its user visits.

A page of another site can send a POST to any address without reading the response. With DNS rebinding it could read responses too:
its own host name then resolves to the address of the service. Such requests have a foreign `Origin` or `Host` header.
"""

import ipaddress
import re

from fastapi import Request

from service.errors import ForbiddenOrigin

ANY = "*"
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:\d{1,5})?")
_HOST = re.compile(r"\*|[a-z0-9]([a-z0-9._-]*[a-z0-9])?")


def check_origin(origin: str) -> str:
    """Return `origin` if it is "*" or an origin as browsers send it, such as "https://app.example". Raises ValueError otherwise."""
    if origin != ANY and not _ORIGIN.fullmatch(origin):
        raise ValueError(f"an origin must be *, https://host or http://host:port, in lower case and without a path, got {origin[:80]!r}")
    return origin


def check_host(host: str) -> str:
    """Return `host` if it is "*" or a host name in lower case without a port. Raises ValueError otherwise."""
    if not _HOST.fullmatch(host):
        raise ValueError(f"a host must be * or a host name in lower case, without a port, got {host[:80]!r}")
    return host


class OriginPolicy:
    """A FastAPI dependency that raises ForbiddenOrigin for foreign host names and for requests from pages of other origins."""

    def __init__(self, listen_host: str, allowed_hosts: list[str], cors_origins: list[str]) -> None:
        self._any_host = ANY in allowed_hosts or (not allowed_hosts and not _is_loopback(listen_host))
        self._hosts = frozenset(allowed_hosts)
        self._origins = frozenset(cors_origins)

    async def __call__(self, request: Request) -> None:
        """Check one request."""
        host = request.headers.get("host", "")
        if not (self._any_host or _is_local_or_address(_name(host)) or _name(host) in self._hosts):
            raise ForbiddenOrigin(
                f"The host name {_name(host)[:80]!r} is not allowed. Use an IP address, or ask the operator to add it to "
                "BOXWRIGHT_ALLOWED_HOSTS."
            )
        if request.method != "GET" and not self._is_allowed_origin(request, host):
            raise ForbiddenOrigin(
                "Web pages of other origins may not call this service. The operator can allow an origin with BOXWRIGHT_CORS_ORIGINS."
            )

    def _is_allowed_origin(self, request: Request, host: str) -> bool:
        """Decide by Sec-Fetch-Site, which pages cannot forge, or by Origin and Host if a browser does not send it (plain HTTP)."""
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
        if site in ("same-origin", "none") or origin in self._origins or ANY in self._origins:
            return True
        return site is None and (origin is None or origin.partition("://")[2] == host)


def _name(host: str) -> str:
    """Return the host name or IP address without the port."""
    name = host.rpartition(":")[0] if re.search(r":\d*$", host) and not host.endswith("]") else host
    return name.strip("[]").lower()


def _is_local_or_address(name: str) -> bool:
    if name in ("", "localhost") or name.endswith(".localhost"):  # a client without a Host header is not a browser
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
