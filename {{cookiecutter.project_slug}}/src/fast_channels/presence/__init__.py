"""Presence: who is here, right also after a crash, a deploy or an outage. Nothing of the core knows it.

Read ``rosters`` first: what is kept, and why it cannot go wrong. ``process`` keeps it up to date.
"""

from .consumer import PresenceMixin
from .rosters import PresenceFull
from .service import Member, Presence

__all__ = ["Member", "Presence", "PresenceFull", "PresenceMixin"]
