"""The public names of the package: where each is imported from, and its signature."""

NAMES = {
    "fast_channels.layers": """
        BaseChannelLayer InMemoryChannelLayer RedisChannelLayer RedisPubSubChannelLayer
        ChannelLayerRegistry channel_layers get_channel_layer register_channel_layer
        unregister_channel_layer has_layers register_encoder
        """,
    "fast_channels.layers.base": "BaseChannelLayer",
    "fast_channels.layers.in_memory": "InMemoryChannelLayer",
    "fast_channels.layers.registry": """
        ChannelLayerRegistry channel_layers get_channel_layer register_channel_layer
        unregister_channel_layer has_layers
        """,
    "fast_channels.layers.redis": "RedisChannelLayer RedisPubSubChannelLayer",
    "fast_channels.layers.redis.core": "RedisChannelLayer",
    "fast_channels.layers.redis.pubsub": "RedisPubSubChannelLayer",
    "fast_channels.layers.redis.serializers": """
        registry SerializersRegistry SerializerDoesNotExist BaseMessageSerializer JSONSerializer
        MsgPackSerializer MissingSerializer
        """,
    "fast_channels.consumer": """
        AsyncConsumer AsyncWebsocketConsumer AsyncJsonWebsocketConsumer AsyncHttpConsumer
        """,
    "fast_channels.consumer.base": "AsyncConsumer",
    "fast_channels.consumer.websocket": "AsyncWebsocketConsumer AsyncJsonWebsocketConsumer",
    "fast_channels.consumer.http": "AsyncHttpConsumer",
    "fast_channels.exceptions": """
        InvalidChannelLayerError AcceptConnection DenyConnection ChannelFull MessageTooLarge
        StopConsumer
        """,
    "fast_channels.identity": """
        IdentityMixin SESSION_EXPIRED SIGNED_OUT close_user send_to_user user_group
        """,
    "fast_channels.frames": """
        AsyncAPI ErrorFrame Frame FrameConsumer FrameId OkFrame Problem Refused describe frame_message
        handles typescript with_fields
        """,
    "fast_channels.middleware": "BaseMiddleware OriginValidator WebsocketDenier",
    "fast_channels.utils": "await_many_dispatch is_same_domain",
    "fast_channels.testing": "ApplicationCommunicator WebsocketCommunicator HttpCommunicator",
    "fast_channels.type_defs": "ChannelMessage Scope Event Receive Send ASGIApplication",
    "fast_channels.worker": "Worker",
    "fast_channels.presence": "Presence PresenceMixin PresenceFull Member",
}

LAYER = "fast_channels.layers:BaseChannelLayer"
MEMORY = "fast_channels.layers:InMemoryChannelLayer"
QUEUE = "fast_channels.layers:RedisChannelLayer"
PUBSUB = "fast_channels.layers:RedisPubSubChannelLayer"
REGISTRY = "fast_channels.layers:ChannelLayerRegistry"
SERIALIZERS = "fast_channels.layers.redis.serializers"
WEBSOCKET = "fast_channels.consumer:AsyncWebsocketConsumer"
JSON = "fast_channels.consumer:AsyncJsonWebsocketConsumer"
HTTP = "fast_channels.consumer:AsyncHttpConsumer"
APPLICATION = "fast_channels.testing:ApplicationCommunicator"
CLIENT = "fast_channels.testing:WebsocketCommunicator"

