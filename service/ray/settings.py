"""Settings for Ray: BOXWRIGHT_RAY_REPLICAS and BOXWRIGHT_RAY_CORES, or `serve run ... replicas=`."""

from typing import Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from detector.errors import SettingError
from service.settings import Settings

RAY_PREFIX = "BOXWRIGHT_RAY_"
AUTO = "auto"

UNSUPPORTED_SETTINGS = {
    "max_head_bytes": "Ray's proxy reads the heads of requests and has its own limit",
    "head_seconds": "Ray's proxy reads the heads of requests and has its own timeout",
    "max_connections": "Ray's proxy accepts the connections and has its own limit",
    "trusted_proxies": "the replicas only see Ray's proxy",
    **dict.fromkeys(
        ("models", "models_seconds", "model_versions", "max_model_bytes"),
        "each replica has one fixed model; deploy the application again to change it",
    ),
}
"""Settings of the service that have no effect under Ray, and why."""


class RaySettings(BaseSettings):
    """Number and size of the replicas. docs/scale.md has the same table."""

    model_config = SettingsConfigDict(env_prefix=RAY_PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    replicas: str = Field(
        default=AUTO,
        pattern=r"^(auto|\d{1,4}|\d{1,4}-\d{1,4})$",
        coerce_numbers_to_str=True,
        description="Number of replicas, or a range such as 1-8 to scale with the load. auto: as many as the cores allow.",
    )
    cores: int = Field(default=1, ge=1, le=1024, description="Cores that Ray reserves per replica, and threads of its engine.")

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        low, high = self.replica_range(1)
        if not 1 <= low <= high:
            raise ValueError(f"must be a number above 0, or a range such as 1-8, got {self.replicas!r}")
        return self

    def replica_range(self, cluster_cores: int) -> tuple[int, int]:
        """Return the smallest and the largest number of replicas on a cluster with this number of cores."""
        if self.replicas == AUTO:
            return (max(1, cluster_cores // self.cores),) * 2
        low, _, high = self.replicas.partition("-")
        return int(low), int(high or low)


def read_ray_settings(settings: Settings, replicas: str | None = None) -> RaySettings:
    """Read the environment; `replicas` has priority. Raises SettingError if they are invalid, or `settings` has an unsupported setting."""
    check_supported(settings)
    try:
        return RaySettings() if replicas is None else RaySettings(replicas=replicas)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "replicas"
        got = f", got {first['input']!r}" if first["loc"] else ""  # `_check_replicas` names the value itself
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "string_pattern_mismatch":
            message = "must be auto, a number, or a range such as 1-8"
        raise SettingError(f"setting {name!r} ({RAY_PREFIX}{name.upper()}): {message}{got}.") from error


def check_supported(settings: Settings) -> None:
    """Raise SettingError if a setting is given that has no effect under Ray."""
    for name in sorted(UNSUPPORTED_SETTINGS.keys() & settings.model_fields_set):
        raise SettingError(f"setting {name!r} has no effect with Ray: {UNSUPPORTED_SETTINGS[name]}. Remove it.")
