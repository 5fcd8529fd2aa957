"""Breaks things under load, and counts what was lost, doubled or reordered: `make faults`.

Real web processes with real sockets, numbered messages from several senders, and a fault per round:

    failover  the primary behind Sentinel is killed (SIGKILL), and comes back as a replica
    stale     the primary is stopped (SIGSTOP) until it has a successor, and then wakes up beside it
    cluster   the primary of a Cluster that carries the messages is killed, and comes back
    restart   a Redis that writes each message to disk is killed and started again
    kill      all connections to Redis are cut (CLIENT KILL) every 50 ms for a few seconds
    freeze    Redis is stopped (SIGSTOP) for longer than a layer waits for a reply
    consumer  a web process is stopped for the same time, while the other one sends
    worker    a worker is killed in the middle of its jobs

A round ends when every socket has received from every sender something sent after the fault, so the
load never stops between rounds. `report` says what each count means and which of them must be 0.
"""
