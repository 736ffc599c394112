"""Python `httpx` against the plain, JSON and chunked requests of a server's /plaintext and /publish, and of `hello`."""

import asyncio
import sys

import httpx

BENCH, HELLO = (f"http://{address}" for address in sys.argv[1:3])
passed = failed = 0


def check(what, good):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(("ok - " if good else "not ok - ") + "httpx: " + what)


def pieces():
    for _ in range(100):
        yield b"x" * 1000


def one_after_the_other():
    with httpx.Client(timeout=10) as client:
        reply = client.get(f"{BENCH}/plaintext")
        check("a plain request", (reply.status_code, reply.text, reply.http_version) == (200, "Hello, World!", "HTTP/1.1"))
        streams = set()
        for _ in range(20):
            streams.add(client.get(f"{BENCH}/plaintext").extensions["network_stream"].get_extra_info("client_addr"))
        check("the connection is kept", len(streams) == 1)
        reply = client.head(f"{BENCH}/plaintext")
        check("HEAD has the length and no body", (reply.headers["content-length"], reply.content) == ("13", b""))
        check("an unknown path", client.get(f"{BENCH}/nowhere").status_code == 404)
        reply = client.delete(f"{HELLO}/sum")
        check("a method that is not there", (reply.status_code, reply.headers["allow"]) == (405, "POST"))
        check("a body in chunks", client.post(f"{BENCH}/publish", content=pieces()).status_code == 204)
        check("JSON both ways", client.post(f"{HELLO}/sum", json=[1, 2, 3]).json() == 6)
        check("JSON that is none", client.post(f"{HELLO}/sum", content="no list").status_code == 400)
        check("path and query", client.get(f"{HELLO}/hello/gr%C3%BC%C3%9F", params={"times": 2}).text == "hello grüß\n" * 2)
        check("a body too large", client.post(f"{HELLO}/sum", content=b"x" * 3_000_000).status_code == 413)
        check("the next request after a refusal", client.get(f"{HELLO}/").status_code == 200)


async def at_once():
    limits = httpx.Limits(max_connections=20)
    async with httpx.AsyncClient(timeout=30, limits=limits) as client:
        replies = await asyncio.gather(*(client.get(f"{BENCH}/plaintext") for _ in range(500)))
        check("500 requests over 20 connections", all(reply.text == "Hello, World!" for reply in replies))


one_after_the_other()
asyncio.run(at_once())
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
