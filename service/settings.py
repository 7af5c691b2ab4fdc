"""What whoever runs the service may decide: by flag, environment variable (BOXWRIGHT_PORT) or TOML file, in this order."""

import json
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from detector.errors import SettingError
from detector.imaging.image import MAX_PIXELS, PILLOW_MAX_PIXELS
from service.auth.api_keys import HashedKey
from service.middleware.cors import check_origin
from weights.engines.factory import EngineKind

PREFIX = "BOXWRIGHT_"
LogLevel = Literal["critical", "error", "warning", "info", "debug"]
LogFormat = Literal["json", "text"]
Words = Annotated[list[str], NoDecode]
"""A list; as text, words with commas or spaces between them."""
UNSPOKEN = frozenset({"key_hashes"})
"""Settings whose value no message repeats: it may be a key by mistake."""


class Settings(BaseSettings):
    """Read once, when the service starts. docs/service.md has the same table."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    model: str | None = Field(
        default=None, description="The model to serve: a name, or a .safetensors file's path. The one that ships, if there is no folder."
    )
    engine: EngineKind = Field(default="auto", description="What computes the network; auto is onnxruntime.")
    models: str | None = Field(
        default=None, description="A folder of models, which is watched: NAME/VERSION/model.safetensors, or NAME.safetensors."
    )
    models_seconds: float = Field(default=2, gt=0, le=3600, description="How often that folder is looked at.")
    model_versions: int = Field(default=1, ge=1, le=100, description="Versions of each model that are kept loaded, the newest.")
    max_model_bytes: int | None = Field(
        default=None, ge=1, description="Bytes of all loaded models together; a further one is refused. Half of the memory, if not set."
    )
    host: str = Field(default="127.0.0.1", description="The address to listen on; 0.0.0.0 for all of the machine's.")
    port: int = Field(default=8000, ge=0, le=65535, description="The port to listen on; 0 for a free one, which the log names.")
    queue_size: int = Field(default=32, ge=1, le=10_000, description="Photos that may wait; one more is answered 503 at once.")
    request_seconds: float = Field(
        default=30,
        gt=0,
        le=3600,
        description="From a body's arrival to its answer, else 504. A client may ask for less: X-Request-Timeout.",
    )
    batch_size: int = Field(default=1, ge=1, le=64, description="Photos that the network may take at once; 1: one after another.")
    batch_wait_ms: float = Field(default=0, ge=0, le=1000, description="How long the first photo of a batch waits for the others.")
    max_body_bytes: int = Field(
        default=20 * 1024**2, ge=1, description="Bytes of a request's body; a longer one is refused while it is read."
    )
    max_waiting_bytes: int = Field(
        default=512 * 1024**2, ge=1, description="Bytes of all bodies in memory together; what would go beyond is answered 503."
    )
    max_head_bytes: int = Field(default=16 * 1024, ge=1024, le=1024**2, description="Bytes of a request's line and headers; then 431.")
    max_pixels: int = Field(
        default=MAX_PIXELS, ge=1, le=PILLOW_MAX_PIXELS, description="Pixels of a photo; a larger one is refused from its header."
    )
    head_seconds: float = Field(default=10, gt=0, le=3600, description="How long a request's line and headers may take to come, else 408.")
    body_seconds: float = Field(
        default=30,
        gt=0,
        le=3600,
        description="How long a body may take to come, else 408, and an answer to leave, else it is cut off.",
    )
    max_connections: int = Field(
        default=512,
        ge=1,
        le=1_000_000,
        description="Maximum number of open connections. Above it, the connection that has been idle for longest is closed.",
    )
    trusted_proxies: Words = Field(
        default=[], description="Addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto headers are used, or *."
    )
    notice_seconds: float = Field(
        default=1, ge=0, le=600, description="After SIGTERM, how long /readyz says no before the service stops listening."
    )
    grace_seconds: int = Field(default=30, ge=1, description="After SIGTERM, how long requests may take to finish; with the notice.")
    key_hashes: Words = Field(default=[], description="NAME:SHA256 of each key, as boxwright keys new prints it. Without any, all is open.")
    metrics_open: bool = Field(default=False, description="Whether /metrics is open where keys are set, for a Prometheus that has none.")
    cors_origins: Words = Field(
        default=[], description="Origins whose pages' scripts may ask, such as https://app.example, or *. Without any, none may."
    )
    log_format: LogFormat = Field(default="json", description="json: an object a line; text: for people.")
    log_level: LogLevel = Field(default="info", description="The least serious log line to print.")

    @field_validator("key_hashes", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _words(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        words = given.replace(",", " ").split()
        if given and not words:
            raise ValueError("there is nothing but spaces; leave the setting out")
        return words

    @field_validator("key_hashes")
    @classmethod
    def _hashes(cls, entries: list[str]) -> list[str]:
        return [str(HashedKey.read(entry)) for entry in entries]

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: list[str]) -> list[str]:
        return [check_origin(origin) for origin in origins]

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, proxies: list[str]) -> list[str]:
        for proxy in proxies:
            if proxy != "*":
                ip_network(proxy)  # raises ValueError
        return proxies

    @model_validator(mode="after")
    def _grace_has_room_for_the_notice(self) -> Self:
        if self.notice_seconds >= self.grace_seconds:
            raise ValueError(f"notice_seconds ({self.notice_seconds:g}) must be less than grace_seconds ({self.grace_seconds})")
        return self

    def as_toml(self) -> str:
        """A file that sets all of this, with what each setting means."""
        lines = ["# boxwright serve --config FILE"]
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            lines += ["", f"# {field.description}", f"# {name} is not set" if value is None else f"{name} = {json.dumps(value)}"]
        return "\n".join(lines)


def read_settings(config: Path | None = None, **flags: object) -> Settings:
    """Settings from the file `config`, over it the environment, over that every flag that is not None.

    Raises SettingError, which names the setting, and OSError for a file that cannot be read.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return _settings_with(config)(**given)  # type: ignore[arg-type]  # checked by pydantic, which is the point
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if not name:
            raise SettingError(f"the settings do not fit together: {first['msg']}.") from error
        message = first["msg"].removeprefix("Value error, ")
        got = "" if first["loc"][0] in UNSPOKEN else f", got {first['input']!r}"
        raise SettingError(f"setting {name!r} ({PREFIX}{name.upper()}): {message}{got}.") from (None if not got else error)


def _settings_with(config: Path | None) -> type[Settings]:
    """The class that knows what is in that file too: pydantic-settings wants its sources there."""
    if config is None:
        return Settings
    try:
        told = tomllib.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:  # no TOML, or no UTF-8
        raise SettingError(f"{config}: not a TOML file: {error}. 'boxwright serve --print-config' prints one.") from error

    class WithFile(Settings):
        @classmethod
        def settings_customise_sources(  # type: ignore[override]  # the sources are given by name
            cls, settings_cls: type[BaseSettings], **usual: PydanticBaseSettingsSource
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (usual["init_settings"], usual["env_settings"], InitSettingsSource(settings_cls, told))

    return WithFile
