"""What whoever runs the service may decide: by environment variable (BOXWRIGHT_PORT) or by flag, which goes first."""

from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from detector.errors import SettingError
from detector.image import MAX_PIXELS, PILLOW_PIXELS
from weights.engines import EngineName

PREFIX = "BOXWRIGHT_"
LogLevel = Literal["critical", "error", "warning", "info", "debug"]


class Settings(BaseSettings):
    """Read once, when the service starts. docs/service.md has the same table."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    model: str | None = Field(
        default=None, description="The model to serve: a name, or the path of a .safetensors file. The one that ships, if not set."
    )
    engine: EngineName = Field(default="auto", description="What computes the network; auto is onnxruntime.")
    host: str = Field(default="127.0.0.1", description="The address to listen on; 0.0.0.0 for all of the machine's.")
    port: int = Field(default=8000, ge=0, le=65535, description="The port to listen on; 0 for a free one, which the log names.")
    max_body_bytes: int = Field(
        default=20 * 1024**2, ge=1, description="Bytes of a request's body; a longer one is refused while it is read."
    )
    max_pixels: int = Field(
        default=MAX_PIXELS, ge=1, le=PILLOW_PIXELS, description="Pixels of a photo; a larger one is refused from its header."
    )
    grace_seconds: int = Field(default=30, ge=0, description="How long requests may take to finish after SIGTERM.")
    log_level: LogLevel = Field(default="info", description="The least serious log line to print.")


def read_settings(**flags: object) -> Settings:
    """Settings from the environment; a flag that is not None goes before it. Raises SettingError naming the variable."""
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # checked by pydantic, which is the point
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingError(f"setting {name!r} ({PREFIX}{name.upper()}): {first['msg']}, got {first['input']!r}.") from error
