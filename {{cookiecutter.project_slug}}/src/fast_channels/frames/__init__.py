"""Typed frames: Pydantic models in the place of dictionaries, on a WebSocket. docs/frames.rst is its guide.

A part of its own, which nothing imports but the command line: deleted, the rest is as before. It alone
needs Pydantic, which FastAPI brings.
"""

from .asyncapi import AsyncAPI
from .consumer import FrameConsumer, frame_message, with_fields
from .declaration import handles
from .models import ErrorFrame, Frame, FrameId, OkFrame, Problem, Refused
from .problems import describe
from .typescript import typescript

__all__ = [
    "AsyncAPI",
    "ErrorFrame",
    "Frame",
    "FrameConsumer",
    "FrameId",
    "OkFrame",
    "Problem",
    "Refused",
    "describe",
    "frame_message",
    "handles",
    "typescript",
    "with_fields",
]
