"""One request to an ASGI app, message by message."""

import asyncio
import json


class Exchange:
    """One ASGI request and the messages of its response. The test sends the body in parts."""

    def __init__(self, app, *, path="/detect", headers=(), length=None):
        declared = [(b"content-length", str(length).encode())] if length is not None else []
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [*declared, *headers],
            "client": ("127.0.0.1", 1),
            "server": ("service", 80),
        }
        self.app, self.sent, self.reads, self.incoming = app, [], [], asyncio.Queue()

    def send_body(self, data, more=False):
        self.incoming.put_nowait({"type": "http.request", "body": data, "more_body": more})

    def disconnect(self):
        self.incoming.put_nowait({"type": "http.disconnect"})

    async def run(self):
        async def receive():
            self.reads.append(len(self.sent))
            return await self.incoming.get()

        async def send(message):
            self.sent.append(message)

        await self.app(self.scope, receive, send)
        return self

    @property
    def status(self):
        return self.sent[0]["status"]

    @property
    def headers(self):
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def problem(self):
        return json.loads(b"".join(message["body"] for message in self.sent[1:]))["type"].rpartition(":")[2]


def metric_value(app, name, **labels):
    return app.state.metrics.collector_registry.get_sample_value(name, labels)