# As Python would print them, without self, cls and annotations; async where it is awaited.
SIGNATURES = {
    LAYER: "(expiry=60, capacity=100, channel_capacity=None)",
    f"{LAYER}.compile_capacities": "(channel_capacity)",
    f"{LAYER}.get_capacity": "(channel)",
    f"{LAYER}.match_type_and_length": "(name)",
    f"{LAYER}.require_valid_channel_name": "(name, receive=False)",
    f"{LAYER}.require_valid_group_name": "(name)",
    f"{LAYER}.non_local_name": "(name)",
    f"{LAYER}.send": "async (channel, message)",
    f"{LAYER}.receive": "async (channel)",
    f"{LAYER}.new_channel": "async (prefix='specific.')",
    f"{LAYER}.flush": "async ()",
    f"{LAYER}.group_add": "async (group, channel)",
    f"{LAYER}.group_discard": "async (group, channel)",
    f"{LAYER}.group_send": "async (group, message)",
    MEMORY: "(expiry=60, group_expiry=86400, capacity=100, channel_capacity=None)",
    f"{MEMORY}.close": "async ()",
    QUEUE: "(hosts=None, prefix='asgi', expiry=60, group_expiry=86400, capacity=100, "
    "channel_capacity=None, symmetric_encryption_keys=None, random_prefix_length=12, "
    "serializer_format='msgpack')",
    f"{QUEUE}.close_pools": "async ()",
    f"{QUEUE}.wait_received": "async ()",
    f"{QUEUE}.serialize": "(message)",
    f"{QUEUE}.deserialize": "(message)",
    PUBSUB: "(hosts=None, prefix='asgi', on_disconnect=None, on_reconnect=None, "
    "symmetric_encryption_keys=None, serializer_format='msgpack')",
    f"{REGISTRY}.register": "(alias, layer)",
    f"{REGISTRY}.unregister": "(alias)",
    f"{REGISTRY}.get": "(alias)",
    f"{REGISTRY}.list_aliases": "()",
    f"{REGISTRY}.clear": "()",
    "fast_channels.layers:register_channel_layer": "(alias, layer)",
    "fast_channels.layers:unregister_channel_layer": "(alias)",
    "fast_channels.layers:has_layers": "()",
    "fast_channels.layers:register_encoder": "(kind, encode)",
    f"{SERIALIZERS}:SerializersRegistry.register_serializer": "(format, cls)",
    f"{SERIALIZERS}:SerializersRegistry.get_serializer": "(format, *args, **kwargs)",
    f"{SERIALIZERS}:JSONSerializer": "(symmetric_encryption_keys=None, random_prefix_length=0, "
    "expiry=None)",
    "fast_channels.consumer:AsyncConsumer.as_asgi": "(**initkwargs)",
    "fast_channels.consumer:AsyncConsumer.dispatch": "async (message)",
    "fast_channels.consumer:AsyncConsumer.send": "async (message)",
    f"{WEBSOCKET}.connect": "async ()",
    f"{WEBSOCKET}.accept": "async (subprotocol=None, headers=None)",
    f"{WEBSOCKET}.receive": "async (text_data=None, bytes_data=None)",
    f"{WEBSOCKET}.send": "async (text_data=None, bytes_data=None, close=False)",
    f"{WEBSOCKET}.close": "async (code=None, reason=None)",
    f"{WEBSOCKET}.disconnect": "async (code)",
    f"{WEBSOCKET}.deny": "async (status=403, body=b'', headers=None)",
    f"{WEBSOCKET}.serve": "async (websocket, /, **arguments)",
    f"{WEBSOCKET}.websocket_connect": "async (message)",
    f"{WEBSOCKET}.websocket_receive": "async (message)",
    f"{WEBSOCKET}.websocket_disconnect": "async (message)",
    f"{JSON}.receive_json": "async (content, **kwargs)",
    f"{JSON}.send_json": "async (content, close=False)",
    f"{JSON}.decode_json": "async (text_data)",
    f"{JSON}.encode_json": "async (content)",
    f"{HTTP}.send_headers": "async (*, status=200, headers=None)",
    f"{HTTP}.send_body": "async (body, *, more_body=False)",
    f"{HTTP}.send_response": "async (status, body, *, headers=None)",
    f"{HTTP}.handle": "async (body)",
    f"{HTTP}.disconnect": "async ()",
    f"{HTTP}.http_request": "async (message)",
    f"{HTTP}.http_disconnect": "async (message)",
    "fast_channels.identity:user_group": "(user_id)",
    "fast_channels.identity:send_to_user": "async (layer, user_id, message)",
    "fast_channels.identity:close_user": "async (layer, user_id, code=4403, reason='', *, session=None)",
    "fast_channels.identity:IdentityMixin.renew_session": "(expires_at)",
    "fast_channels.frames:AsyncAPI": "(title, version, consumers, description='')",
    "fast_channels.frames:AsyncAPI.serve": "(app, path='/asyncapi')",
    "fast_channels.frames:FrameConsumer.before_frame": "async ()",
    "fast_channels.frames:FrameConsumer.deliver_frame": "async (message)",
    "fast_channels.frames:FrameConsumer.frame_text": "(message)",
    "fast_channels.frames:FrameConsumer.send_frame": "async (frame)",
    "fast_channels.frames:Refused": "(detail, code='refused', errors=None)",
    "fast_channels.frames:describe": "(errors)",
    "fast_channels.frames:frame_message": "(frame)",
    "fast_channels.frames:typescript": "(*consumers)",
    "fast_channels.frames:with_fields": "(text, **fields)",
    "fast_channels.middleware:BaseMiddleware": "(inner)",
    "fast_channels.middleware:OriginValidator": "(application, allowed_origins)",
    APPLICATION: "(application, scope)",
    f"{APPLICATION}.send_input": "async (message)",
    f"{APPLICATION}.receive_output": "async (timeout=1)",
    f"{APPLICATION}.receive_nothing": "async (timeout=0.1, interval=0.01)",
    f"{APPLICATION}.wait": "async (timeout=1)",
    f"{APPLICATION}.stop": "async (exceptions=True)",
    CLIENT: "(application, path, headers=None, subprotocols=None, spec_version=None)",
    f"{CLIENT}.connect": "async (timeout=1)",
    f"{CLIENT}.send_to": "async (text_data=None, bytes_data=None)",
    f"{CLIENT}.send_json_to": "async (data)",
    f"{CLIENT}.receive_from": "async (timeout=1)",
    f"{CLIENT}.receive_json_from": "async (timeout=1)",
    f"{CLIENT}.disconnect": "async (code=1000, timeout=1)",
    "fast_channels.testing:HttpCommunicator": "(application, path, *, method='GET', body=b'', "
    "headers=None)",
    "fast_channels.testing:HttpCommunicator.send_request": "async ()",
    "fast_channels.testing:HttpCommunicator.get_response": "async (timeout=1)",
}
