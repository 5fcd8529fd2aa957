"""The public names, where they are imported from, and their signatures.

A parameter may be added, if it has a default and comes after those listed here.
"""

import importlib
import inspect
from typing import Any

import pytest

from ..support.public_api import NAMES, PUBSUB, QUEUE, SIGNATURES

BASES = {
    "InvalidChannelLayerError": ValueError,
    "ChannelFull": Exception,
    "MessageTooLarge": Exception,
    "SerializerDoesNotExist": KeyError,
}


@pytest.mark.parametrize("module", NAMES)
def test_names(module: str) -> None:
    """Every public name is importable from each of its documented places."""
    found = importlib.import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(found, name)] == []


@pytest.mark.parametrize("path", SIGNATURES)
def test_signature(path: str) -> None:
    """Documented parameters have their names, order, kinds and defaults."""
    function = resolve(path)
    documented = SIGNATURES[path]
    if not inspect.isclass(function):
        assert inspect.iscoroutinefunction(function) is documented.startswith("async")
    expected = parameters(eval(f"lambda {documented.removeprefix('async ')[1:-1]}: None"))
    actual = parameters(function)
    assert actual[: len(expected)] == expected
    optional = (VAR_POSITIONAL, VAR_KEYWORD)
    added = actual[len(expected) :]
    assert [n for n, kind, default in added if default is EMPTY and kind not in optional] == []


@pytest.mark.parametrize("name", BASES)
def test_bases_of_exceptions(name: str) -> None:
    """An `except` clause of code that comes from elsewhere still catches."""
    exceptions = importlib.import_module("fast_channels.exceptions")
    assert issubclass(getattr(exceptions, name), (BASES[name], exceptions.FastChannelsError))
    assert issubclass(getattr(exceptions, name), BASES[name])


@pytest.mark.parametrize("layer", [QUEUE, PUBSUB])
def test_sentinel_arguments(layer: str) -> None:
    """Both Redis layers take the Sentinel arguments, and no misspelt one; neither connects yet."""
    make = resolve(layer)
    make(
        sentinels=[("127.0.0.1", 26379)],
        service_name="mymaster",
        sentinel_kwargs={"password": "x"},
        connection_kwargs={"password": "y"},
    )
    with pytest.raises(TypeError, match="sentinel_name"):
        make(sentinels=[("127.0.0.1", 26379)], sentinel_name="mymaster")


def test_attributes_of_layers() -> None:
    """Names, limits and extensions are attributes, as code from elsewhere expects."""
    layers = importlib.import_module("fast_channels.layers")
    base = layers.BaseChannelLayer()
    assert base.MAX_NAME_LENGTH == 100
    assert base.channel_name_regex.fullmatch("specific.abc!1")
    assert not base.group_name_regex.fullmatch("no spaces")
    assert isinstance(base.invalid_name_error, str)
    assert layers.InMemoryChannelLayer().extensions == ["groups", "flush"]
    assert layers.RedisChannelLayer().extensions == ["groups", "flush"]


def test_registry_is_a_mapping() -> None:
    """`in`, `len`, `[]` and get() of the registry behave as those of a dict."""
    layers = importlib.import_module("fast_channels.layers")
    registry, layer = layers.ChannelLayerRegistry(), layers.InMemoryChannelLayer()
    assert registry.get("default") is None
    with pytest.raises(KeyError):
        registry["default"]
    registry.register("default", layer)
    assert "default" in registry
    assert len(registry) == 1
    assert registry["default"] is layer


VAR_POSITIONAL = inspect.Parameter.VAR_POSITIONAL
VAR_KEYWORD = inspect.Parameter.VAR_KEYWORD
EMPTY = inspect.Parameter.empty


def resolve(path: str) -> Any:
    module, _, names = path.partition(":")
    found = importlib.import_module(module)
    for name in names.split("."):
        found = getattr(found, name)
    return found


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    """Name, kind and default of each parameter but self and cls."""
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in found if p.name not in ("self", "cls")]
