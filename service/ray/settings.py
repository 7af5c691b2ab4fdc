"""What there is to decide of Ray beside the service's own settings: BOXWRIGHT_RAY_REPLICAS, or `serve run ... replicas=`."""

from typing import Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from detector.errors import SettingError
from service.settings import Settings

PREFIX = "BOXWRIGHT_RAY_"
AUTO = "auto"

RAYS_OWN = {
    "max_head_bytes": "Ray's proxy reads the heads of requests, and has bounds of its own",
    "head_seconds": "Ray's proxy reads the heads of requests, and waits as long as it waits",
    **dict.fromkeys(
        ("models", "models_seconds", "model_versions", "max_model_bytes"),
        "each detector has the one model that it is built with; deploy another",
    ),
}
"""Settings that mean nothing under Ray, and why."""


class RaySettings(BaseSettings):
    """Read once, where the application is built. docs/scale.md has the same table."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    replicas: str = Field(
        default=AUTO,
        pattern=r"^(auto|\d{1,4}|\d{1,4}-\d{1,4})$",
        coerce_numbers_to_str=True,
        description="How many detectors: 4; or 1-8, as the load asks; auto is as many as there are processors for them.",
    )
    cores: int = Field(default=1, ge=1, le=1024, description="Processors that Ray counts for each detector, and threads of its engine.")

    @model_validator(mode="after")
    def _range_ascends(self) -> Self:
        least, most = self.bounds(1)
        if not 1 <= least <= most:
            raise ValueError(f"replicas must be a number above 0, or a range such as 1-8, got {self.replicas}")
        return self

    def bounds(self, processors: int) -> tuple[int, int]:
        """How many detectors there are at least and at most, where Ray has so many processors."""
        if self.replicas == AUTO:
            return (max(1, processors // self.cores),) * 2
        least, _, most = self.replicas.partition("-")
        return int(least), int(most or least)


def read_ray_settings(settings: Settings, replicas: str | None = None) -> RaySettings:
    """From the environment, over it the flag. Raises SettingError, also for one of `settings` that means nothing under Ray."""
    check_settings(settings)
    try:
        return RaySettings() if replicas is None else RaySettings(replicas=replicas)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "replicas"
        raise SettingError(f"setting {name!r} ({PREFIX}{name.upper()}): {first['msg']}, got {first['input']!r}.") from error


def check_settings(settings: Settings) -> None:
    """Raises SettingError for a setting that somebody has given and that means nothing under Ray."""
    for name in sorted(RAYS_OWN.keys() & settings.model_fields_set):
        raise SettingError(f"setting {name!r} means nothing with Ray: {RAYS_OWN[name]}. Leave it out.")
