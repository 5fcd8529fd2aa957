"""Users with passwords, in SQLite: the file ACCOUNTS. ``python -m my_chat.accounts NAME`` adds one.

Invariants
- No password is kept: what scrypt makes of it is.
- A name that nobody has takes as long as a wrong password, and is answered the same.
- An account rests for REST seconds after TRIES wrong passwords, whichever process they came to.
"""

import asyncio
import getpass
import hashlib
import hmac
import os
import secrets
import sqlite3
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager

from .visible import visible_line

FILE = os.environ.get("ACCOUNTS", "")
SHORTEST = 12  # characters of a password
TRIES = 5
REST = 300.0
AT_ONCE = asyncio.Semaphore(2)  # of one process: scrypt takes some 0.3 s and 16 MiB
TABLE = """CREATE TABLE IF NOT EXISTS account (
    name TEXT PRIMARY KEY COLLATE NOCASE, id TEXT UNIQUE, salt BLOB, hash BLOB,
    wrong INTEGER DEFAULT 0, tried REAL DEFAULT 0)"""
ADD = "INSERT INTO account (name, id, salt, hash) VALUES (?, ?, ?, ?)"
COUNT = """UPDATE account SET wrong = CASE WHEN tried < :rested THEN 1 ELSE wrong + 1 END,
    tried = :now WHERE name = :name AND (wrong < :tries OR tried < :rested)"""
READ = "SELECT id, name, salt, hash FROM account WHERE name = :name"


async def find(name: str, password: str) -> tuple[str, str] | None:
    """Id and name of the user whose name and password these are."""
    async with AT_ONCE:
        return await asyncio.to_thread(_find, name, password)


async def exists(user_id: str) -> bool:
    return await asyncio.to_thread(_exists, user_id)


def add(name: str, password: str) -> None:
    """A user, whose id is new and stays; ``sqlite3.IntegrityError`` if the name is taken."""
    if len(password) < SHORTEST:
        raise ValueError(f"A password needs {SHORTEST} characters or more, not {len(password)}")
    salt = secrets.token_bytes(16)
    with _database() as database:
        row = (visible_line(name), uuid.uuid4().hex, salt, _hash(password, salt))
        database.execute(ADD, row)


def _find(name: str, password: str) -> tuple[str, str] | None:
    now = time.time()
    tried = {"name": name, "now": now, "rested": now - REST, "tries": TRIES}
    with _database() as database:  # counted first, so that no guess beside this one is free
        may_try = database.execute(COUNT, tried).rowcount
        row = database.execute(READ, tried).fetchone()
    user_id, stored, salt, right = row if row and may_try else ("", "", b"", b"")
    if not hmac.compare_digest(_hash(password, salt), right):
        return None
    with _database() as database:
        database.execute("UPDATE account SET wrong = 0 WHERE id = ?", (user_id,))
    return user_id, stored


def _exists(user_id: str) -> bool:
    with _database() as database:
        row = database.execute("SELECT 1 FROM account WHERE id = ?", (user_id,)).fetchone()
    return row is not None


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=5)


@contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(FILE)) as database, database:
        database.execute(TABLE)
        yield database


if __name__ == "__main__":
    add(sys.argv[1], getpass.getpass())
