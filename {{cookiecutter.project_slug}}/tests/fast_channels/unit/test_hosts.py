"""Every accepted way to say where Redis is, and what is refused."""

import warnings
from typing import Any

import pytest
from redis.asyncio.connection import ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelConnectionPool

from fast_channels.layers import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.layers.redis.client.hosts import Endpoint, close_pool, parse_hosts

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


@pytest.mark.parametrize("scheme", ["redis+sentinel", "redis+cluster"])
@pytest.mark.parametrize(
    ("authority", "nodes"),
    [
        ("[::1]:7000", [("::1", 7000)]),
        ("[fd00::1]:7000,[fd00::2]:7001", [("fd00::1", 7000), ("fd00::2", 7001)]),
        ("host:7000,[::1]:7001", [("host", 7000), ("::1", 7001)]),
        ("us%40er:p%2Fw%2C@host:7000,[::1]:7001", [("host", 7000), ("::1", 7001)]),
        ("host:7000, other:7001", [("host", 7000), ("other", 7001)]),
    ],
)
def test_several_nodes_in_a_url(scheme: str, authority: str, nodes: Any) -> None:
    """IPv6 in brackets, spaces behind commas, credentials before them."""
    path = "/main" if scheme == "redis+sentinel" else ""
    endpoint = one(f"  {scheme}://{authority}{path}\n")
    assert endpoint.sentinels + endpoint.cluster == tuple(nodes)
    if "%" in authority:
        assert endpoint.kwargs == {"username": "us@er", "password": "p/w,"}


@pytest.mark.parametrize("password", ["secret/with:signs@", "secret%2Fwith%3Asigns%40"])
@pytest.mark.parametrize(
    "url", ["redis+sentinel://:{}@a:1,b:2/main", "redis+cluster://:{}@a:1,b:2"]
)
def test_a_password_of_several_nodes(url: str, password: str) -> None:
    """Encoded or as it is, whatever signs it has; but a "?" has to be encoded."""
    endpoint = one(url.format(password))
    assert endpoint.kwargs == {"password": "secret/with:signs@"}
    assert endpoint.sentinels + endpoint.cluster == (("a", 1), ("b", 2))


def test_default_ports_of_ipv6_nodes() -> None:
    """Those of a Sentinel and of a server; shown in brackets again."""
    sentinel, cluster = one("redis+sentinel://[::1]/main"), one("redis+cluster://[::1]")
    assert str(sentinel) == "main at the Sentinels [::1]:26379"
    assert str(cluster) == "the Cluster of [::1]:6379"
    assert str(one("redis://[::1]:7000")) == "[::1]:7000"


def test_what_is_encoded_in_a_url() -> None:
    """The service's name; a query may hold an @ and a slash as they are."""
    endpoint = one("redis+sentinel://s1/my%20main%2F1/3?client_name=a@b/c&sentinel_username=x@y")
    assert endpoint.service_name == "my main/1"
    assert endpoint.kwargs == {"client_name": "a@b/c", "db": 3}
    assert endpoint.sentinel_kwargs == {"username": "x@y"}


@pytest.mark.parametrize(
    ("hosts", "options", "message"),
    [
        (["redis://a?ssl_cert_req=none"], {}, "'ssl_cert_req' is no option"),
        (["redis+sentinel://a/main?pasword=x"], {}, "main at .* 'pasword' is no option"),
        (["redis+sentinel://a/main?sentinel_pasword=x"], {}, "'pasword' is no option"),
        (["redis+cluster://a?pasword=x"], {}, "the Cluster of .* 'pasword' is no option"),
        (["redis://a"], {"connection_kwargs": {"pasword": "x"}}, "'pasword' is no option"),
        ([{"address": ("a", 1), "prot": 2}], {}, "'prot' is no option"),
        ([{"host": "a", "port": "x"}], {}, "a:x"),
        ([{"path": "/run/redis.sock", "ssl": True}], {}, "'ssl' is no option"),
        ([{"address": "redis://a", "ssl": True}], {}, "ssl=True contradicts redis://"),
        ([{"address": "rediss://a", "ssl": False}], {}, "ssl=False contradicts rediss://"),
        (["rediss://a?ssl_cert_reqs=nome"], {}, "nome"),
        (["redis://a/x?db=x"], {}, "'db'"),
        ([{"host": "a", "db": "x"}], {}, "'x'"),
        (["redis+cluster://a?db=1"], {}, "database 0 only"),
        (["redis+sentinel://a:port/main"], {}, "[Pp]ort"),
        (["redis+sentinel://a,/main"], {}, "like redis\\+sentinel://"),
        (["redis+cluster://a,,b"], {}, "like redis\\+cluster://"),
        ([{"cluster": ["a:1"]}], {}, "cluster must be a list of \\(host, port\\)"),
    ],
)
def test_what_no_connection_can_be_made_with(hosts: Any, options: Any, message: str) -> None:
    """Refused when the layer is made, by the name of the option: no outage that never ends."""
    for layer in (RedisChannelLayer, RedisPubSubChannelLayer):
        with pytest.raises(ValueError, match=message):
            layer(hosts, **options)


@pytest.mark.parametrize(
    "host",
    [
        {"address": "rediss://a", "ssl": True},
        {"address": "redis://a", "ssl": False},
        {"address": ("a", 1), "ssl": True},
    ],
)
def test_ssl_beside_an_address(host: dict[str, Any]) -> None:
    """It is understood where it says the same as the URL, or where there is none."""
    secure = host["ssl"]
    assert (one(host).kwargs.get("connection_class") is SSLConnection) == secure


@pytest.mark.parametrize(
    ("hosts", "prefix"),
    [
        (["redis://a", "redis://b/0"], "app"),
        (["redis://a/1"], "app:db1"),
        (["redis://a/1", "redis://b/1"], "app:db1"),
        (["redis://a/1", "redis://b/2"], "app:db1:db2"),
        (["redis+sentinel://a/main/3"], "app:db3"),
    ],
)
def test_a_database_number_is_a_part_of_the_names(hosts: list[str], prefix: str) -> None:
    """Publish/subscribe knows no databases; those of number 0 keep the plain names."""
    topics = RedisChannelLayer(hosts, prefix="app")._config.topics
    assert topics.group("room") == f"{prefix}:g:{{room}}"


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


@pytest.mark.parametrize(
    "host", ["redis://a", "rediss://a", "unix:///a", "redis+sentinel://s1/main"]
)
async def test_no_connection_reads_the_version_of_redis_py(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the disk, as it would by itself: that takes most of what making one takes."""
    pool = one(host).pool()
    reads = []
    monkeypatch.setattr("redis.utils.get_lib_version", lambda: reads.append(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pool.make_connection()
    assert reads == []


def test_a_caller_may_name_its_library() -> None:
    """By redis-py's options, old or new."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        connection: Any = (
            one("redis://a", connection_kwargs={"lib_name": "mine"}).pool().make_connection()
        )
    info = getattr(connection, "driver_info", None)
    assert (connection.lib_name if info is None else info.name) == "mine"
