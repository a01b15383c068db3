"""A feature server of ours in a thread of this process, over a real Redis and what stock Feast wrote into it."""

import asyncio
import hashlib
import http.client
import json
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
import uvloop
from feast import FeatureStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RepoConfig

from bench.ports import free_port
from feature_runtime import serve
from feature_runtime.serving import reloading
from feature_runtime.serving.http import Server
from feature_runtime.serving.metrics import Metrics
from feature_runtime.serving.server import FeatureServer
from tests.waiting import wait_for

PROJECT = "shop"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def columns(self) -> dict[str, dict[str, list[Any]]]:
        """The answer's columns by name."""
        assert self.status == 200, self.body
        return dict(zip(self.json["metadata"]["feature_names"], self.json["results"], strict=True))

    @property
    def fields(self) -> list[str]:
        """What a refusal complains of."""
        assert self.json["detail"], self.json
        assert all(error.keys() == {"field", "value", "rule", "remedy"} for error in self.json["errors"]), self.json
        return [error["field"] for error in self.json["errors"]]


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def request(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        self.connection.request(method, path, body, headers or {})
        response = self.connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    def ask(self, question: Any, **headers: str) -> Answer:
        body = question if isinstance(question, bytes) else json.dumps(question).encode()
        named = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", "/get-online-features", body, named)


@dataclass
class Shop:
    """A feature store with a file registry: what stock Feast writes, and what it says."""

    store: FeatureStore
    reader: FeatureStore
    objects: list[Any] = field(default_factory=list)

    def apply(self, *objects: Any) -> None:
        self.objects += [one for one in objects if one.name not in {known.name for known in self.objects}]
        self.store.apply(list(objects))

    def write(self, view: Any, rows: list[tuple[dict[str, Value], dict[str, Value], Any]]) -> None:
        """Rows of (entity values, feature values, event time), by stock Feast's own Redis store."""
        registered = self.store.get_feature_view(view.name)
        data = [(EntityKey(join_keys=list(key), entity_values=list(key.values())), values, moment, None) for key, values, moment in rows]
        self.store.provider.online_store.online_write_batch(self.store.config, registered, data, None)

    def contract(self, *services: str) -> dict[str, Any]:
        """A contract of the registry's services as they are now."""
        locked = {}
        for service in self.store.list_feature_services():
            if service.name in services:
                features = [
                    [projection.name_to_use(), feature.name, str(feature.dtype)]
                    for projection in service.feature_view_projections
                    for feature in projection.features
                ]
                sha256 = hashlib.sha256(json.dumps(features, separators=(",", ":")).encode()).hexdigest()
                locked[service.name] = {"features": features, "sha256": sha256}
        assert locked.keys() == set(services)
        return {"definitions_sha256": "0" * 64, "services": locked}


class Running:
    """The server's event loop in a thread."""

    def __init__(self, shop: Shop, contract: dict[str, Any], *, registry_seconds: float = 3600, **options: Any) -> None:
        self.shop = shop
        self.metrics = Metrics()
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._arguments = (contract, registry_seconds, options)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self._ready.wait(20)
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            uvloop.run(self._serve())
        except BaseException as error:
            self._error = error
            self._ready.set()
            raise

    async def _serve(self) -> None:
        contract, registry_seconds, options = self._arguments
        store = serve._online_store(self.shop.reader)
        self.metrics.state.online_store_up = lambda: store.up
        self.server = FeatureServer(store, self.metrics, **options)
        loaded = reloading.load(self.shop.reader, contract)
        self.server.use(loaded.plan, loaded.transformer)
        self.store = store
        store.start()
        self.loop = asyncio.get_running_loop()
        self.stopped = asyncio.Event()
        self.http = Server(self.server)
        self.port = await self.http.start("127.0.0.1", 0)
        reload = self.loop.create_task(reloading.keep_up(self.server, self.shop.reader, contract, loaded, seconds=registry_seconds))
        while not store.up:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        self._ready.set()
        await self.stopped.wait()
        reload.cancel()
        await self.http.drain(listening_seconds=0, seconds=1)
        await store.stop()

    def stop(self) -> None:
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.stopped.set)
            self.thread.join(10)
            assert not self.thread.is_alive()

    def client(self) -> Client:
        return Client(self.port)

    def ask(self, question: Any, **headers: str) -> Answer:
        return self.client().ask(question, **headers)

    def get(self, path: str) -> Answer:
        return self.client().request("GET", path)


def feature_store(directory: Path, connection_string: str, **online_store: Any) -> FeatureStore:
    return FeatureStore(
        config=RepoConfig(
            project=PROJECT,
            provider="local",
            registry={"registry_type": "file", "path": str(directory / "registry.db"), "cache_ttl_seconds": 3600},
            online_store={"type": "redis", "connection_string": connection_string, **online_store},
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
            repo_path=str(directory),
        )
    )


@pytest.fixture(scope="module")
def shop_of(
    tmp_path_factory: pytest.TempPathFactory, redis_port: int, redis_admin: redis.Redis, secrets: dict[str, str]
) -> Callable[..., Shop]:
    """Makes empty feature stores: written with all rights, read with the server's."""

    def make(*objects: Any) -> Shop:
        redis_admin.flushall()
        directory = tmp_path_factory.mktemp("shop")
        at = f"127.0.0.1:{redis_port}"
        shop = Shop(
            feature_store(directory, f"{at},password={secrets['REDIS_DEFAULT']}"),
            feature_store(directory, f"{at},username=feast-feature-server,password={secrets['REDIS_SERVE']},socket_timeout=1,retry=null"),
        )
        shop.apply(*objects)
        return shop

    return make


@pytest.fixture(scope="module")
def serving() -> Iterator[Callable[..., Running]]:
    """Starts servers; all are stopped at the end."""
    started: list[Running] = []

    def start(shop: Shop, contract: dict[str, Any], **options: Any) -> Running:
        started.append(Running(shop, contract, **options))
        return started[-1]

    yield start
    for one in started:
        one.stop()


class OwnRedis:
    """A Redis that a test may hang and kill."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> None:
        binary = shutil.which("redis-server")
        assert binary, "Redis is not installed: apt-get install redis-server"
        command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.directory), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for(redis.Redis(port=self.port).ping, redis.exceptions.ConnectionError)

    def signal(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait(10)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    server = OwnRedis(tmp_path, free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_shop(tmp_path: Path, own_redis: OwnRedis) -> Shop:
    at = f"127.0.0.1:{own_redis.port},socket_timeout=1,socket_connect_timeout=1,retry=null"
    return Shop(feature_store(tmp_path, at), feature_store(tmp_path, at))
