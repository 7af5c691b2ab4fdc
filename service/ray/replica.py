"""One replica: a process with its own copy of the model and the complete application."""

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
from weights.engines.factory import choose_engine
from weights.hub.resolve import find_model


class DetectorReplica:
    """The complete application. Its engine has one thread per core that Ray reserves for the replica."""

    def __init__(self, settings: Settings, cores: int) -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        configure_logging(settings.log_format, settings.log_level)
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):  # TensorFlow reads them when it starts
            os.environ[name] = str(cores)
        choice = choose_engine(find_model(settings.model), settings.engine_options)
        model = choice.load()
        engine = choice.build(model, threads=cores)
        self._registry = Registry([LoadedModel.of(model, engine, max_concurrency=1)])
        self._app = create_app(self._registry, settings, cores=cores)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the application. Ray calls this after the constructor (see `ray.serve.ingress`)."""
        return _without_request_id(self._app)

    async def check_health(self) -> None:
        """Return when the thread of the network responds. Ray calls this regularly, and replaces a replica that does not return."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(model.thread_pool, int) for model in self._registry))

    async def begin_shutdown(self) -> None:
        """Make /readyz report that the replica is not ready."""
        self._app.state.lifecycle.shutting_down = True


def _without_request_id(app: ASGIApp) -> ASGIApp:
    """Remove the request id from the responses of `app`, because Ray adds the same id."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)[REQUEST_ID_HEADER]
            await send(message)

        await app(scope, receive, send_without_id)

    return wrapped
