"""Names in Redis. A topic is both a key (the log, in the queue layer) and a notification channel.

The braces are the hash tag of Redis Cluster: all keys of one topic share a slot.
"""

from dataclasses import dataclass

from ...names import owner_of


@dataclass(frozen=True)
class Topics:
    prefix: str

    @classmethod
    def on(cls, prefix: str, databases: list[int]) -> "Topics":
        """For servers of these database numbers: notifications know none, so the names have to."""
        numbers = dict.fromkeys(number for number in databases if number)
        return cls(":".join([prefix, *(f"db{number}" for number in numbers)]))

    def group(self, name: str) -> str:
        return f"{self.prefix}:g:{{{name}}}"

    def group_of(self, topic: str) -> str | None:
        """The name of the group; None for the topic of anything else."""
        start = f"{self.prefix}:g:{{"
        return topic[len(start) : -1] if topic.startswith(start) else None

    def inbox(self, process_id: str) -> str:
        """Carries the messages to all channels that one process owns."""
        return f"{self.prefix}:i:{{{process_id}}}"

    def inbox_of(self, channel: str) -> str | None:
        """The inbox of the process that owns the channel; None for a named channel."""
        owner = owner_of(channel)
        return None if owner is None else self.inbox(owner)

    def channel(self, name: str) -> str:
        return f"{self.prefix}:c:{{{name}}}"

    def dead_letters(self, name: str) -> str:
        return f"{self.prefix}:d:{{{name}}}"

    def delayed(self, name: str) -> str:
        """When what waits for another attempt is due."""
        return f"{self.prefix}:w:{{{name}}}"

    @property
    def pattern(self) -> str:
        """Matches every key of the layer, for SCAN."""
        escaped = "".join(f"\\{c}" if c in "*?[]\\^" else c for c in self.prefix)
        return f"{escaped}:[gicdw]:{{*"
