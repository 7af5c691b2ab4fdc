"""`boxwright serve`: detect objects over HTTP."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Thread, Timer
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import DeviceOption, EngineOption, InputSizeOption, PrecisionOption, SettingsFileOption
from detector.errors import SettingError
from detector.messages import count_of, join_names

if TYPE_CHECKING:
    from service.models.loaded_model import LoadedModel
    from service.models.registry import Registry
    from service.settings import Settings

SERVED, NETWORK, SETTINGS, RAY = "Model", "Network", "Settings", "Ray"

QUIET_SECONDS = 5.0  # Seconds after the start until the engine is written to the disk cache.

logger = logging.getLogger("boxwright.service")


def serve_command(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME_OR_FILE",
            help="Serve this model: a name from 'boxwright weights list', or a .safetensors file. "
            "[dim]\\[default without --models: everyday][/dim]",
            rich_help_panel=SERVED,
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option("--models", metavar="DIR", help="Serve the models in this folder, and watch it for changes.", rich_help_panel=SERVED),
    ] = None,
    engine: EngineOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    input_size: InputSizeOption = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Listen on this address; 0.0.0.0 means all addresses. [dim]\\[default: 127.0.0.1][/dim]",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Listen on this port; 0 chooses a free port. [dim]\\[default: 8000][/dim]", rich_help_panel=NETWORK)
    ] = None,
    config: SettingsFileOption = None,
    others: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change any other setting. Can be repeated.", rich_help_panel=SETTINGS),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print all settings as a TOML file and exit.", rich_help_panel=SETTINGS)
    ] = False,
    ray: Annotated[bool, typer.Option("--ray", help="Run several replicas of the service with Ray Serve.", rich_help_panel=RAY)] = False,
    replicas: Annotated[
        str | None,
        typer.Option(
            metavar="N|MIN-MAX",
            help="With --ray: run this many replicas, or as many as the load needs. [dim]\\[default: as many as the cores allow][/dim]",
            rich_help_panel=RAY,
        ),
    ] = None,
) -> None:
    """Detect objects over HTTP.

    Every setting can also be an environment variable (BOXWRIGHT_QUEUE_SIZE=64) or in a file; --print-config lists them.

    To require API keys, create one with 'boxwright keys new NAME', and put its hash into BOXWRIGHT_KEY_HASHES.
    """
    from cli.checks import check_address
    from cli.environment import warn_about_unknown_variables
    from service.models.native_memory import configure_allocator
    from service.settings import read_settings
    from weights.hub.resolve import check_model

    options = {"model": model, "models": models, "host": host, "port": port, "engine": engine, "device": device, "precision": precision}
    given = {key: value for key, value in (options | {"input_size": input_size}).items() if value is not None}
    settings = read_settings(config, **(_parse_settings(others or []) | given))
    warn_about_unknown_variables(os.environ)
    if print_config:
        typer.echo(settings.as_toml())
        return
    settings = _with_log_format(settings)
    if not settings.models:
        check_model(settings.model)
    check_address(settings.host, settings.port)
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    if ray or replicas is not None:
        _serve_with_ray(settings, replicas, requested=ray)
        return

    configure_allocator()
    # The web framework is imported while the model is loaded, which mostly runs outside Python on another core.
    Thread(target=import_module, args=("service.app",), daemon=True).start()
    registry = load_registry(settings)

    _run(registry, settings)


def _run(registry: "Registry", settings: "Settings") -> None:
    """Serve until a signal."""
    from service.app import create_app
    from service.observability.logging import configure_logging
    from service.server.uvicorn_server import run_server

    configure_logging(settings.log_format, settings.log_level)
    with _watch_models(registry, settings):  # all models are loaded before the socket opens
        app = create_app(registry, settings)
        logger.info("%s", describe_service(registry, settings))
        run_server(app, settings)


def _with_log_format(settings: "Settings") -> "Settings":
    """Log text on a terminal, unless a format is set."""
    if "log_format" in settings.model_fields_set or not sys.stderr.isatty():
        return settings
    return settings.model_copy(update={"log_format": "text"})


def describe_service(registry: "Registry", settings: "Settings") -> str:
    """Return one line for the log: models, their labels, address, and who may use the service."""
    models = "; ".join(map(_describe_model, registry)) or "no model yet"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{settings.port}" if settings.port else f"a free port of {host}"
    if settings.key_hashes:
        access = f"API keys required ({len(settings.key_hashes)})"
    else:
        reach = "this machine" if settings.host in ("127.0.0.1", "localhost", "::1") else "everyone who can reach this address"
        access = f"open to {reach}, no API keys"
    return f"serving {models} at {address}; {access}"


def _describe_model(model: "LoadedModel") -> str:
    """Return "pets (2 classes: cat, dog) in float32 with onnxruntime"."""
    labels = model.detector.spec.labels
    return f"{model.name} ({count_of(len(labels), 'class')}: {join_names(labels)}) in {model.precision} with {model.engine}"


def _serve_with_ray(settings: "Settings", replicas: str | None, *, requested: bool) -> None:
    """Run Ray Serve until a signal. Raises SettingError, MissingExtra, RayStartError, and the errors of loading the model."""
    if not requested:
        raise typer.BadParameter("needs --ray.", param_hint="--replicas")
    from cli.extras import require_packages
    from cli.output.progress import load_named_model
    from service.ray.environment import configure_ray_environment
    from service.ray.settings import read_ray_settings

    ray_settings = read_ray_settings(settings, replicas)
    require_packages("boxwright serve --ray", "ray", "pyarrow")
    configure_ray_environment(serving=True)
    from service.ray.server import run_ray_server

    load_named_model(settings.model)  # reports a bad model here, and downloads it once instead of once per replica
    run_ray_server(settings, ray_settings)


def _parse_settings(entries: Iterable[str]) -> dict[str, str]:
    """["queue_size=64"] -> {"queue_size": "64"}. Raises SettingError for an entry without "=", and for an unknown name."""
    from detector.messages import did_you_mean
    from service.settings import Settings

    settings = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals or name not in Settings.model_fields:
            hint = did_you_mean(name, Settings.model_fields)
            raise SettingError(f"--set {entry[:80]!r}: give NAME=VALUE.{hint} NAME is one of {', '.join(Settings.model_fields)}.")
        settings[name] = value
    return settings


def load_registry(settings: "Settings") -> "Registry":
    """Load and warm up the model that the settings name. With a model folder, the model may be added to that folder later.

    Raises UnknownModel, ModelError or MissingExtra if the model cannot be loaded.
    """
    from cli.extras import require_packages
    from cli.output.progress import load_named_engine
    from service.models.loaded_model import LoadedModel
    from service.models.registry import Registry
    from weights.hub.resolve import is_known_model
    from weights.repository.layout import MODEL_NAME

    if settings.models and (settings.model is None or (not is_known_model(settings.model) and MODEL_NAME.fullmatch(settings.model))):
        return Registry(default=settings.model)
    if settings.engine == "openvino":
        require_packages("--engine openvino", "openvino")
    ready = load_named_engine(settings.model, settings.engine_options, concurrent_sessions=settings.batch_size == 1, raced=True)
    registry = Registry([LoadedModel.of(ready.facts, ready.engine)])
    _run_later(ready.persist, then=ready.race)
    return registry


def _run_later(work: Callable[[], object], *, then: Callable[[], object]) -> None:
    """Run `work` in a thread after QUIET_SECONDS, and then `then`.

    The process waits for `work` once it has begun. It waits neither for work that has not begun nor for `then`.
    """

    def run() -> None:
        worker = Thread(target=work, name="persist-engine", daemon=False)  # otherwise it would be a daemon like its parent
        worker.start()
        worker.join()
        then()

    timer = Timer(QUIET_SECONDS, run)
    timer.daemon = True
    timer.start()


@contextmanager
def _watch_models(registry: "Registry", settings: "Settings") -> Iterator[None]:
    """Load the model folder, if the settings name one, and watch it inside the block. Raises SettingError if it does not exist."""
    if not settings.models:
        yield
        return
    from service.models.loader import ModelLoader
    from service.models.watcher import ModelWatcher

    path = Path(settings.models)
    if not path.is_dir():
        raise SettingError(f"setting 'models' (BOXWRIGHT_MODELS): the folder {path} does not exist. Create it; it may be empty.")
    folder = ModelWatcher(path, registry, ModelLoader.of(settings), settings.model_versions)
    folder.update()
    with folder.running(settings.models_seconds):
        yield


def _exit_on_sigterm(_signal: int, _frame: FrameType | None) -> None:
    """Exit with code 0. Uvicorn finishes its requests first and then raises the signal again, which is handled here."""
    sys.exit(0)
