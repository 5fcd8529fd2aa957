"""Consumers and channel layers for ASGI apps, with the programming interface of Django Channels.

Read one message's way through the package in this order: ``consumer`` (a socket and its
handlers), ``layers`` (channels and groups), ``layers.redis`` (how bytes travel), ``mailbox`` (where a
message waits for its consumer). ``worker`` runs the consumers of jobs in a process of their own.
"""

__version__ = "2.0.0"
