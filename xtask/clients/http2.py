"""Python's `httpx` with HTTP/2, and `h2` with `wsproto` for a WebSocket over HTTP/2 (RFC 8441), against a server's
/plaintext, /publish and /echo."""

import asyncio
import sys

import h2.config
import h2.connection
import h2.events
import httpx
import wsproto
import wsproto.events
from wsproto.connection import Connection, ConnectionType

ADDRESS = sys.argv[1]
HOST, PORT = ADDRESS.rsplit(":", 1)
passed = failed = 0


def check(what, good):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(("ok - " if good else "not ok - ") + "python http2: " + what)


async def requests():
    async with httpx.AsyncClient(http1=False, http2=True, base_url=f"http://{ADDRESS}") as client:
        answer = await client.get("/plaintext")
        check("httpx speaks HTTP/2", answer.http_version == "HTTP/2")
        check("a request is answered", (answer.status_code, answer.text) == (200, "Hello, World!"))
        answers = await asyncio.gather(*(client.get("/plaintext") for _ in range(100)))
        check("a hundred requests at once", all(answer.text == "Hello, World!" for answer in answers))
        check("HEAD has no body", (await client.head("/plaintext")).content == b"")
        check("an unknown path", (await client.get("/nowhere")).status_code == 404)
        check("a body", (await client.post("/publish", content=b"x" * 100_000)).status_code == 204)

        async def pieces():
            for _ in range(10):
                yield b"piece"
                await asyncio.sleep(0)

        # A refusal before the end of the body is left to nghttp: httpx waits for a window that no longer opens.
        check("a body in pieces", (await client.post("/publish", content=pieces())).status_code == 204)


async def socket():
    reader, writer = await asyncio.open_connection(HOST, int(PORT))
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    writer.write(connection.data_to_send())
    sockets, statuses, received, ended = {}, {}, {}, set()

    async def until(condition):
        while not condition():
            data = await asyncio.wait_for(reader.read(65536), 10)
            if not data:
                raise EOFError("the server has closed")
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    statuses[event.stream_id] = dict(event.headers).get(b":status")
                elif isinstance(event, h2.events.DataReceived):
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    # An empty one ends the stream, after the last message.
                    if event.data:
                        sockets[event.stream_id].receive_data(event.data)
                    for message in sockets[event.stream_id].events():
                        received.setdefault(event.stream_id, []).append(message)
                elif isinstance(event, h2.events.StreamEnded):
                    ended.add(event.stream_id)
            writer.write(connection.data_to_send())

    await until(lambda: connection.remote_settings.enable_connect_protocol == 1)
    check("the server takes extended CONNECT", True)
    streams = []
    for _ in range(5):
        stream = connection.get_next_available_stream_id()
        streams.append(stream)
        fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/echo")]
        fields += [(":authority", ADDRESS), ("sec-websocket-version", "13")]
        connection.send_headers(stream, fields)
        sockets[stream] = Connection(ConnectionType.CLIENT)
    writer.write(connection.data_to_send())
    await until(lambda: len(statuses) == 5)
    check("five WebSockets on one connection", all(status in (b"200", "200") for status in statuses.values()))
    for stream in streams:
        connection.send_data(stream, sockets[stream].send(wsproto.events.TextMessage(f"grüß dich {stream}")))
    writer.write(connection.data_to_send())
    await until(lambda: len(received) == 5)
    texts = [received[stream][0].data for stream in streams]
    check("each echoes its text", texts == [f"grüß dich {stream}" for stream in streams])
    stream = streams[0]
    connection.send_data(stream, sockets[stream].send(wsproto.events.Ping(b"here?")))
    writer.write(connection.data_to_send())
    await until(lambda: isinstance(received[stream][-1], wsproto.events.Pong))
    check("a ping is answered", bytes(received[stream][-1].payload) == b"here?")
    connection.send_data(stream, sockets[stream].send(wsproto.events.CloseConnection(1000)))
    writer.write(connection.data_to_send())
    await until(lambda: stream in ended)
    check("the close handshake ends the stream", received[stream][-1].code == 1000)
    writer.close()


async def main():
    await requests()
    await socket()


asyncio.run(asyncio.wait_for(main(), 60))
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
