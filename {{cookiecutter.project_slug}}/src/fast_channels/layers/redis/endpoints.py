"""Where Redis is: every accepted way of writing it, turned into one form. No I/O.

An endpoint is one server, or one Sentinel service and so whatever primary it has at the moment.
Connections are made by redis-py, which does TLS, authentication, Sentinel discovery and URL parsing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
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

from .type_defs import Address, Hosts, Sentinels

DEFAULT_HOST = "redis://localhost:6379"
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

    def __str__(self) -> str:
        if self.sentinels:
            nodes = ",".join(f"{host}:{port}" for host, port in self.sentinels)
            return f"{self.service_name} at the Sentinels {nodes}"
        if "path" in self.kwargs:
            return str(self.kwargs["path"])
        return f"{self.kwargs.get('host', 'localhost')}:{self.kwargs.get('port', 6379)}"

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
    names no server, and says which forms do.
    """
    extra = dict(connection_kwargs or {})
    if sentinels is not None:
        if hosts is not None:
            raise ValueError("Give either hosts or sentinels, not both")
        return [_service(sentinels, service_name, sentinel_kwargs, extra)]
    if service_name is not None or sentinel_kwargs is not None:
        raise ValueError("service_name and sentinel_kwargs need sentinels=[(host, port), …]")
    if isinstance(hosts, str | bytes):
        raise ValueError(f"hosts must be a list of servers, such as [{hosts!r}], not a bare string")
    if hosts is not None and not hosts:
        raise ValueError("hosts is empty; leave it out for redis://localhost:6379")
    return [_endpoint(host, extra) for host in hosts or [DEFAULT_HOST]]


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
        if "address" in options:
            return _endpoint(options.pop("address"), options | extra)
        if "url" in options:
            return _endpoint(options.pop("url"), options | extra)
        if "host" in options or "path" in options:
            return Endpoint(_with_tls(options | extra))
    elif isinstance(host, Sequence) and len(host) == 2:
        return Endpoint(_with_tls({"host": host[0], "port": int(host[1])} | extra))
    raise ValueError(
        f"A host must be a URL, (host, port), {{'address': …}}, {{'host': …, 'port': …}} or "
        f"{{'sentinels': […], 'master_name': …}}, not {host!r}"
    )


def _from_url(url: str, extra: dict[str, Any]) -> Endpoint:
    """``redis://``, ``rediss://``, ``unix://``, or ``redis+sentinel://`` (``rediss+sentinel://``).

    ``redis+sentinel://user:password@host:port,host:port/service/db?sentinel_password=…``: user,
    password and db are those of the data servers; a query key that starts with ``sentinel_`` is an
    option of the connections to the Sentinels.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in ("redis+sentinel", "rediss+sentinel"):
        return Endpoint(dict(parse_url(url)) | extra)
    credentials, _, location = rest.rpartition("@")
    parts = urlsplit(f"//{location}")
    service, _, db = parts.path.strip("/").partition("/")
    if not parts.netloc or not service:
        raise ValueError(
            "A Sentinel URL must be like redis+sentinel://host:26379,host:26379/service_name/0"
        )
    username, _, password = credentials.partition(":")
    query = dict(parse_qsl(parts.query))
    prefix = "sentinel_"
    options = _typed({key: value for key, value in query.items() if not key.startswith(prefix)})
    own = _typed({k.removeprefix(prefix): v for k, v in query.items() if k.startswith(prefix)})
    if username:
        options["username"] = unquote(username)
    if password:
        options["password"] = unquote(password)
    if db:
        options["db"] = int(db)
    if scheme == "rediss+sentinel":
        options["ssl"] = own["ssl"] = True
    nodes = [_address(node) for node in parts.netloc.split(",")]
    return _service(nodes, service, own, options | extra)


def _typed(options: dict[str, str]) -> dict[str, Any]:
    """By redis-py's own parser of queries, so that ``socket_connect_timeout=1`` is a number."""
    typed = dict(parse_url(f"redis://host?{urlencode(options)}"))
    del typed["host"]
    return typed


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    return (host, int(port)) if colon and port.isdigit() else (text, DEFAULT_SENTINEL_PORT)


def _service(
    sentinels: Sequence[Any],
    service_name: str | None,
    sentinel_kwargs: Mapping[str, Any] | None,
    kwargs: dict[str, Any],
) -> Endpoint:
    if not service_name:
        raise ValueError("Sentinels need the name of the service: service_name (or master_name)")
    if isinstance(sentinels, str | bytes) or not sentinels:
        raise ValueError(f"sentinels must be a list of (host, port), not {sentinels!r}")
    nodes = tuple((str(host), int(port)) for host, port in sentinels)
    return Endpoint(kwargs, nodes, service_name, dict(sentinel_kwargs or {}))


def _with_tls(kwargs: dict[str, Any]) -> dict[str, Any]:
    """``ssl=True`` is an argument of redis-py's clients, not of its connections."""
    if "path" in kwargs:
        kwargs["connection_class"] = UnixDomainSocketConnection
    elif kwargs.pop("ssl", False):
        kwargs["connection_class"] = SSLConnection
    return kwargs
