"""Agents that talk to a model server we did not write: LiteLLM's proxy, which speaks OpenAI's format and answers with
fixed texts.

    python models.py AOP GUEST

The Python must have LiteLLM; GUEST is the built fixture `capabilities.wasm`. Each check is one `aop run`: a real agent,
the host's model services, and the proxy.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

AOP, GUEST = sys.argv[1:]
KEY = "sk-of-the-proxy-0123456789"
ANSWER = "Grüezi, I am a mock."
# Far above what anything here takes: LiteLLM imports for half a minute on a slow machine.
PATIENCE_SECONDS = 180

PROXY_CONFIG = {
    "model_list": [
        {
            "model_name": name,
            "litellm_params": {"model": "openai/gpt-4o", "api_key": "unused", "mock_response": answer},
        }
        for name, answer in {
            "talker": ANSWER,
            "limited": "litellm.RateLimitError",
            "broken": "litellm.InternalServerError",
        }.items()
    ],
    "general_settings": {"master_key": KEY},
    "router_settings": {"num_retries": 0, "disable_cooldowns": True},
}


def passed(label: str) -> None:
    print(f"  {label}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_proxy(work: pathlib.Path, port: int) -> subprocess.Popen:
    config = work / "proxy.yaml"
    # JSON is YAML.
    config.write_text(json.dumps(PROXY_CONFIG))
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    environment.pop("DATABASE_URL", None)
    command = [pathlib.Path(sys.executable).parent / "litellm", "--config", config, "--host", "127.0.0.1"]
    log = (work / "proxy.log").open("w")
    proxy = subprocess.Popen([*command, "--port", str(port)], env=environment, cwd=work, stdout=log, stderr=log)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and proxy.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=5)
            return proxy
        except OSError:
            time.sleep(0.2)
    proxy.kill()
    raise SystemExit("the proxy did not start:\n" + (work / "proxy.log").read_text()[-3000:])


class Agent:
    """The fixture under settings that name a provider and a model."""

    def __init__(self, work: pathlib.Path, port: int):
        self.work = work
        url = f"http://127.0.0.1:{port}/v1"
        (work / "aop.toml").write_text(
            # The window is over before the first pause: what fails fails at once.
            '[model]\nretry_window = "100ms"\n'
            f'[model.providers.proxy]\nurl = "{url}"\nkey_env = "PROXY_KEY"\n'
        )

    def run(self, function: str, arguments: dict, provider="proxy", model="talker", extra="") -> dict:
        settings = self.work / "agent.toml"
        settings.write_text(f'timeout = "60s"\n[model]\nprovider = "{provider}"\nname = "{model}"\n{extra}')
        environment = {**os.environ, "PROXY_KEY": KEY}
        environment["AOP_CONFIG"] = str(self.work / "aop.toml")
        environment["AOP_LOG_LEVEL"] = "trace"
        command = [AOP, "run", GUEST, function, json.dumps(arguments), "--settings", settings, "--json"]
        command += ["--data", self.work / "data"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
        assert KEY not in done.stdout + done.stderr, "the key was shown or logged"
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            raise AssertionError(f"no envelope: {done.stdout}\n{done.stderr[-3000:]}") from None


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        work = pathlib.Path(directory)
        port = free_port()
        proxy = start_proxy(work, port)
        try:
            check(Agent(work, port))
        except BaseException:
            print((work / "proxy.log").read_text()[-3000:], file=sys.stderr)
            raise
        finally:
            proxy.terminate()
            proxy.wait()


def check(agent: Agent) -> None:
    answer = agent.run("complete", {"text": "hello", "image_bytes": 0})
    assert answer == {"success": True, "result": ANSWER}, answer
    passed("a completion")

    answer = agent.run("complete", {"text": "what is this?", "image_bytes": 100})
    assert answer["result"] == ANSWER, answer
    passed("a completion with an image")

    answer = agent.run("stream-text", {"text": "hello"})
    *pieces, last = answer["result"]
    assert "".join(pieces) == ANSWER and last == f"done: {ANSWER}", answer
    passed(f"a completion in {len(pieces)} pieces")

    def refused(kind: str, *words: str, **settings) -> None:
        for function, arguments in [
            ("complete", {"text": "hello", "image_bytes": 0}),
            ("stream-text", {"text": "hello"}),
        ]:
            error = agent.run(function, arguments, **settings)["error"]
            assert error.startswith(f"{kind}:") and all(word in error for word in words), error

    refused("invalid", "nobody", model="nobody")
    passed("an unknown model")
    refused("busy", model="limited")
    passed("a rate limit")
    refused("unavailable", "`proxy`", model="broken")
    passed("a provider that fails")
    refused("denied", "`elsewhere`", provider="elsewhere")
    passed("an unknown provider")
    refused("budget", "20", extra="tokens_per_day = 20\n")
    passed("a budget")


main()
