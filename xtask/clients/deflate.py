"""The Python `websockets` client, which compresses by default, against a server's /echo that does, too."""

import asyncio
import json
import random
import sys

import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory as Deflate

ADDRESS = sys.argv[1]
passed = failed = 0


def check(what, good):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(("ok - " if good else "not ok - ") + "python, compressed: " + what)


def messages():
    numbers = random.Random(7)
    for size in [0, 1, 63, 64, 65, 125, 126, 1000, 65535, 65536, 500_000]:
        yield numbers.randbytes(size)
        yield json.dumps([numbers.choice(["grüß dich", "世界", 17]) for _ in range(size // 8)])


async def main():
    for name, offer in {
        "as it comes": Deflate(client_max_window_bits=True),
        "small windows": Deflate(server_max_window_bits=9, client_max_window_bits=9),
        "no takeover": Deflate(server_no_context_takeover=True, client_no_context_takeover=True),
    }.items():
        async with websockets.connect(f"ws://{ADDRESS}/echo", extensions=[offer], max_size=None) as client:
            [agreed] = client.protocol.extensions
            good = True
            for message in messages():
                await client.send(message)
                good &= await client.recv() == message
            await client.send(["in ", "frag", "ments " * 100])
            good &= await client.recv() == "in fragments " + "ments " * 99
        check(f"{name}: {agreed}", good and client.close_code == 1000)


asyncio.run(asyncio.wait_for(main(), 60))
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
