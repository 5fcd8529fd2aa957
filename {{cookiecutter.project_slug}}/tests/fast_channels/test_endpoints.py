"""Every accepted way to say where Redis is, and what is refused."""

from typing import Any

import pytest
from redis.asyncio.connection import ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelConnectionPool

from fast_channels.layers.redis.endpoints import Endpoint, close_pool, parse_hosts

NODES = (("s1", 26379), ("s2", 26380))


def one(host: Any, **options: Any) -> Endpoint:
    (endpoint,) = parse_hosts([host], **options)
    return endpoint


def test_the_default_is_redis_on_this_machine() -> None:
    """Without hosts: localhost, port 6379."""
    (endpoint,) = parse_hosts()
    assert str(endpoint) == "localhost:6379"


@pytest.mark.parametrize(
    "host",
    [
        "redis://redis.example:6380/2",
        {"address": "redis://redis.example:6380/2"},
        {"url": "redis://redis.example:6380", "db": 2},
        {"address": ("redis.example", 6380), "db": 2},
        {"host": "redis.example", "port": 6380, "db": 2},
    ],
)
def test_one_server(host: Any) -> None:
    """A URL or a mapping with an address, a url, or host and port; more keys are redis-py's."""
    endpoint = one(host)
    assert endpoint.kwargs == {"host": "redis.example", "port": 6380, "db": 2}
    assert str(endpoint) == "redis.example:6380"


@pytest.mark.parametrize("host", [("redis.example", 6380), ["redis.example", "6380"]])
def test_a_pair_of_host_and_port(host: Any) -> None:
    """A tuple or list; the port may be text, as from an environment variable."""
    assert one(host).kwargs == {"host": "redis.example", "port": 6380}


def test_several_hosts_are_several_endpoints() -> None:
    """In their order, since that decides which names live where."""
    endpoints = parse_hosts(["redis://a:1", ("b", 2), {"host": "c", "port": 3}])
    assert [str(endpoint) for endpoint in endpoints] == ["a:1", "b:2", "c:3"]


def test_credentials_in_a_url() -> None:
    """User and password, percent-encoded where needed."""
    kwargs = one("redis://us%40er:p%3Ass@host:1/3").kwargs
    assert (kwargs["username"], kwargs["password"], kwargs["db"]) == ("us@er", "p:ss", 3)


@pytest.mark.parametrize("host", ["rediss://host:1", {"host": "host", "port": 1, "ssl": True}])
def test_tls(host: Any) -> None:
    """By the URL's scheme or by `ssl=True`."""
    assert one(host).kwargs["connection_class"] is SSLConnection


@pytest.mark.parametrize("host", ["unix:///run/redis.sock", {"path": "/run/redis.sock"}])
def test_a_unix_socket(host: Any) -> None:
    """By URL or path; shown as its path."""
    endpoint = one(host)
    assert endpoint.kwargs["connection_class"] is UnixDomainSocketConnection
    assert str(endpoint) == "/run/redis.sock"


@pytest.mark.parametrize(
    ("hosts", "options"),
    [
        (["redis+sentinel://:data@s1:26379,s2:26380/main/2?sentinel_password=watch"], {}),
        (
            [
                {
                    "sentinels": NODES,
                    "master_name": "main",
                    "password": "data",
                    "db": 2,
                    "sentinel_kwargs": {"password": "watch"},
                }
            ],
            {},
        ),
        (
            [
                {
                    "sentinels": NODES,
                    "service_name": "main",
                    "sentinel_kwargs": {"password": "watch"},
                }
            ],
            {"connection_kwargs": {"password": "data", "db": 2}},
        ),
        (
            None,
            {
                "sentinels": [list(node) for node in NODES],
                "service_name": "main",
                "sentinel_kwargs": {"password": "watch"},
                "connection_kwargs": {"password": "data", "db": 2},
            },
        ),
    ],
)
def test_one_sentinel_service(hosts: Any, options: dict[str, Any]) -> None:
    """URL, mapping and arguments mean the same."""
    assert parse_hosts(hosts, **options) == [
        Endpoint({"password": "data", "db": 2}, NODES, "main", {"password": "watch"})
    ]


def test_a_sentinel_url_in_detail() -> None:
    """User, default port, TLS for both, and options with redis-py's types."""
    endpoint = one(
        "rediss+sentinel://us%40er:p%2Fw@s1,s2:26380/main"
        "?socket_connect_timeout=1.5&sentinel_socket_timeout=2"
    )
    assert endpoint.sentinels == NODES
    assert endpoint.kwargs == {
        "username": "us@er",
        "password": "p/w",
        "socket_connect_timeout": 1.5,
        "ssl": True,
    }
    assert endpoint.sentinel_kwargs == {"socket_timeout": 2.0, "ssl": True}
    assert str(endpoint) == "main at the Sentinels s1:26379,s2:26380"


def test_connection_kwargs_are_added_to_every_host() -> None:
    """They win over what a URL says."""
    endpoints = parse_hosts(["redis://a", ("b", 1)], connection_kwargs={"db": 7})
    assert [endpoint.kwargs["db"] for endpoint in endpoints] == [7, 7]


def test_what_was_given_is_not_changed() -> None:
    """A caller's mapping can be used again."""
    host = {"sentinels": NODES, "master_name": "main", "sentinel_kwargs": {}}
    before = dict(host)
    assert one(host) == one(host)
    assert host == before


@pytest.mark.parametrize(
    ("hosts", "options", "message"),
    [
        ("redis://a", {}, "not a bare string"),
        (b"redis://a", {}, "not a bare string"),
        ([], {}, "hosts is empty"),
        ([42], {}, "A host must be"),
        ([("a", 1, 2)], {}, "A host must be"),
        ([{"prot": 1}], {}, "A host must be"),
        ([("a", "port")], {}, "port"),
        (["http://a"], {}, "scheme"),
        (["redis+sentinel://s1:1"], {}, "like redis\\+sentinel://"),
        (["redis+sentinel:///main"], {}, "like redis\\+sentinel://"),
        ([{"sentinels": NODES}], {}, "name of the service"),
        ([{"sentinels": [], "master_name": "main"}], {}, "must be a list"),
        (None, {"sentinels": NODES}, "name of the service"),
        (None, {"sentinels": "s1:1", "service_name": "main"}, "must be a list"),
        (["redis://a"], {"sentinels": NODES, "service_name": "main"}, "not both"),
        (None, {"service_name": "main"}, "need sentinels"),
        (None, {"sentinel_kwargs": {}}, "need sentinels"),
    ],
)
def test_what_names_no_server_is_refused(hosts: Any, options: Any, message: str) -> None:
    """A ValueError that says what was expected."""
    with pytest.raises(ValueError, match=message):
        parse_hosts(hosts, **options)


async def test_idle_connections_are_never_timed_out() -> None:
    """redis-py's time-outs, checks, retries and RESP3 are off, whatever the caller says."""
    for host in ("redis://a?socket_timeout=1&health_check_interval=5", "redis+sentinel://s1/main"):
        pool = one(host).pool()
        assert pool.connection_kwargs["socket_timeout"] is None
        assert pool.connection_kwargs["health_check_interval"] == 0
        assert pool.connection_kwargs["protocol"] == 2
        assert isinstance(pool, SentinelConnectionPool) == host.startswith("redis+sentinel")
        assert isinstance(pool, ConnectionPool)
        await close_pool(pool)
