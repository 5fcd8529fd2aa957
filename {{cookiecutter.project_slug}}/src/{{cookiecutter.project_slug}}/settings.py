"""What the environment decides. Each setting is an upper-case variable; .env.example lists them."""

import argparse
import os
import secrets
from collections.abc import Sequence
from functools import cache
from importlib.metadata import metadata
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Secret = Annotated[SecretStr, Field(min_length=32)]
RedisUrl = Annotated[str, Field(pattern=r"^$|^(unix|rediss?(\+(sentinel|cluster))?)://")]


class Settings(BaseSettings):
    # An error names the variable, not its value: that may be a secret, and goes into the log.
    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True
    )

    app_name: str = metadata(__package__)["Name"]
    redis_url: RedisUrl = ""
    secret_key: Secret | None = None
    session_seconds: PositiveFloat = 12 * 60 * 60
    secure_cookies: bool = False
    auth_jwks_url: str = ""
    auth_secret: Secret | None = None
    auth_issuer: str = ""
    auth_audience: str = ""
    allowed_origins: Annotated[list[str], NoDecode] = ["self"]
    max_body_bytes: PositiveInt = 64 * 1024
    worker_concurrency: PositiveInt = 10
    job_lease_seconds: PositiveFloat = 30.0
    job_step_seconds: NonNegativeFloat = 0.25
    run_worker: bool = False
    jobs_per_user: PositiveInt = 5
    frames_per_second: PositiveFloat = 10.0
    rooms_per_address: PositiveInt = 100
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def split_at_commas(cls, value: str | list[str]) -> list[str]:
        return value if isinstance(value, list) else [part.strip() for part in value.split(",")]

    @property
    def has_provider(self) -> bool:
        """Whether users sign in elsewhere, and come with a token; else they sign in by a name."""
        return bool(self.auth_jwks_url or self.auth_secret)

    @model_validator(mode="after")
    def provider_is_whole(self) -> Self:
        """A token of another issuer, or for another app, must not be good here."""
        if self.auth_jwks_url and self.auth_secret:
            raise ValueError("Set one of AUTH_JWKS_URL and AUTH_SECRET, not both")
        named = bool(self.auth_issuer and self.auth_audience)
        if self.has_provider != named or bool(self.auth_issuer) != bool(self.auth_audience):
            raise ValueError(
                "AUTH_ISSUER and AUTH_AUDIENCE go with one of AUTH_JWKS_URL and AUTH_SECRET"
            )
        return self


@cache
def get_settings() -> Settings:
    return Settings()


@cache
def get_secret_key() -> str:
    """What signs cookies: without SECRET_KEY a random one, which only this process knows."""
    key = get_settings().secret_key
    return key.get_secret_value() if key else secrets.token_hex(32)


def web_processes(arguments: Sequence[str] | None = None) -> int:
    """How many there are, as uvicorn, fastapi or gunicorn was told: their processes have its arguments.

    Several servers or containers cannot be seen.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--workers", "-w", nargs="?", default=os.environ.get("WEB_CONCURRENCY"))
    number = parser.parse_known_args(arguments)[0].workers or ""
    return int(number) if number.isdecimal() else 1
