"""Settings come from the environment, and decide which layers there are."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from fast_channels.layers import InMemoryChannelLayer
from fast_channels.layers.jobs import WorkQueue
from fast_channels.layers.redis.layer import RedisLayer

from {{ cookiecutter.project_slug }}.layers import make_layers
from {{ cookiecutter.project_slug }}.settings import Settings, get_settings


def test_without_any_variable_everything_is_in_memory() -> None:
    layers = make_layers()
    assert set(layers) == {"default", "jobs"}
    assert all(isinstance(layer, InMemoryChannelLayer) for layer in layers.values())


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "rediss://user:secret@redis.example:6380/1",
        "redis+sentinel://:secret@127.0.0.1:26379,127.0.0.1:26380/mymaster/0?sentinel_password=s",
    ],
)
def test_redis_url_makes_both_layers_redis_layers(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of whichever topology; the jobs' layer keeps each job until it is acknowledged."""
    monkeypatch.setenv("REDIS_URL", url)
    layers = make_layers()
    assert all(isinstance(layer, RedisLayer) for layer in layers.values())
    assert isinstance(layers["jobs"], WorkQueue)


def test_the_two_layers_and_two_apps_share_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:6379/0")
    prefixes = set()
    for name in ("one", "two"):
        monkeypatch.setenv("APP_NAME", name)
        get_settings.cache_clear()
        layers = make_layers().values()
        prefixes |= {layer.prefix for layer in layers if isinstance(layer, RedisLayer)}
    assert len(prefixes) == 4


def test_origins_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_ORIGINS", "https://chat.example.com, .example.org")
    assert Settings().allowed_origins == ["https://chat.example.com", ".example.org"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WORKER_CONCURRENCY", "0"),
        ("WORKER_CONCURRENCY", "many"),
        ("JOB_STEP_SECONDS", "-1"),
        ("JOBS_PER_USER", "0"),
        ("FRAMES_PER_SECOND", "0"),
        ("ROOMS_PER_ADDRESS", "none"),
        ("RUN_WORKER", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("REDIS_URL", "127.0.0.1:6379"),
        ("REDIS_URL", "http://127.0.0.1:6379"),
        ("SECRET_KEY", "too short"),
        ("AUTH_SECRET", "too short"),
        ("SESSION_SECONDS", "0"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_the_name_of_its_variable(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError, match=f"(?i){variable}"):
        Settings()


@pytest.mark.parametrize(
    "names",
    [
        {"AUTH_SECRET"},
        {"AUTH_SECRET", "AUTH_ISSUER"},
        {"AUTH_ISSUER", "AUTH_AUDIENCE"},
        {"AUTH_SECRET", "AUTH_JWKS_URL", "AUTH_ISSUER", "AUTH_AUDIENCE"},
    ],
)
def test_a_provider_is_named_whole(names: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A half of it must not leave the sign-in by a name open, or a token's issuer unchecked."""
    for name in names:
        monkeypatch.setenv(name, "x" * 40)
    with pytest.raises(ValidationError, match="AUTH_"):
        Settings()


@pytest.mark.parametrize(
    "values",
    [
        {"SECRET_KEY": "secret-of-mine"},
        {"REDIS_URL": ":secret-of-mine@127.0.0.1:6379"},
        {"SECRET_KEY": "secret-of-mine" * 3, "AUTH_SECRET": "secret-of-mine" * 3},
    ],
)
def test_an_error_tells_no_secret(values: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in the log of the process that could not start."""
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as error:
        Settings()
    assert "mine" not in str(error.value)


def test_every_setting_is_in_env_example() -> None:
    """Commented out or not, so that nobody has to read the code to find it."""
    example = (Path(__file__).parents[2] / ".env.example").read_text()
    missing = [name for name in Settings.model_fields if f"{name.upper()}=" not in example]
    assert missing == []
