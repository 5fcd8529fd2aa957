"""The words of a model, by the protocol of OpenAI, which Ollama, vLLM and llama.cpp speak, too."""

import json
import os
from collections.abc import AsyncGenerator

import httpx

URL = os.environ.get("MODEL_URL", "http://127.0.0.1:11434/v1")
KEY = os.environ.get("MODEL_KEY", "")
MODEL = os.environ.get("MODEL", "llama3.2")
MOST_TOKENS = 4000
PATIENCE = httpx.Timeout(10, read=60)  # seconds; for the connection, and between two words


async def words_of_model(messages: list[dict[str, str]]) -> AsyncGenerator[str, None]:
    """Closing it, as a cancelled job does, closes the connection, and the model stops."""
    body = {"model": MODEL, "messages": messages, "stream": True, "max_tokens": MOST_TOKENS}
    headers = {"Authorization": f"Bearer {KEY}"} if KEY else {}
    async with (
        httpx.AsyncClient(timeout=PATIENCE, headers=headers) as client,
        client.stream("POST", f"{URL}/chat/completions", json=body) as response,
    ):
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line.removeprefix("data: "))["choices"]:
                    yield choice["delta"].get("content") or ""
