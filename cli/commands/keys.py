"""`boxwright keys`: keys that open a service."""

import json
from typing import Annotated

import typer

from detector.errors import SettingError

app = typer.Typer(help="Keys that open a service.", no_args_is_help=True)


@app.callback()
def _keys() -> None:
    """Keeps `new` a command of its own, as long as it is the only one."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Whose key it is, for the log and the settings: frigate.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Make a key. It is shown once and kept nowhere; the service gets its hash."""
    from service.auth.api_keys import HashedKey, new_key

    key = new_key()
    try:
        hashed = str(HashedKey.of(name, key))
    except ValueError as error:
        raise SettingError(f"{error}.") from error
    if as_json:
        typer.echo(json.dumps({"name": name, "key": key, "hash": hashed}))
        return
    typer.echo(f"The key, shown this once, for {name}:\n  {key}\nIts hash, for the service:\n  BOXWRIGHT_KEY_HASHES={hashed}")
