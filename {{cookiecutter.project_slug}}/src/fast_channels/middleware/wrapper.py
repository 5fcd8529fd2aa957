"""The base of a middleware: it passes on what it wraps."""

from ..type_defs import Application, Receive, Scope, Send, as_application


class BaseMiddleware:
    """Wraps `inner`, an ASGI application or a consumer class.

    Override `__call__`, change the scope, and call `super().__call__`:

        class WithTenant(BaseMiddleware):
            async def __call__(self, scope, receive, send):
                await super().__call__({**scope, "tenant": "acme"}, receive, send)

    The inner application gets a copy of the scope: what it puts there does not leak out.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = as_application(inner)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.inner(dict(scope), receive, send)
