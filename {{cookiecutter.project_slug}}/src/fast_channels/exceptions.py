"""Every exception of the package.

FastChannelsError
├── InvalidChannelLayerError (ValueError)    a layer that is not registered or cannot work
│   └── NoChannelLayer (AttributeError)      a consumer without a layer needs one
├── InvalidNameError (TypeError)             a channel or group name that breaks the name rules
├── InvalidMessageError (TypeError)          no dict, or one that holds what messages do not carry
├── MessageTooLarge                          a message over the layer's size limit
├── ChannelFull                              a channel that holds as many messages as its capacity
├── Overflowed                               events came faster than a receiver took them
├── ChannelNotOwned (ValueError)             another process made the channel, or it is closed
├── ChannelLayerUnavailable (ConnectionError)  the broker is out of reach, or refuses
├── SerializerDoesNotExist (KeyError)        no serializer is registered under that name
├── UndecodableMessage (ValueError)          bytes that the serializer (or its keys) cannot read
├── UnhandledMessage (ValueError)            a message that no handler of the consumer is for
├── Refused, in ``frames``                   what a handler says to the client whose frame it refuses
├── PresenceFull, in ``presence``            a group with as many members as it may have
└── two more in ``testing``                  what communicators say of the application they drive

ConsumerSignal: raised by a handler to steer its consumer; none of them is an error.
├── AcceptConnection
├── DenyConnection
└── StopConsumer
"""


class FastChannelsError(Exception):
    """Base class of all errors of this package."""


class InvalidChannelLayerError(FastChannelsError, ValueError):
    """A layer alias is unknown, or a layer's configuration cannot work."""


class NoChannelLayer(InvalidChannelLayerError, AttributeError):
    """A consumer without a layer was asked for its ``channel_layer``, which so is no attribute of it."""


class InvalidNameError(FastChannelsError, TypeError):
    """A channel or group name breaks the name rules (see ``fast_channels.names``)."""


class InvalidMessageError(FastChannelsError, TypeError):
    """A message is not a dict, or holds a value that messages do not carry (see ``messages``)."""


class MessageTooLarge(FastChannelsError):
    """A serialized message exceeds the layer's ``max_message_size`` (bytes)."""


class ChannelFull(FastChannelsError):
    """The channel already holds as many unread messages as its capacity."""


class Overflowed(FastChannelsError):
    """A receiver's mailbox was full: what came then is lost to it, and nothing before that."""


class ChannelNotOwned(FastChannelsError, ValueError):
    """A process-local channel is received on where it was not made, or after it was closed."""

    def __init__(self, channel: str) -> None:
        super().__init__(
            f"Channel {channel} belongs to another process or event loop, or is closed: only the "
            f"layer whose new_channel() made it receives on it, until close_channel()"
        )


class ChannelLayerUnavailable(FastChannelsError, ConnectionError):
    """The broker refused the operation, or did not confirm it within ``timeout`` seconds.

    The operation may or may not have happened. Repeating a queue layer's send is safe for
    consumers of groups and own channels only if the layer itself repeats it, which it does until
    the timeout; a caller's second ``send`` is a second message.
    """


class SerializerDoesNotExist(FastChannelsError, KeyError):
    """No serializer is registered under the requested format name."""

    def __str__(self) -> str:
        return Exception.__str__(self)


class UndecodableMessage(FastChannelsError, ValueError):
    """Received bytes are not a message: wrong format, wrong key, or not ours."""


class UnhandledMessage(FastChannelsError, ValueError):
    """The consumer has no handler for the message's type, or none that its sender may call."""


class ConsumerSignal(Exception):
    """Base class of what a handler raises to steer its consumer."""


class AcceptConnection(ConsumerSignal):
    """Raised in ``connect()``: accept the socket."""


class DenyConnection(ConsumerSignal):
    """Raised in ``connect()``: refuse the socket (the server answers HTTP 403)."""


class StopConsumer(ConsumerSignal):
    """Raised in any handler: the consumer is finished; nothing more is dispatched to it."""
