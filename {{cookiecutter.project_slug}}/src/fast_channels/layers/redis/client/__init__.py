"""A Redis client of many callers that share one connection: it knows no message and no group.

It executes commands where a topic lives (a server, what the Sentinels name, or a node of a Cluster) and
keeps subscriptions across lost connections. What stands above it knows ``Servers``. From the bottom:
``hosts`` (where Redis is), ``connection``, ``commands`` (what is tried again, how long, and on which
connection), ``servers`` (which one a topic lives on, and what is subscribed there), ``cluster``.
"""
