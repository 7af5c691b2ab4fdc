"""Settings of the service: options, environment variables (BOXWRIGHT_PORT) and a TOML file, in this order of precedence."""

import json
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from detector.engines.support import Device
from detector.errors import SettingError
from detector.imaging.image import MAX_PIXELS, PILLOW_MAX_PIXELS
from detector.messages import did_you_mean
from detector.network.spec import MAX_INPUT_SIZE
from service.auth.api_keys import HashedKey
from service.auth.origins import check_host, check_origin
from weights.engines.options import EngineKind, EngineOptions, PrecisionChoice

SETTINGS_PREFIX = "BOXWRIGHT_"
LogLevel = Literal["critical", "error", "warning", "info", "debug"]
LogFormat = Literal["json", "text"]
StringList = Annotated[list[str], NoDecode]  # A list. As text, its items are separated by commas or spaces.
SECRET_SETTINGS = frozenset({"key_hashes"})  # No message repeats their values, which may be API keys by mistake.


class Settings(BaseSettings):
    """Settings of the service, read once when it starts. docs/service.md has the same table."""

    model_config = SettingsConfigDict(env_prefix=SETTINGS_PREFIX, env_ignore_empty=True, frozen=True)

    model: str | None = Field(
        default=None, description="Model to serve: a name, or the path of a .safetensors file. Default without a model folder: `everyday`."
    )
    engine: EngineKind = Field(
        default="auto",
        description="Engine that computes the network. auto is the fastest installed one, as measured after the first start. "
        "For a model folder and under Ray, auto is onnxruntime.",
    )
    device: Device = Field(
        default="auto", description="Device that computes the network. auto is CUDA if onnxruntime has it, else the CPU."
    )
    precision: PrecisionChoice = Field(
        default="auto",
        description="Precision of the network. auto is the fastest that loses at most half a point of AP50; float32 is exact.",
    )
    input_size: int | None = Field(
        default=None,
        ge=1,
        le=MAX_INPUT_SIZE,
        description="Side of the network's input in pixels, a multiple of 32. Default: that of the model.",
    )
    models: str | None = Field(
        default=None, description="Model folder, which is watched for changes: NAME/VERSION/model.safetensors, or NAME.safetensors."
    )
    models_seconds: float = Field(default=2, gt=0, le=3600, description="Seconds between two scans of the model folder.")
    model_versions: int = Field(default=1, ge=1, le=100, description="Number of versions of each model to keep loaded, newest first.")
    max_model_bytes: int | None = Field(
        default=None, ge=1, description="Memory limit for all loaded models together, in bytes. Default: half of the memory."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on. 0.0.0.0 listens on all addresses of the machine.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on. 0 picks a free port, which the log names.")
    queue_size: int = Field(default=32, ge=1, le=10_000, description="Maximum number of waiting images. Further ones get 503 at once.")
    request_seconds: float = Field(
        default=30,
        gt=0,
        le=3600,
        description="Time limit from the end of the body to the response, else 504. The header X-Request-Timeout can only shorten it.",
    )
    batch_size: int = Field(default=1, ge=1, le=64, description="Maximum number of images in one network call. 1 disables batching.")
    batch_wait_ms: float = Field(default=0, ge=0, le=1000, description="Milliseconds that the first image of a batch waits for others.")
    max_body_bytes: int = Field(default=20 * 1024**2, ge=1, description="Maximum size of a request body in bytes, else 413.")
    max_waiting_bytes: int = Field(
        default=512 * 1024**2,
        ge=1,
        description="Maximum size of all request bodies and annotated images in memory together, in bytes, else 503.",
    )
    max_unauthenticated_bytes: int = Field(
        default=64 * 1024**2,
        ge=1,
        description="If keys are required: maximum size of all bodies of requests whose API key is in the form or missing, in bytes, "
        "else 503. max_waiting_bytes does not include them.",
    )
    max_response_bytes: int = Field(
        default=64 * 1024**2, ge=1, description="Maximum size of the annotated images in one response, in bytes, else 413."
    )
    max_image_bytes: int | None = Field(
        default=None,
        ge=1024**2,
        description="Memory limit for decoding and drawing all images together, in bytes. An image that cannot fit gets 413. "
        "Default: a quarter of the memory.",
    )
    max_head_bytes: int = Field(
        default=16 * 1024, ge=1024, le=1024**2, description="Maximum size of the request line and headers in bytes, else 431."
    )
    max_pixels: int = Field(
        default=MAX_PIXELS,
        ge=1,
        le=PILLOW_MAX_PIXELS,
        description="Maximum number of pixels of an image, checked before decoding, else 413.",
    )
    head_seconds: float = Field(default=10, gt=0, le=3600, description="Time limit for receiving the request line and headers, else 408.")
    body_seconds: float = Field(
        default=30,
        gt=0,
        le=3600,
        description="Time limit for receiving a body, else 408, and for sending a response, else the connection is closed.",
    )
    unauthenticated_seconds: float = Field(
        default=10,
        gt=0,
        le=3600,
        description="If keys are required: time limit for receiving a body whose API key is in the form or missing, else 408.",
    )
    notice_seconds: float = Field(
        default=1, ge=0, le=600, description="Seconds after SIGTERM in which /readyz answers 503 while the service still listens."
    )
    grace_seconds: int = Field(
        default=30, ge=1, description="Seconds after SIGTERM in which running requests may finish, including the notice."
    )
    key_hashes: StringList = Field(
        default=[], description="NAME:SHA256 of each API key, as `boxwright keys new` prints it. Default: no key is required."
    )
    max_connections: int = Field(
        default=512,
        ge=1,
        le=1_000_000,
        description="Maximum number of open connections. Above it, the connection that has been idle for longest is closed.",
    )
    trusted_proxies: StringList = Field(
        default=[], description="Addresses or networks of proxies that may set X-Forwarded-For and X-Forwarded-Proto, or *."
    )
    keys_in_forms: bool = Field(
        default=True, description="Accept the API key of DeepStack clients in the form. false: only in a header, before the body is read."
    )
    metrics_open: bool = Field(default=False, description="Serve /metrics without an API key, for a Prometheus that has none.")
    allowed_hosts: StringList = Field(
        default=[],
        description="Host names under which clients may call the service, or *. localhost and IP addresses are always allowed. "
        "Default: only those if `host` is a loopback address, else *.",
    )
    cors_origins: StringList = Field(
        default=[], description="Origins from which scripts of web pages may call the service, such as https://app.example, or *."
    )
    log_format: LogFormat = Field(
        default="json", description="json: one JSON object per line. text: for people; the default on a terminal."
    )
    log_level: LogLevel = Field(default="info", description="Least severe level to log.")

    @field_validator("key_hashes", "allowed_hosts", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        items = value.replace(",", " ").split()
        if value and not items:
            raise ValueError("has only spaces or commas; leave the setting out instead")
        return items

    @field_validator("key_hashes")
    @classmethod
    def _check_hashes(cls, entries: list[str]) -> list[str]:
        return [str(HashedKey.read(entry)) for entry in entries]

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: list[str]) -> list[str]:
        return [check_origin(origin) for origin in origins]

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, hosts: list[str]) -> list[str]:
        return [check_host(host) for host in hosts]

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, proxies: list[str]) -> list[str]:
        for proxy in proxies:
            if proxy != "*":
                ip_network(proxy)  # raises ValueError
        return proxies

    @model_validator(mode="after")
    def _check_notice(self) -> Self:
        if self.notice_seconds >= self.grace_seconds:
            raise ValueError(f"notice_seconds ({self.notice_seconds:g}) must be less than grace_seconds ({self.grace_seconds})")
        return self

    @property
    def engine_options(self) -> EngineOptions:
        """The settings that decide how networks are computed."""
        return EngineOptions(self.engine, self.device, self.precision, self.input_size)

    def as_toml(self) -> str:
        """Return a TOML file with all settings and their descriptions."""
        lines = ["# boxwright serve --config FILE"]
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            lines += ["", f"# {field.description}", f"# {name} is not set" if value is None else f"{name} = {json.dumps(value)}"]
        return "\n".join(lines)


