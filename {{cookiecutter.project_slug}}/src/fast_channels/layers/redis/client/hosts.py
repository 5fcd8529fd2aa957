"""Where Redis is: every accepted way of writing it, turned into one form. No I/O.

What no connection could ever be made with is refused here, when the layer is made, and is no outage.

An endpoint is one server, one Sentinel service and so whatever primary it has, or one Cluster.
Connections are made by redis-py, which does TLS, authentication, Sentinel discovery and URL parsing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio.connection import (
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

Address: TypeAlias = tuple[str, int]
Host: TypeAlias = str | Address | Mapping[str, Any]
Hosts: TypeAlias = Sequence[Host]
Sentinels: TypeAlias = Sequence[Address]

DEFAULT_HOST = "redis://localhost:6379"
DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379
CONNECT_TIMEOUT = 2.0  # seconds; a dead Sentinel must not hold up asking the next one for long

# The layers time replies themselves and reconnect themselves: a read time-out (5 s by default in
# redis-py 8) would kill idle subscriptions, a retry inside redis-py would hide a lost connection.
FORCED = {
    "socket_timeout": None,
    "health_check_interval": 0,
    "decode_responses": False,
    "protocol": 2,  # redis-py 8 speaks RESP3 by default and hands push messages to its own PubSub
}


@dataclass(frozen=True)
class Endpoint:
    """Keyword arguments of redis-py connections; with ``sentinels``, of those to the primary."""

    kwargs: dict[str, Any]
    sentinels: tuple[Address, ...] = ()
    service_name: str = ""
    sentinel_kwargs: dict[str, Any] = field(default_factory=dict)
    cluster: tuple[Address, ...] = ()  # nodes to ask first; the Cluster names the others

    def __str__(self) -> str:
        if self.cluster:
            return f"the Cluster of {_nodes(self.cluster)}"
        if self.sentinels:
            return f"{self.service_name} at the Sentinels {_nodes(self.sentinels)}"
        if "path" in self.kwargs:
            return str(self.kwargs["path"])
        return _node(self.kwargs.get("host", "localhost"), self.kwargs.get("port", DEFAULT_PORT))

    @property
    def database(self) -> int:
        return int(self.kwargs.get("db") or 0)

    def check(self) -> "Endpoint":
        """``ValueError`` if redis-py can make no connection with these options, whoever listens."""
        try:
            if self.database and self.cluster:
                raise ValueError(f"a Cluster has database 0 only, not {self.database}")
            if self.cluster:
                self.at(self.cluster[0]).check()
                return self
            pool = self.pool()
            pool.make_connection()
            if isinstance(pool, SentinelConnectionPool):
                pool.sentinel_manager.sentinels[0].connection_pool.make_connection()
        except (TypeError, ValueError, AttributeError, RedisError) as error:
            _, _, option = str(error).partition("unexpected keyword argument ")
            reason = f"{option} is no option of its connections" if option else str(error)
            raise ValueError(f"Redis ({self}) cannot be connected to: {reason}") from error
        return self

    def at(self, address: Address) -> "Endpoint":
        """One node of the Cluster."""
        return Endpoint(_with_tls(self.kwargs | {"host": address[0], "port": address[1]}))

    def pool(self) -> ConnectionPool:
        """A factory of connections, for the running event loop only."""
        kwargs: dict[str, Any] = (
            {"socket_connect_timeout": CONNECT_TIMEOUT}
            | self.kwargs
            | FORCED
            | {"retry": Retry(NoBackoff(), 0)}
        )
        if not self.sentinels:
            return ConnectionPool(**kwargs)
        tls = kwargs.pop("ssl", False)
        sentinel_kwargs = {"socket_connect_timeout": CONNECT_TIMEOUT, "socket_timeout": 1.0}
        manager = Sentinel(self.sentinels, sentinel_kwargs=sentinel_kwargs | self.sentinel_kwargs)
        return SentinelConnectionPool(self.service_name, manager, ssl=tls, **kwargs)


def _nodes(addresses: tuple[Address, ...]) -> str:
    return ",".join(_node(host, port) for host, port in addresses)


def _node(host: object, port: object) -> str:
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


async def close_pool(pool: ConnectionPool) -> None:
    if isinstance(pool, SentinelConnectionPool):
        for client in pool.sentinel_manager.sentinels:
            await client.aclose()
    await pool.aclose()


def parse_hosts(
    hosts: Hosts | None = None,
    *,
    sentinels: Sentinels | None = None,
    service_name: str | None = None,
    sentinel_kwargs: Mapping[str, Any] | None = None,
    connection_kwargs: Mapping[str, Any] | None = None,
) -> list[Endpoint]:
    """The endpoints to shard over: one for each of ``hosts``, or the one Sentinel service.

    ``connection_kwargs`` are redis-py's, added to each connection. Raises ``ValueError`` for what
    names no server, and says which forms do, and for an option that no connection takes.
    """
    extra = dict(connection_kwargs or {})
    if isinstance(hosts, str | bytes):
        raise ValueError(f"hosts must be a list of servers, such as [{hosts!r}], not a bare string")
    if sentinels is None and (service_name is not None or sentinel_kwargs is not None):
        raise ValueError("service_name and sentinel_kwargs need sentinels=[(host, port), …]")
    if sentinels is None and hosts is not None and not hosts:
        raise ValueError("hosts is empty; leave it out for redis://localhost:6379")
    if sentinels is None:
        endpoints = [_endpoint(host, extra) for host in hosts or [DEFAULT_HOST]]
    elif hosts is None:
        endpoints = [_service(sentinels, service_name, sentinel_kwargs, extra)]
    else:
        raise ValueError("Give either hosts or sentinels, not both")
    return [endpoint.check() for endpoint in endpoints]


def _endpoint(host: Any, extra: dict[str, Any]) -> Endpoint:
    if isinstance(host, str):
        return _from_url(host, extra)
    if isinstance(host, Mapping):
        options = dict(host)
        if "sentinels" in options:
            nodes = options.pop("sentinels")
            name = options.pop("service_name", None) or options.pop("master_name", None)
            options.pop("master_name", None)
            return _service(nodes, name, options.pop("sentinel_kwargs", None), options | extra)
        if "cluster" in options:
            nodes = options.pop("cluster")
            return Endpoint(options | extra, cluster=_addresses("cluster", nodes))
        if "address" in options:
            return _endpoint(options.pop("address"), options | extra)
        if "url" in options:
            return _endpoint(options.pop("url"), options | extra)
        if "host" in options or "path" in options:
            return Endpoint(_with_tls(options | extra))
    elif isinstance(host, Sequence) and len(host) == 2:
        return Endpoint(_with_tls({"host": host[0], "port": int(host[1])} | extra))
    raise ValueError(
        f"A host must be a URL, (host, port), {{'address': …}}, {{'host': …, 'port': …}}, "
        f"{{'sentinels': […], 'master_name': …}} or {{'cluster': […]}}, not {host!r}"
    )


def _from_url(url: str, extra: dict[str, Any]) -> Endpoint:
    """``redis://``, ``rediss://``, ``unix://``, or a list of nodes:

    ``redis+sentinel://user:password@host:port,host:port/service/db?sentinel_password=…``: user,
    password and db are those of the data servers; a query key that starts with ``sentinel_`` is an
    option of the connections to the Sentinels. ``redis+cluster://user:password@host:port,host:port``
    names nodes of a Cluster. ``rediss+sentinel`` and ``rediss+cluster`` use TLS.
    """
    url = url.strip()
    scheme, _, rest = url.partition("://")
    protocol, _, kind = scheme.partition("+")
    if kind not in ("sentinel", "cluster") or protocol not in ("redis", "rediss"):
        if extra.get("ssl", protocol == "rediss") != (protocol == "rediss"):
            raise ValueError(
                f"ssl={extra['ssl']!r} contradicts {scheme}://; rediss:// is with TLS, redis:// without"
            )
        return Endpoint(_with_tls(dict(parse_url(url)) | extra))
    # A password may stand there as it is, also with "/" or ":" in it; urlsplit takes one host at a time.
    before, _, query_string = rest.partition("?")
    credentials, _, location = before.rpartition("@")
    hosts, _, path = location.partition("/")
    nodes = [urlsplit(f"//{node.strip()}") for node in hosts.split(",")]
    query = dict(parse_qsl(query_string))
    prefix = "sentinel_"
    options = _typed({key: value for key, value in query.items() if not key.startswith(prefix)})
    own = _typed({k.removeprefix(prefix): v for k, v in query.items() if k.startswith(prefix)})
    username, _, password = credentials.partition(":")
    if username:
        options["username"] = unquote(username)
    if password:
        options["password"] = unquote(password)
    if protocol == "rediss":
        options["ssl"] = True
    service, _, db = path.strip("/").partition("/")
    if kind == "cluster":
        if not all(node.hostname for node in nodes) or service:
            raise ValueError("A Cluster URL must be like redis+cluster://host:6379,host:6379")
        return Endpoint(options | extra, cluster=_named(nodes, DEFAULT_PORT))
    if not all(node.hostname for node in nodes) or not service:
        raise ValueError(
            "A Sentinel URL must be like redis+sentinel://host:26379,host:26379/service_name/0"
        )
    if db:
        options["db"] = int(db)
    if protocol == "rediss":
        own["ssl"] = True
    sentinels = _named(nodes, DEFAULT_SENTINEL_PORT)
    return _service(sentinels, unquote(service), own, options | extra)


def _named(nodes: list[SplitResult], default_port: int) -> tuple[Address, ...]:
    return tuple(
        (unquote(node.hostname or ""), default_port if node.port is None else node.port)
        for node in nodes
    )


def _typed(options: dict[str, str]) -> dict[str, Any]:
    """By redis-py's own parser of queries, so that ``socket_connect_timeout=1`` is a number."""
    typed = dict(parse_url(f"redis://host?{urlencode(options)}"))
    del typed["host"]
    return typed


def _service(
    sentinels: Sequence[Any],
    service_name: str | None,
    sentinel_kwargs: Mapping[str, Any] | None,
    kwargs: dict[str, Any],
) -> Endpoint:
    if not service_name:
        raise ValueError("Sentinels need the name of the service: service_name (or master_name)")
    nodes = _addresses("sentinels", sentinels)
    return Endpoint(kwargs, nodes, service_name, dict(sentinel_kwargs or {}))


def _addresses(name: str, nodes: Any) -> tuple[Address, ...]:
    try:
        if isinstance(nodes, str | bytes) or not nodes:
            raise TypeError
        return tuple((str(host), int(port)) for host, port in nodes)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a list of (host, port), not {nodes!r}") from None


def _with_tls(kwargs: dict[str, Any]) -> dict[str, Any]:
    """``ssl=True`` is an argument of redis-py's clients, not of its connections."""
    if "path" in kwargs:
        kwargs["connection_class"] = UnixDomainSocketConnection
    elif kwargs.pop("ssl", False):
        kwargs["connection_class"] = SSLConnection
    return kwargs
