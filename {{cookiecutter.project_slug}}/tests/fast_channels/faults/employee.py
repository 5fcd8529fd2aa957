"""A worker process as the harness sees it: what its log says of jobs."""

from collections import Counter
from pathlib import Path

from .processes import Process


class Employee:
    """`holds` are the jobs that it has started and not done, `done` how often it did each."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self.process = Process(log, "worker", *arguments)
        self.done: Counter[int] = Counter()
        self.holds: set[int] = set()
        self._read = 0

    def look(self) -> None:
        """Read what it has said since the last look."""
        with self.process.log.open("rb") as log:
            log.seek(self._read)
            for line in log:
                if not line.endswith(b"\n"):
                    break  # still being written
                self._read += len(line)
                self._note(line.split())

    def is_busy(self) -> bool:
        self.look()
        return bool(self.holds)

    def kill(self) -> set[int]:
        """The jobs that it held when it died, if any; it is started again."""
        self.process.kill()
        self.look()
        held, self.holds = self.holds, set()
        self.process.start()
        return held

    def _note(self, words: list[bytes]) -> None:
        match words:
            case [b"started", number]:
                self.holds.add(int(number))
            case [b"done", number]:
                self.holds.discard(int(number))
                self.done[int(number)] += 1
