"""How servers may be written where a layer takes ``hosts`` or ``sentinels``."""

from .client.hosts import Address, Host, Hosts, Sentinels

__all__ = ["Address", "Host", "Hosts", "Sentinels"]
