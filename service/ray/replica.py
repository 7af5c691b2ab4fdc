"""One detector of several: a process of its own, with its own copy of the model and the whole application around it."""

import asyncio
import os
import sys

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.app import create_app
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from service.observability.logging import configure_logging
from service.request.context import REQUEST_ID_HEADER
from service.server.uvicorn_server import SWITCH_SECONDS
from service.settings import Settings
from weights.engines.factory import load_engine
from weights.hub.resolve import load


class Replica:
    """The application, its engine with as many threads as Ray counts processors for it."""

    def __init__(self, settings: Settings, cores: int) -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        configure_logging(settings.log_format, settings.log_level)
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):  # read when TensorFlow starts, if it is the engine
            os.environ[name] = str(cores)
        model = load(settings.model)
        self._registry = Registry([LoadedModel.of(model, load_engine(model, settings.engine, threads=cores), lanes=1)])  # see check_health
        self._app = create_app(self._registry, settings, cores=cores)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Ray asks for it after the constructor."""
        return _named_once(self._app)

    async def check_health(self) -> None:
        """Ray asks from time to time, and replaces the process if this raises, or does not return: each network's thread must answer."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(model.lanes, int) for model in self._registry))

    async def announce_end(self) -> None:
        """From now on /readyz says no."""
        self._app.state.lifecycle.shutting_down = True


def _named_once(app: ASGIApp) -> ASGIApp:
    """Ray names every request and writes that name into the answer. `Observe` takes it over, and need not write it a second time."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def once(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)[REQUEST_ID_HEADER]
            await send(message)

        await app(scope, receive, once)

    return wrapped
