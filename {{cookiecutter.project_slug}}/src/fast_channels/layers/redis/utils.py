"""Which of several servers carries a name, under the name that it has in fast-channels."""

from .client.servers import shard_index as consistent_hash

__all__ = ["consistent_hash"]
