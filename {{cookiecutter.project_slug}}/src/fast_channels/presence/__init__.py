"""Presence: who is here, right also after a crash, a deploy or an outage. Nothing of the core knows it.

Read ``rosters`` first: what is kept, and why it cannot go wrong. ``process`` and ``room`` keep it up to date.
"""

from .rosters import Member, PresenceFull
from .service import Presence, PresenceMixin

__all__ = ["Member", "Presence", "PresenceFull", "PresenceMixin"]