def read_settings(config: Path | None = None, **options: object) -> Settings:
    """Read the settings. Options that are not None override the environment, which overrides the file.

    Args:
        config: TOML file.
        options: Settings by name.

    Raises:
        SettingError: A setting is unknown or not valid. The message names it.
        OSError: The file cannot be read.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return _settings_class(config)(**given)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if not name:
            raise SettingError(f"Conflicting settings: {first['msg'].removeprefix('Value error, ')}.") from error
        if first["type"] == "extra_forbidden":
            hint = did_you_mean(name, Settings.model_fields)
            source = f"{config}: " if config else ""
            raise SettingError(f"{source}unknown setting {name!r}.{hint} 'boxwright serve --print-config' prints all settings.") from error
        message = first["msg"].removeprefix("Value error, ")
        got = "" if first["loc"][0] in SECRET_SETTINGS else f", got {first['input']!r}"
        raise SettingError(f"Setting {name!r} ({SETTINGS_PREFIX}{name.upper()}): {message}{got}.") from (None if not got else error)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{config} is not a TOML file: {error}. 'boxwright serve --print-config' prints one.") from error


def _settings_class(config: Path | None) -> type[Settings]:
    """Return a class that reads the file too: pydantic-settings takes its sources from the class."""
    if config is None:
        return Settings
    config.stat()  # pydantic-settings would ignore a file that does not exist

    class FileSettings(Settings):
        @classmethod
        def settings_customise_sources(  # type: ignore[override]  # pydantic-settings passes the sources by name
            cls, settings_cls: type[BaseSettings], **sources: PydanticBaseSettingsSource
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (sources["init_settings"], sources["env_settings"], TomlConfigSettingsSource(settings_cls, config))

    return FileSettings
