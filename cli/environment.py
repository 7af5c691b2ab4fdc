"""Warnings about BOXWRIGHT_* environment variables that no program reads."""

import re
from collections.abc import Iterable, Mapping

from cli.output.terminal import print_error
from detector.messages import did_you_mean

VARIABLE_PREFIX = "BOXWRIGHT_"
OTHER_VARIABLES = ("HOME", "MIRROR", "OFFLINE", "ENGINES", "CONFIG", "API_KEY")
"""Variables that are read outside `service.settings`."""
SERVICE_LINK = re.compile(r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_\w+)?)")
"""Kubernetes sets such variables for every Service with a name that starts with "boxwright"."""


def warn_about_unknown_variables(environment: Mapping[str, str]) -> None:
    """Print a line to stderr for each variable that starts with BOXWRIGHT_ and has no meaning."""
    from service.ray.settings import RaySettings
    from service.settings import Settings

    names = (*Settings.model_fields, *(f"ray_{name}" for name in RaySettings.model_fields))
    known = {VARIABLE_PREFIX + name for name in (*(name.upper() for name in names), *OTHER_VARIABLES)}
    for name in unknown_variables(environment, known):
        print_error(f"the environment variable {name} has no effect.{did_you_mean(name, known)}", warning=True)


def unknown_variables(environment: Mapping[str, str], known: Iterable[str]) -> list[str]:
    """Return the names that start with BOXWRIGHT_ and are neither known nor set by Kubernetes, sorted."""
    upper_case = {name.upper() for name in known}
    return sorted(
        name
        for name in environment
        if name.upper().startswith(VARIABLE_PREFIX)
        and name.upper() not in upper_case
        and not SERVICE_LINK.fullmatch(name.removeprefix(VARIABLE_PREFIX))
    )
