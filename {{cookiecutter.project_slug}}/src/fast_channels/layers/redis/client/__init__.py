"""A Redis client of many callers that share one connection: it knows no message and no group.

It executes commands where a topic lives (a server, what the Sentinels name, or a node of a Cluster) and
keeps subscriptions across lost connections. What stands above it knows ``Servers``. From the bottom:
``hosts`` (where Redis is), ``commands`` (on one connection, and what is tried again how long), ``servers``
(the connections that are kept, which one a topic lives on, and what is subscribed there), ``cluster``.
"""
