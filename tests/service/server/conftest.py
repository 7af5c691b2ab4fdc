"""A uvicorn server in this process with the HTTP protocol of the service."""

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
        with socket.create_server(("127.0.0.1", 0)) as server_socket:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [server_socket]})
            thread.start()
            try:
                yield server_socket.getsockname()[1], server
            finally:
                server.should_exit = server.force_exit = True
                thread.join()

    return serve
