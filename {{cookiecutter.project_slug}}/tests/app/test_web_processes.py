"""How many web processes there are, by what one of them can see."""

import pytest

from {{ cookiecutter.project_slug }}.settings import web_processes


@pytest.mark.parametrize(
    ("arguments", "variable", "expected"),
    [
        ("uvicorn app.main:app", None, 1),
        ("uvicorn app.main:app --workers 4", None, 4),
        ("uvicorn app.main:app --workers=3 --port 80", None, 3),
        ("gunicorn app.main:app -w 2", None, 2),
        ("uvicorn app.main:app", "5", 5),
        ("uvicorn app.main:app --workers 1", "5", 1),
        ("uvicorn app.main:app --workers", "many", 1),
    ],
)
def test_the_command_line_tells_and_else_the_environment(
    arguments: str, variable: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    if variable is not None:
        monkeypatch.setenv("WEB_CONCURRENCY", variable)
    assert web_processes(arguments.split()) == expected
