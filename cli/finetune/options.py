"""Command-line options for the fields of `training.config.options.Config`, which defines their names, types, help and defaults."""

import inspect
from collections.abc import Callable, Collection
from typing import Annotated, Any

import typer

PANELS = {
    "epochs": "Training run",
    "sizes": "Image sizes and augmentation",
    "network": "Network and transfer learning",
    "loss": "Loss",
    "optimizer": "Optimizer and schedule",
}
"""First field of Config in each panel of the help page -> the panel's title. The following fields belong to the same panel."""
SHORT_NAMES = {"learning_rate": "--lr"}


def with_training_options(command: Callable[..., None], names: Collection[str] | None = None) -> None:
    """Add training options to a command that takes **options. An option that is not given is None.

    Args:
        command: Its signature is changed.
        names: The fields of Config to add; all if None.
    """
    from training.config.options import Config

    signature = inspect.signature(command)
    parameters = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    panel = "Training"
    for name, field in Config.model_fields.items():
        panel = PANELS.get(name, panel)
        if names is None or name in names:
            option = typer.Option(*_flags(name, field.annotation), help=_help(field.description, field.default), rich_help_panel=panel)
            annotation: Any = Annotated[field.annotation | None, option]  # type: ignore[operator]
            parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters} | {"return": None}


def _flags(name: str, annotation: object) -> list[str]:
    option = name.replace("_", "-")
    if annotation is bool:
        return [f"--{option}/--no-{option}"]
    return [f"--{option}", *([SHORT_NAMES[name]] if name in SHORT_NAMES else [])]


def _help(description: str | None, default: object) -> str:
    if default is None:
        return str(description)  # it states the default, which depends on other options
    text = {True: "yes", False: "no"}.get(default, default) if isinstance(default, bool) else default
    return f"{description} [dim]\\[default: {'empty' if text == '' else text}][/dim]"  # Rich would read a bracket as markup
