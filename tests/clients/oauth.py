"""The whole OAuth flow of MCP: the Python SDK's client finds the authorization server by the host's metadata, registers,
signs in, gets a token and calls a tool; tokens that are not for the host are refused.

    python oauth.py AOP AGENT NODE PROVIDER_DIRECTORY

AOP is a built `aop`, AGENT the fixture `echo.wasm`, PROVIDER_DIRECTORY where npm installed `oidc-provider`.
"""

import asyncio
import html
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request

import httpx2
import mcp
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

AOP, AGENT, NODE, PROVIDER = sys.argv[1:]
CALLBACK = "http://127.0.0.1:9/callback"
PATIENCE_SECONDS = 120


def passed(label: str) -> None:
    print(f"  {label}")


def free_port() -> int:
    """The resource must be known to the authorization server before the host listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Memory:
    """What the client remembers."""

    tokens = client_info = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client_info

    async def set_client_info(self, client_info):
        self.client_info = client_info


class Person:
    """Signs in and consents with the provider's forms, as a browser would."""

    callback = None

    async def visit(self, url: str) -> None:
        async with httpx2.AsyncClient(follow_redirects=False) as browser:
            response = await browser.get(url)
            for _ in range(20):
                location = response.headers.get("location")
                if location and location.startswith(CALLBACK):
                    self.callback = urllib.parse.parse_qs(urllib.parse.urlsplit(location).query)
                    return
                if location:
                    response = await browser.get(urllib.parse.urljoin(str(response.url), location))
                    continue
                assert response.status_code == 200, (response.status_code, response.text)
                action = html.unescape(re.search(r'action="([^"]+)"', response.text)[1])
                prompt = re.search(r'name="prompt" value="([^"]+)"', response.text)[1]
                form = {"prompt": prompt}
                if prompt == "login":
                    form |= {"login": "ada", "password": "secret"}
                response = await browser.post(urllib.parse.urljoin(str(response.url), action), data=form)
        raise AssertionError("the authorization server asks for ever")

    async def returned(self) -> AuthorizationCodeResult:
        first = {name: values[0] for name, values in self.callback.items()}
        return AuthorizationCodeResult(code=first["code"], state=first.get("state"), iss=first.get("iss"))


def oauth(endpoint: str, memory: Memory, scope: str) -> OAuthClientProvider:
    person = Person()
    return OAuthClientProvider(
        server_url=endpoint,
        client_metadata=OAuthClientMetadata(
            client_name="the check",
            redirect_uris=[CALLBACK],
            grant_types=["authorization_code"],
            response_types=["code"],
            token_endpoint_auth_method="none",
            scope=scope,
        ),
        storage=memory,
        redirect_handler=person.visit,
        callback_handler=person.returned,
    )


async def status(endpoint: str, token: str | None) -> tuple[int, str]:
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    async with httpx2.AsyncClient() as client:
        response = await client.post(endpoint, headers=headers, json=body)
        return response.status_code, response.headers.get("www-authenticate", "")


async def check(endpoint: str) -> None:
    refused, challenge = await status(endpoint, None)
    assert refused == 401 and "resource_metadata=" in challenge, (refused, challenge)
    passed("without a token: 401, and where to get one")

    memory = Memory()
    async with httpx2.AsyncClient(auth=oauth(endpoint, memory, "tools:call tools:list"), timeout=30) as http:
        async with mcp.Client(streamable_http_client(endpoint, http_client=http)) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            assert "echo_echo" in tools, tools
            result = await client.call_tool("echo_echo", {"text": "hello there"})
            assert result.content[0].text == "hello there", result
    passed("the SDK's client finds the authorization server, registers, signs in and calls a tool")

    token = memory.tokens.access_token
    assert memory.client_info.client_id
    # What the session's opening needs is beside the point: the token passes.
    assert (await status(endpoint, token))[0] not in (401, 403)
    header, claims, signature = token.split(".")
    for label, forged in {
        "another signature": f"{header}.{claims}.{signature[:-4]}AAAA",
        "no signature": f"{header}.{claims}.",
        "an API key that does not exist": "aop_aaaaaaaaaaaa_" + "a" * 52,
    }.items():
        refused, challenge = await status(endpoint, forged)
        assert refused == 401 and 'error="invalid_token"' in challenge, (label, refused, challenge)
    passed("forged tokens: 401")

    memory = Memory()
    async with httpx2.AsyncClient(auth=oauth(endpoint, memory, "tools:list"), timeout=30) as http:
        list_only = await http.get(endpoint.replace("/mcp", "/api/v1/agents"))
        assert list_only.status_code == 200, list_only.text
    refused = await httpx2.AsyncClient().get(
        endpoint.replace("/mcp", "/api/v1/keys"), headers={"authorization": f"Bearer {memory.tokens.access_token}"}
    )
    challenge = refused.headers["www-authenticate"]
    assert refused.status_code == 403 and "insufficient_scope" in challenge, (refused.status_code, challenge)
    passed("too few scopes: 403, and which would do")


def lines(process: subprocess.Popen) -> str:
    line = process.stdout.readline().decode().strip()
    assert line, "a server ended before it listened"
    return line


def main() -> None:
    work = pathlib.Path(tempfile.mkdtemp())
    servers = []
    try:
        endpoint = f"http://127.0.0.1:{free_port()}/mcp"
        here = pathlib.Path(__file__).parent
        environment = {"PATH": os.environ["PATH"], "HOME": str(work)}
        provider = [NODE, str(here / "authorization_server.mjs"), PROVIDER, endpoint]
        servers.append(subprocess.Popen(provider, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment))
        issuer = lines(servers[-1])
        (work / "agents").mkdir()
        shutil.copy(AGENT, work / "agents" / "echo.wasm")
        (work / "aop.toml").write_text(
            f'listen = "{urllib.parse.urlsplit(endpoint).netloc}"\nagents = ["agents"]\ndata = "data"\n'
            f'[access.issuers.check]\nissuer = "{issuer}"\naudience = ["{endpoint}"]\n'
        )
        with (work / "log").open("wb") as log:
            serve = [AOP, "serve", "--config", str(work / "aop.toml")]
            servers.append(subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=log, env=environment))
        lines(servers[-1])
        try:
            asyncio.run(asyncio.wait_for(check(endpoint), PATIENCE_SECONDS))
        except BaseException:
            print((work / "log").read_text(errors="replace")[-4000:], file=sys.stderr)
            raise
    finally:
        for server in servers:
            server.kill()
            server.wait()
        shutil.rmtree(work)


main()
