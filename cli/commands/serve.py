"""`boxwright serve`: answer photos over HTTP."""

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

from cli.options import EngineOption, ModelOption
from detector.errors import SettingError

if TYPE_CHECKING:
    from service.models.registry import Registry
    from service.settings import Settings

ConfigOption = Annotated[Path | None, typer.Option("--config", envvar="BOXWRIGHT_CONFIG", metavar="FILE", help="A TOML file of settings.")]
RayOption = Annotated[bool, typer.Option("--ray", help="With Ray Serve: several detectors behind one address.")]
ReplicasOption = Annotated[
    str | None,
    typer.Option(metavar="N|MIN-MAX", help="With --ray, how many detectors: one a core if not given; MIN to MAX as the load asks."),
]
OthersOption = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other setting; repeat it for several.")]

QUIET_SECONDS = 5.0
"""After which a start is over, and its engine is kept for the next."""


def serve(
    model: ModelOption = None,
    models: Annotated[str | None, typer.Option("--models", metavar="DIR", help="A folder of models, which is watched.")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on: 127.0.0.1 if not given, 0.0.0.0 for all.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on: 8000 if not given, 0 for a free one.")] = None,
    engine: EngineOption = None,
    config: ConfigOption = None,
    others: OthersOption = None,
    ray: RayOption = False,
    replicas: ReplicasOption = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the settings as a TOML file and stop.")] = False,
) -> None:
    """Answer photos over HTTP.

    Every setting can be given by --set, by environment variable (BOXWRIGHT_QUEUE_SIZE=64) or in a file; docs/service.md lists them.
    """
    from service.models.native_memory import configure_allocator
    from service.settings import read_settings

    given = {"model": model, "models": models, "host": host, "port": port, "engine": engine}
    settings = read_settings(config, **(_named(others or []) | {name: value for name, value in given.items() if value is not None}))
    if print_config:
        typer.echo(settings.as_toml())
        return
    signal.signal(signal.SIGTERM, _leave)
    if ray or replicas is not None:
        _serve_with_ray(settings, replicas, asked=ray)
        return

    configure_allocator()
    # What answers is imported beside the model's loading, most of which is not Python: a second core has something to do.
    Thread(target=import_module, args=("service.app",), daemon=True).start()
    registry = load_registry(settings)

    from service.app import create_app
    from service.observability.logging import configure_logging
    from service.server.uvicorn_server import run_server

    configure_logging(settings.log_format, settings.log_level)
    with _folder_watched(registry, settings):  # the models are loaded before the socket opens
        run_server(create_app(registry, settings), settings)


def _serve_with_ray(settings: "Settings", replicas: str | None, *, asked: bool) -> None:
    """Raises SettingError, MissingExtra, NotStarted, and what loading the model raises."""
    if not asked:
        raise typer.BadParameter("it is Ray that has replicas; add --ray.", param_hint="--replicas")
    from cli.batch.ray_extra import check_ray
    from cli.output.download_bar import load_model
    from service.ray.environment import configure_ray_environment
    from service.ray.settings import read_ray_settings

    ray_settings = read_ray_settings(settings, replicas)
    check_ray()
    configure_ray_environment(serving=True)
    from service.ray.server import run_ray_server

    load_model(settings.model)  # what is wrong with it is told here, and what has to be downloaded is there before several ask for it
    run_ray_server(settings, ray_settings)


def _named(others: Iterable[str]) -> dict[str, str]:
    """["queue_size=64"] -> {"queue_size": "64"}. Raises SettingError for what has no "=", and for an unknown name."""
    from service.settings import Settings

    named = {}
    for entry in others:
        name, equals, value = entry.partition("=")
        if not equals or name not in Settings.model_fields:
            raise SettingError(f"--set {entry[:80]!r}: wanted NAME=VALUE, NAME one of {', '.join(Settings.model_fields)}.")
        named[name] = value
    return named


def load_registry(settings: "Settings") -> "Registry":
    """The model that the settings name, loaded and warmed up. Where they have a folder of models, it may be one of that, and not there yet.

    Raises UnknownModel, ModelError, MissingExtra.
    """
    from cli.output.download_bar import load_ready
    from service.models.loaded_model import LoadedModel
    from service.models.registry import Registry
    from weights.hub.resolve import is_known
    from weights.repository.layout import NAME

    if settings.models and (settings.model is None or (not is_known(settings.model) and NAME.fullmatch(settings.model))):
        return Registry(default=settings.model)
    ready = load_ready(settings.model, settings.engine, lanes=settings.batch_size == 1)
    registry = Registry([LoadedModel.of(ready.facts, ready.engine)])
    _when_quiet(ready.keep)
    return registry


def _when_quiet(work: Callable[[], object]) -> None:
    """Do it beside the first requests, once the start is over. What has begun is finished before the process ends, what has not is left."""
    timer = Timer(QUIET_SECONDS, Thread(target=work, name="keep").start)
    timer.daemon = True
    timer.start()


@contextmanager
def _folder_watched(registry: "Registry", settings: "Settings") -> Iterator[None]:
    """Load what lies in the folder of models, if there is one, and follow it within the block. Raises SettingError where it is none."""
    if not settings.models:
        yield
        return
    from service.models.loader import ModelLoader
    from service.models.watcher import ModelWatcher

    path = Path(settings.models)
    if not path.is_dir():
        raise SettingError(f"setting 'models' (BOXWRIGHT_MODELS): {path} is no folder. Make it, even if it is empty.")
    folder = ModelWatcher(path, registry, ModelLoader.of(settings), settings.model_versions)
    folder.update()
    with folder.running(settings.models_seconds):
        yield


def _leave(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM is an orderly end. Uvicorn finishes its requests first and then raises the signal again, which comes here."""
    sys.exit(0)
