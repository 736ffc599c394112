"""Clients of the example `proxied` through nginx: cookies, WebSockets and event streams at sub-paths, by http and https."""

import asyncio
import pathlib
import ssl
import sys
import time

import httpx
import websockets

PLAIN, SECURE, PLACE = int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])
TLS = ssl.create_default_context(cafile=str(PLACE / "app.example.crt"))
HOST = "app.example"
# Not the address that nginx has towards the server, which is trusted.
CLIENT = "127.0.0.2"
passed = failed = 0


def check(what, good, seen=""):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(("ok - " if good else "not ok - ") + "nginx: " + what + ("" if good else f": {seen!r}"))


class Browser:
    """A client that knows nginx as app.example, at its usual ports or at its real ones."""

    def __init__(self, scheme, path, host=HOST):
        self.scheme, self.path, self.host = scheme, path, host
        self.port = SECURE if scheme == "https" else PLAIN
        self.cookie = ""
        self.client = httpx.AsyncClient(
            base_url=f"{scheme}://127.0.0.1:{self.port}{path}",
            transport=httpx.AsyncHTTPTransport(verify=TLS, local_address=CLIENT),
            timeout=10,
        )

    @property
    def origin(self):
        return f"{self.scheme}://{self.host}"

    def fields(self, also):
        fields = {"host": self.host, **also}
        return {**fields, "cookie": self.cookie} if self.cookie else fields

    def request(self, method, path, also={}, **more):
        return self.client.build_request(
            method, path, headers=self.fields(also), extensions={"sni_hostname": HOST}, **more
        )

    async def ask(self, method, path, also={}, **more):
        reply = await self.client.send(self.request(method, path, also, **more))
        for cookie in reply.headers.get_list("set-cookie"):
            self.cookie = cookie.split(";")[0]
        return reply

    async def events(self, count, origin=None):
        """The data of so many messages; the status alone if it is no stream."""
        also = {"accept": "text/event-stream", "origin": origin or self.origin}
        reply = await self.client.send(self.request("GET", "sse", also), stream=True)
        data, name = [], ""
        try:
            if reply.status_code != 200:
                return reply.status_code
            async for line in reply.aiter_lines():
                # Events with a name say where the stream stands.
                if not line:
                    name = ""
                elif line.startswith("event:"):
                    name = line[6:].strip()
                elif line.startswith("data:") and not name:
                    data.append(line[5:].strip())
                if len(data) == count:
                    break
        finally:
            await reply.aclose()
        return data

    async def echo(self, origin=None):
        """What comes back of two messages, or the status of the refusal."""
        scheme = self.scheme.replace("http", "ws")
        options = {"ssl": TLS, "server_hostname": HOST} if scheme == "wss" else {}
        try:
            async with websockets.connect(
                f"{scheme}://{self.host}{self.path}echo",
                host="127.0.0.1",
                port=self.port,
                local_addr=(CLIENT, 0),
                origin=origin or self.origin,
                additional_headers={"cookie": self.cookie} if self.cookie else {},
                proxy=None,
                **options,
            ) as socket:
                await socket.send("first")
                first = await socket.recv()
                await socket.send("x" * 100_000)
                return first, len(await socket.recv())
        except websockets.exceptions.InvalidStatus as refused:
            return refused.response.status_code


async def works(browser, name, cookie):
    what = f"{browser.scheme}, {name}"
    reply = await browser.ask("GET", "")
    set_cookie = reply.headers.get("set-cookie", "")
    check(f"{what}: a page", reply.status_code == 200 and "visit 1 from" in reply.text, reply.text)
    is_secure = "; Secure" in set_cookie
    good = set_cookie.startswith(f"{cookie}=") and is_secure == cookie.startswith("__Host-")
    check(f"{what}: the cookie is `{cookie}`", good, set_cookie)
    reply = await browser.ask("GET", "")
    check(f"{what}: the session is known again", "visit 2 from" in reply.text, reply.text)
    events = await asyncio.wait_for(browser.events(2), 20)
    check(f"{what}: events", events == ["visit 1", "visit 2"], events)
    following = asyncio.create_task(browser.events(1))
    for number in range(3):
        reply = await browser.ask("POST", "say", {"origin": browser.origin}, content=f"word {number}")
        check(f"{what}: a POST over a connection that is kept", reply.status_code == 204, reply.text)
    events = await asyncio.wait_for(following, 20)
    check(f"{what}: an event at once", events == ["word 0"], events)
    echoed = await asyncio.wait_for(browser.echo(), 20)
    check(f"{what}: a WebSocket", echoed == ("first", 100_000), echoed)
    for end in (browser.echo, lambda origin: browser.events(1, origin)):
        status = await asyncio.wait_for(end(origin="https://evil.example"), 20)
        check(f"{what}: a page from elsewhere is refused", status == 403, status)
    return reply


async def is_refused(browser, name):
    what = f"{browser.scheme}, {name}"
    reply = await browser.ask("GET", "")
    check(f"{what}: a page is 421", reply.status_code == 421 and "set-cookie" not in reply.headers, reply)
    for part in (f"`{browser.host}`", "`allowed_hosts`", "`trusted_proxies`"):
        check(f"{what}: the answer names {part}", part in reply.text, reply.text)
    reply = await browser.ask("POST", "say", {"origin": browser.origin}, content="word")
    check(f"{what}: a POST is 421", reply.status_code == 421, reply)
    check(f"{what}: a WebSocket is 421", (status := await browser.echo()) == 421, status)
    check(f"{what}: an event stream is 421", (status := await browser.events(1)) == 421, status)


def warnings(name, text):
    lines = (PLACE / f"{name}.log").read_text().splitlines()
    return [line for line in lines if "WARN" in line and text in line]


async def main():
    for scheme, cookie in (("https", "__Host-session"), ("http", "session")):
        port = SECURE if scheme == "https" else PLAIN
        for host in (HOST, f"{HOST}:{port}"):
            browser = Browser(scheme, "/trusting/", host)
            await works(browser, f"trusted, as {host}", cookie)
            reply = await browser.ask("GET", "", {"x-forwarded-for": "203.0.113.9"})
            check("the client's own word is not believed", f"from {CLIENT}<" in reply.text, reply.text)
        await works(Browser(scheme, "/trusting-without-host/"), "trusted, host in X-Forwarded-Host", cookie)
        # Without trust nginx's word on the scheme does not count.
        await works(Browser(scheme, "/listed/"), "not trusted, host allowed", "session")
        await is_refused(Browser(scheme, "/plain/"), "neither trusted nor allowed")
        other = Browser(scheme, "/listed/", "other.example")
        await is_refused(other, "not trusted, another host allowed")
    # What nginx sends as Host then is its own name of the server.
    reply = await Browser("https", "/plain-without-host/").ask("GET", "")
    check("not trusted, Host not passed on: 421", reply.status_code == 421 and "`plain`" in reply.text, reply)
    for name, host in (("plain", HOST), ("plain", "plain"), ("listed", "other.example")):
        lines = warnings(name, f"host `{host}`")
        check(f"the log of {name} says it once", len(lines) == 1, lines)
        for part in ("421", "`allowed_hosts`", "`trusted_proxies`", "127.0.0.1"):
            check(f"the log of {name} names {part}", part in "".join(lines), lines)
    # The code with its colon: a port may hold the same digits.
    lines = warnings("trusting", " 421: ")
    check("a trusting server logs nothing of hosts", not lines, lines)


begun = time.monotonic()
asyncio.run(asyncio.wait_for(main(), 120))
print(f"{passed} passed, {failed} failed in {time.monotonic() - begun:.1f} s")
sys.exit(failed > 0)
