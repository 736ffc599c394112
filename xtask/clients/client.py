"""The Python `websockets` client against a server's /echo and /room."""

import asyncio
import sys

import websockets

ADDRESS = sys.argv[1]
passed = failed = 0


def check(what, good):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(("ok - " if good else "not ok - ") + "python: " + what)


async def main():
    url = f"ws://{ADDRESS}"
    async with websockets.connect(f"{url}/echo", ping_interval=0.2, ping_timeout=5, max_size=None) as client:
        await client.send("grüß dich")
        check("text stays text", await client.recv() == "grüß dich")
        await client.send(b"plain ASCII")
        check("binary stays binary", await client.recv() == b"plain ASCII")
        await client.send("")
        check("an empty message comes back", await client.recv() == "")
        await client.send(["he", "llo"])
        check("fragments are joined", await client.recv() == "hello")
        pong = await client.ping("here?")
        check("a ping is answered", await asyncio.wait_for(pong, 5) >= 0)
        large = "x" * (3 * 1024 * 1024)
        await client.send(large)
        check("3 MiB echo when the limit allows", await client.recv() == large)
        await asyncio.sleep(1)
        check("keep-alive pings hold the connection", client.state.name == "OPEN")
    check("the close handshake ends with 1000", client.close_code == 1000)
    async with websockets.connect(f"{url}/room") as one, websockets.connect(f"{url}/room") as two:
        await one.send("to all")
        check("a room reaches both", (await one.recv(), await two.recv()) == ("to all", "to all"))


asyncio.run(asyncio.wait_for(main(), 60))
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
