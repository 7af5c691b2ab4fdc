"""`boxwright health`: can the service detect? For a container's health check, where there is no curl."""

from http.client import HTTPConnection, HTTPException
from typing import Annotated

import typer

from cli.commands.serve import ConfigOption

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses to listen on which are no addresses to ask."""


def health(
    host: Annotated[str | None, typer.Option(help="The address to ask: the one that the settings listen on, if not given.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to ask: the settings', if not given.")] = None,
    config: ConfigOption = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds to wait for the answer.")] = 3.0,
) -> None:
    """Ask the service on this machine whether it can detect (GET /readyz).

    It is looked for where the same settings would make `boxwright serve` listen. Exit code 0 if it can, 1 if it cannot.
    """
    from service.settings import read_settings

    settings = read_settings(config, host=host, port=port)
    address = EVERYWHERE.get(settings.host, settings.host)
    where = f"http://{f'[{address}]' if ':' in address else address}:{settings.port}/readyz"
    said, ready = _ask(HTTPConnection(address, settings.port, timeout=timeout))
    typer.echo(f"{where}: {said}", err=not ready)
    raise typer.Exit(0 if ready else 1)


def _ask(connection: HTTPConnection) -> tuple[str, bool]:
    """What the service says of itself, or why it says nothing; and whether that is a yes."""
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"no answer ({error or type(error).__name__})", False
    finally:
        connection.close()
    return ("ready", True) if status == 200 else (f"not ready (status {status})", False)
