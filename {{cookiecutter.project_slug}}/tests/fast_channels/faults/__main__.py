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
Status 1 says that a promise was not kept.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable

from . import cases, jobs
from .report import Result, table
from .traffic import Load
from .waiting import NotRecovered

LAYERS = ["queue", "pubsub"]
WORKER = "worker"
CASES = [*cases.FAULTS, WORKER]


def main() -> int:
    chosen = _parse()
    results: list[Result] = []
    broken: list[str] = []
    for case in chosen.cases:
        for layer in chosen.layers:
            if (case, layer) == (WORKER, "pubsub"):
                continue  # which refuses workers
            try:
                result = asyncio.run(_run(case, layer, chosen))
            except NotRecovered as error:
                broken.append(f"{case}, {layer}: {error}")
            else:
                results.append(result)
                broken += result.broken
    print(table(results))
    print("\n".join(broken) or "Every promise was kept.")
    return 1 if broken else 0


async def _run(case: str, layer: str, chosen: argparse.Namespace) -> Result:
    if case == WORKER:
        return await jobs.run(chosen.rounds)
    return await cases.run(
        case,
        layer,
        rounds=chosen.rounds,
        load=Load(chosen.sockets, rate=chosen.rate),
        replicated=chosen.durability == "replicated",
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="faults of each case (10)")
    parser.add_argument("--cases", type=_some(CASES), default=CASES, help=",".join(CASES))
    parser.add_argument("--layers", type=_some(LAYERS), default=LAYERS, help=",".join(LAYERS))
    parser.add_argument("--sockets", type=int, default=Load.sockets, help="that listen (50)")
    parser.add_argument("--rate", type=float, default=Load.rate, help="messages a second (200)")
    parser.add_argument(
        "--durability",
        choices=["replicated", "memory"],
        default="replicated",
        help="of the queue layer in failover; with memory its losses are counted, and no failure",
    )
    return parser.parse_args()


def _some(names: list[str]) -> Callable[[str], list[str]]:
    """Reads a comma-separated list of these; an empty one means all."""

    def read(text: str) -> list[str]:
        chosen = text.split(",") if text else names
        if unknown := set(chosen).difference(names):
            raise argparse.ArgumentTypeError(
                f"{', '.join(sorted(unknown))} is none of {', '.join(names)}"
            )
        return chosen

    return read


if __name__ == "__main__":
    sys.exit(main())
