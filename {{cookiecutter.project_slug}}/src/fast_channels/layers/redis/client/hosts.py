"""Where Redis is: every accepted way of writing it, turned into one form. No I/O.

What no connection could ever be made with is refused here, when the layer is made, and is no outage.

An endpoint is one server, one Sentinel service and so whatever primary it has, or one Cluster.
Connections are made by redis-py, which does TLS, authentication, Sentinel discovery and URL parsing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

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
EXAMPLES = {
    "sentinel": "redis+sentinel://host:26379,host:26379/service_name/0",
    "cluster": "redis+cluster://host:6379,host:6379",
}

# What redis-py says of itself to a server. From 7.2 on it would read that from disk for each connection,
# which takes 0.8 ms; before, it reads it once.
try:
    from redis.driver_info import DriverInfo
except ImportError:
    DRIVER: dict[str, Any] = {}
else:
    DRIVER = {"driver_info": DriverInfo()}

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
            return f"the Cluster of {_listed(self.cluster)}"
        if self.sentinels:
            return f"{self.service_name} at the Sentinels {_listed(self.sentinels)}"
        if "path" in self.kwargs:
            return str(self.kwargs["path"])
        return _listed(
            [(self.kwargs.get("host", "localhost"), self.kwargs.get("port", DEFAULT_PORT))]
        )

    @property
    def database(self) -> int:
        return int(self.kwargs.get("db") or 0)

    def check(self) -> "Endpoint":
        """``ValueError`` if redis-py can make no connection with these options, whoever listens."""
        try:
            if self.database and self.cluster:
                raise ValueError(f"a Cluster has database 0 only, not {self.database}")
            pool = (self.at(self.cluster[0]) if self.cluster else self).pool()
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
        return _endpoint(self.kwargs | {"host": address[0], "port": address[1]})

    def pool(self) -> ConnectionPool:
        """A factory of connections, for the running event loop only."""
        kwargs: dict[str, Any] = (
            {"socket_connect_timeout": CONNECT_TIMEOUT}
            | ({} if self.kwargs.keys() & {"lib_name", "lib_version"} else DRIVER)
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


def _listed(addresses: Iterable[tuple[object, object]]) -> str:
    return ",".join(
        f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}" for host, port in addresses
    )


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
    if isinstance(hosts, str | bytes):
        raise ValueError(f"hosts must be a list of servers, such as [{hosts!r}], not a bare string")
    if hosts is not None and sentinels is not None:
        raise ValueError("Give either hosts or sentinels, not both")
    if sentinels is None and (service_name is not None or sentinel_kwargs is not None):
        raise ValueError("service_name and sentinel_kwargs need sentinels=[(host, port), …]")
    if hosts is not None and not hosts:
        raise ValueError("hosts is empty; leave it out for redis://localhost:6379")
    if sentinels is not None:
        service = {"service_name": service_name, "sentinel_kwargs": sentinel_kwargs}
        hosts = [{"sentinels": sentinels} | service]
    extra = dict(connection_kwargs or {})
    return [_endpoint(_options(host, extra)).check() for host in hosts or [DEFAULT_HOST]]


def _endpoint(options: dict[str, Any]) -> Endpoint:
    """From options of redis-py's connections; ``sentinels`` or ``cluster`` beside them say whose."""
    if "sentinels" in options:
        names = [options.pop(name, None) for name in ("service_name", "master_name")]
        sentinel_kwargs = dict(options.pop("sentinel_kwargs", None) or {})
        nodes = _addresses("sentinels", options.pop("sentinels"))
        if not any(names):
            raise ValueError(
                "Sentinels need the name of the service: service_name (or master_name)"
            )
        return Endpoint(options, nodes, names[0] or names[1], sentinel_kwargs)
    if "cluster" in options:
        return Endpoint(options, cluster=_addresses("cluster", options.pop("cluster")))
    if "path" in options:
        options["connection_class"] = UnixDomainSocketConnection
    elif options.pop("ssl", False):  # an argument of redis-py's clients, not of its connections
        options["connection_class"] = SSLConnection
    return Endpoint(options)


