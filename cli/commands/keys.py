"""`boxwright keys`: API keys for a service."""

import json
from typing import Annotated

import typer

from cli.options import JsonOption
from detector.errors import SettingError

keys_app = typer.Typer(help="Create API keys for a service.", no_args_is_help=True)


@keys_app.callback()
def _keys() -> None:
    """Group callback. Without it, Typer would drop the name of the only subcommand."""


@keys_app.command("new")
def keys_new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The client that gets the key; appears in logs.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Create an API key and its hash.

    The key is printed once and stored nowhere. The service only needs the hash.
    """
    from service.auth.api_keys import HashedKey, new_key

    key = new_key()
    try:
        hashed = str(HashedKey.of(name, key))
    except ValueError as error:
        raise SettingError(f"{error}.") from error
    if as_json:
        typer.echo(json.dumps({"name": name, "key": key, "hash": hashed}))
        return
    typer.echo(f"Key for {name}, printed only once:\n  {key}\nIts hash, for the service:\n  BOXWRIGHT_KEY_HASHES={hashed}")
    typer.echo("Clients send the key as the header X-API-Key; 'boxwright detect --server' reads it from BOXWRIGHT_API_KEY.")
