"""`boxwright health`: ask a service on this machine whether it is ready. For health checks of containers without curl."""

from http.client import HTTPConnection, HTTPException
from typing import Annotated

import typer

from cli.options import SettingsFileOption

LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # The address to connect to, for a service that listens on every address.


def health_command(
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Connect to this address. [dim]\\[default: from the settings, 127.0.0.1][/dim]")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Connect to this port. [dim]\\[default: from the settings, 8000][/dim]")] = None,
    config: SettingsFileOption = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=60, metavar="SECONDS", help="Wait this long for the response.")] = 3.0,
) -> None:
    """Check whether the service on this machine is ready (GET /readyz).

    Uses the same settings as 'boxwright serve'. Exit code 0: ready; 1: not ready.
    """
    from service.settings import read_settings

    settings = read_settings(config, host=host, port=port)
    address = LOOPBACK.get(settings.host, settings.host)
    url = f"http://{f'[{address}]' if ':' in address else address}:{settings.port}/readyz"
    status, ready = _request_status(HTTPConnection(address, settings.port, timeout=timeout))
    typer.echo(f"{url}: {status}", err=not ready)
    raise typer.Exit(0 if ready else 1)


def _request_status(connection: HTTPConnection) -> tuple[str, bool]:
    """Return a description of the response, and whether the service is ready."""
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"no answer ({error or type(error).__name__})", False
    finally:
        connection.close()
    return ("ready", True) if status == 200 else (f"not ready (status {status})", False)
