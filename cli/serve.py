"""`boxwright serve`: answer photos over HTTP."""

import copy
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import EngineOption, ModelOption

if TYPE_CHECKING:
    from service.registry import Registry
    from service.settings import Settings


def serve(
    model: ModelOption = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on: 127.0.0.1 if not given, 0.0.0.0 for all.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on: 8000 if not given, 0 for a free one.")] = None,
    engine: EngineOption = None,
) -> None:
    """Answer photos over HTTP.

    Every option, and some more, can be set by environment variable: BOXWRIGHT_MODEL, BOXWRIGHT_PORT; see docs/service.md.
    """
    signal.signal(signal.SIGTERM, _leave)

    import uvicorn

    from service.app import create_app
    from service.settings import read_settings

    settings = read_settings(model=model, host=host, port=port, engine=engine)
    app = create_app(load_registry(settings), settings)  # the models are loaded before the socket opens
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_level=settings.log_level,
        log_config=_log_config(settings.log_level),
        timeout_graceful_shutdown=settings.grace_seconds,
        ws="none",
        server_header=False,
    )


def load_registry(settings: "Settings") -> "Registry":
    """The models that the settings ask for, loaded and warmed up. Raises UnknownModel, ModelError, MissingExtra."""
    from cli.download_bar import load_model
    from service.registry import LoadedModel, Registry
    from weights.engines import load_engine

    model = load_model(settings.model)
    return Registry([LoadedModel.of(model, load_engine(model, settings.engine))])


def _log_config(level: str) -> dict[str, Any]:
    """Uvicorn's own, with our logger beside its: same handler, same form."""
    from uvicorn.config import LOGGING_CONFIG

    config = copy.deepcopy(LOGGING_CONFIG)
    config["loggers"]["boxwright"] = {"handlers": ["default"], "level": level.upper(), "propagate": False}
    return config


def _leave(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM is an orderly end. Uvicorn finishes its requests first and then raises the signal again, which comes here."""
    sys.exit(0)
