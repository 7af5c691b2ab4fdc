"""The HTTP protocol of the service in a uvicorn server of this process."""

import socket
import threading
from contextlib import contextmanager

import pytest
import uvicorn

from service.server.uvicorn_server import server_config
from service.settings import Settings


@pytest.fixture
def serve_protocol():
    """(ASGI application, settings) -> a context with the port and the uvicorn server."""

    @contextmanager
    def serve(app, **settings):
        server = uvicorn.Server(server_config(app, Settings(**settings)))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()
            try:
                yield listening.getsockname()[1], server
            finally:
                server.should_exit = server.force_exit = True
                thread.join()

    return serve
