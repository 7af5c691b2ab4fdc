"""The options of training as a command's: their names, types, help and defaults are written in Config only."""

import inspect
from collections.abc import Callable, Collection
from typing import Annotated, Any

import typer


def with_config_options(command: Callable[..., None], names: Collection[str] | None = None) -> None:
    """Give a command with **options one option for each field of Config, or for those named. One not given is None."""
    from training.config import Config

    signature = inspect.signature(command)
    fixed = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    more = []
    for name in Config.model_fields if names is None else names:
        field = Config.model_fields[name]
        flags = [f"--{name.replace('_', '-')}"]
        if field.annotation is bool:
            flags = [f"{flags[0]}/--no-{name.replace('_', '-')}"]
        option = typer.Option(*flags, help=f"{field.description} [default: {field.default}]", rich_help_panel="Training")
        annotation: Any = field.annotation
        kind = inspect.Parameter.KEYWORD_ONLY
        more.append(inspect.Parameter(name, kind, default=None, annotation=Annotated[annotation | None, option]))
    parameters = [*fixed, *more]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters} | {"return": None}
