"""What the environment decides. Each setting is an upper-case variable; .env.example lists them."""

import argparse
import os
from collections.abc import Sequence
from functools import cache
from importlib.metadata import metadata
from typing import Annotated, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    app_name: str = metadata(__package__)["Name"]
    redis_url: str = ""
    allowed_origins: Annotated[list[str], NoDecode] = ["self"]
    max_body_bytes: PositiveInt = 64 * 1024
    worker_concurrency: PositiveInt = 10
    job_lease_seconds: PositiveFloat = 30.0
    job_step_seconds: NonNegativeFloat = 0.25
    run_worker: bool = False
    jobs_per_socket: PositiveInt = 5
    frames_per_second: PositiveFloat = 10.0
    rooms_per_address: PositiveInt = 100
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def split_at_commas(cls, value: str | list[str]) -> list[str]:
        return value if isinstance(value, list) else [part.strip() for part in value.split(",")]


@cache
def get_settings() -> Settings:
    return Settings()


def web_processes(arguments: Sequence[str] | None = None) -> int:
    """How many there are, as uvicorn, fastapi or gunicorn was told: their processes have its arguments.

    Several servers or containers cannot be seen.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--workers", "-w", nargs="?", default=os.environ.get("WEB_CONCURRENCY"))
    number = parser.parse_known_args(arguments)[0].workers or ""
    return int(number) if number.isdecimal() else 1