def _addresses(name: str, nodes: Any) -> tuple[Address, ...]:
    try:
        if isinstance(nodes, str | bytes) or not nodes:
            raise TypeError
        return tuple((str(host), int(port)) for host, port in nodes)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a list of (host, port), not {nodes!r}") from None


def _options(host: Any, extra: dict[str, Any]) -> dict[str, Any]:
    """Those of one host, and ``extra`` ones, which stand beside it."""
    if isinstance(host, str):
        return _from_url(host.strip(), extra)
    if isinstance(host, Mapping):
        options = {**host, **extra}
        if host.keys() & {"sentinels", "cluster"}:
            return options
        for form in ("address", "url"):
            if form in host:
                return _options(options.pop(form), options)
        if host.keys() & {"host", "path"}:
            return options
    elif isinstance(host, Sequence) and len(host) == 2:
        return {"host": host[0], "port": int(host[1])} | extra
    raise ValueError(
        f"A host must be a URL, (host, port), {{'address': …}}, {{'host': …, 'port': …}}, "
        f"{{'sentinels': […], 'master_name': …}} or {{'cluster': […]}}, not {host!r}"
    )


def _from_url(url: str, extra: dict[str, Any]) -> dict[str, Any]:
    """``redis://``, ``rediss://``, ``unix://``, or a list of nodes:

    ``redis+sentinel://user:password@host:port,host:port/service/db?sentinel_password=…``: user,
    password and db are those of the data servers; a query key that starts with ``sentinel_`` is an
    option of the connections to the Sentinels. ``redis+cluster://user:password@host:port,host:port``
    names nodes of a Cluster. ``rediss+sentinel`` and ``rediss+cluster`` use TLS.
    """
    scheme, _, rest = url.partition("://")
    protocol, _, kind = scheme.partition("+")
    secure = protocol == "rediss"
    if kind not in EXAMPLES or protocol not in ("redis", "rediss"):
        if extra.get("ssl", secure) != secure:
            raise ValueError(
                f"ssl={extra['ssl']!r} contradicts {scheme}://; rediss:// is with TLS, redis:// without"
            )
        return dict(parse_url(url)) | extra
    # A password may stand there as it is, also with "/" or ":" in it; urlsplit takes one host at a time.
    before, _, query = rest.partition("?")
    credentials, _, location = before.rpartition("@")
    username, _, password = credentials.partition(":")
    hosts, _, path = location.partition("/")
    service, _, db = path.strip("/").partition("/")
    default_port = DEFAULT_PORT if kind == "cluster" else DEFAULT_SENTINEL_PORT
    nodes = [_address(node, default_port) for node in hosts.split(",")]
    if not all(name for name, _ in nodes) or bool(service) != (kind == "sentinel"):
        raise ValueError(f"A {kind.capitalize()} URL must be like {EXAMPLES[kind]}")
    tls = {"ssl": True} if secure else {}
    options = dict(parse_qsl(query)) | ({"db": db} if db else {})
    prefix = "sentinel_"
    own = {
        key.removeprefix(prefix): options.pop(key) for key in [*options] if key.startswith(prefix)
    }
    login = {"username": unquote(username), "password": unquote(password)}
    data = _typed(options) | {key: value for key, value in login.items() if value} | tls
    if kind == "cluster":
        return data | {"cluster": nodes} | extra
    service_of = {"service_name": unquote(service), "sentinel_kwargs": _typed(own) | tls}
    return data | {"sentinels": nodes} | service_of | extra


def _address(node: str, default_port: int) -> Address:
    parts = urlsplit(f"//{node.strip()}")
    return unquote(parts.hostname or ""), default_port if parts.port is None else parts.port


def _typed(options: dict[str, str]) -> dict[str, Any]:
    """Decoded by redis-py's own parser of queries, so that ``socket_connect_timeout=1`` is a number."""
    typed = dict(parse_url(f"redis://host?{urlencode(options)}"))
    del typed["host"]
    return typed
