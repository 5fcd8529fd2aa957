"""Who is behind a request or a socket: a signed cookie, and the two ways to get one.

``CurrentSession`` is the one dependency that endpoints and sockets know: another kind of sign-in replaces
``current_session`` and nothing else.

Invariants
- A user's id is the server's, or the provider's; nobody speaks under another's. A name is only shown.
- Signing in gives the session a new id; renewing, by the same user, keeps it.
- With a provider (``AUTH_*``) nobody signs in by a name.
- The cookie is signed, not stored: what it says is readable to its bearer. That it was signed out is kept, in
  a log of the jobs' layer, so that no copy of it is good any more, in whichever process.
"""

import asyncio
import math
import time
import uuid
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any

import jwt
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from itsdangerous import BadSignature, URLSafeTimedSerializer
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from fast_channels.identity import close_user, user_group
from fast_channels.layers import channel_layers
from fast_channels.recovery import follow

from .settings import get_secret_key, get_settings
from .visible import Name

COOKIE_SECONDS = 14 * 24 * 60 * 60  # a user of the development sign-in keeps the id so long
MOST_SIGNED_OUT = 100  # of a user, that are looked at
RENEWAL_SECONDS = 60
MAX_KEY = 200  # bytes of a user's id, which presence lists them by
LEEWAY = 10.0  # seconds that the provider's clock may be off
FETCH_SECONDS = 10.0  # between two questions for its keys
# Never from the token itself. A public key must not be taken for a shared secret, nor "none" for a signature.
SECRET_ALGORITHMS = ["HS256", "HS384", "HS512"]
KEY_ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]
NAME: TypeAdapter[str] = TypeAdapter(Name)


class User(BaseModel):
    """``id`` is the server's and says who it is; ``name`` is only shown."""

    id: str
    name: str


class SignIn(BaseModel):
    name: Name


class Session(BaseModel):
    id: str
    user: User
    since: float  # Unix time, as is the next
    expires_at: float


class Sessions:
    """Starlette's signed cookie; ``Secure`` where the browser came by https, or by SECURE_COOKIES."""

    def __init__(self, app: ASGIApp) -> None:
        def by(https_only: bool) -> SessionMiddleware:
            return SessionMiddleware(
                app,
                get_secret_key(),
                max_age=COOKIE_SECONDS,
                same_site="lax",
                https_only=https_only,
            )

        self._apps = {False: by(https_only=False), True: by(https_only=True)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        secure = get_settings().secure_cookies or scope.get("scheme") in ("https", "wss")
        await self._apps[secure](scope, receive, send)


async def signed_session(connection: HTTPConnection) -> Session | None:
    """What the cookie says, also if it has expired; None if it was signed out."""
    try:
        session = Session.model_validate(connection.session)
    except ValidationError:
        return None
    log = signed_out(session.user)
    async with follow(channel_layers["jobs"], log, history=MOST_SIGNED_OUT) as following:
        for one in following.joined.messages:
            if one["session"] in (None, session.id) and session.since <= one["at"]:
                return None
    return session


def signed_out(user: User) -> str:
    """The group whose log has the sessions of a user that were signed out; None is all that were there."""
    return f"signed-out.{user_group(user.id)}"


async def current_session(connection: HTTPConnection) -> Session:
    """HTTP 401 without one; a socket is refused with it before it is accepted."""
    session = await signed_session(connection)
    if session is None or session.expires_at <= time.time():
        raise HTTPException(401, "Sign in first.")
    return session


CurrentSession = Annotated[Session, Depends(current_session)]


def current_user(session: CurrentSession) -> User:
    return session.user


CurrentUser = Annotated[User, Depends(current_user)]


# Renewal: the cookie is HTTP's, the open socket is told by a value that only the server can make


def renewal_of(session: Session) -> str:
    return _signer().dumps(session.model_dump())


def read_renewal(token: str) -> Session | None:
    """The session that ``renewal_of`` was given a minute ago at most."""
    try:
        return Session.model_validate(_signer().loads(token, max_age=RENEWAL_SECONDS))
    except (BadSignature, ValidationError):
        return None


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(get_secret_key(), salt="renewal")


# The provider's token


async def verify(token: str) -> tuple[User, float]:
    """Whose token it is, and until when; HTTP 401 for a bad one, 503 if the keys cannot be had."""
    settings = get_settings()
    try:
        key, algorithms = await _key_for(token)
        claims = jwt.decode(
            token,
            key,
            algorithms=algorithms,
            audience=settings.auth_audience,
            issuer=settings.auth_issuer,
            leeway=LEEWAY,
            options={"require": ["exp", "aud", "iss", "sub"]},
        )
    except (jwt.PyJWKClientConnectionError, ValueError):  # away, or no JSON
        raise HTTPException(503, "The keys of the sign-in cannot be had.") from None
    except jwt.PyJWTError:
        raise HTTPException(401, "The token is not valid.") from None
    if not 0 < len(claims["sub"].encode(errors="replace")) <= MAX_KEY:
        raise HTTPException(401, f"The token's sub has more than {MAX_KEY} bytes, or none.")
    user = User(id=claims["sub"], name=next(_names(claims), "Somebody"))
    return user, float(claims["exp"])


async def _key_for(token: str) -> tuple[Any, list[str]]:
    settings = get_settings()
    if settings.auth_secret is not None:
        return settings.auth_secret.get_secret_value(), SECRET_ALGORITHMS
    keys = _provider_keys(settings.auth_jwks_url)
    key = await asyncio.to_thread(keys.get_signing_key_from_jwt, token)
    return key.key, KEY_ALGORITHMS


class ProviderKeys(jwt.PyJWKClient):
    """Kept for five minutes, and fetched once in ``FETCH_SECONDS`` at most: whatever key ids tokens name, and
    also while the provider does not answer. ``PyJWKClientConnectionError`` in between.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout=5)
        self._fetched_at = -math.inf

    def fetch_data(self) -> Any:
        if time.monotonic() - self._fetched_at < FETCH_SECONDS:
            raise jwt.PyJWKClientConnectionError("The provider was asked a moment ago")
        try:
            return super().fetch_data()
        finally:
            self._fetched_at = time.monotonic()


@cache
def _provider_keys(url: str) -> ProviderKeys:
    return ProviderKeys(url)


def _names(claims: dict[str, Any]) -> Iterator[str]:
    for claim in ("name", "preferred_username", "nickname", "email"):
        try:
            yield NAME.validate_python(claims.get(claim))
        except ValidationError:
            continue


# Over HTTP

router = APIRouter()
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


@router.get("/session")
async def who(request: Request) -> JSONResponse:
    """Who is signed in, or 401; ``sign_in`` says how to sign in, by a name or at the provider."""
    try:
        return _told(await current_session(request))
    except HTTPException as error:
        return JSONResponse({"detail": error.detail, "sign_in": _way()}, error.status_code)


@router.post("/session")
async def sign_in(request: Request, bearer: Bearer, body: SignIn | None = None) -> JSONResponse:
    """Sign in, or renew: by a name in development, else by the provider's token, as a Bearer.

    Without either, ``current_session`` is told as it is now, with its renewal: whoever keeps it may have
    made it longer.
    """
    if bearer is None and body is None:
        session = await current_session(request)
        return _told(session, renewal=renewal_of(session))
    before, now = await signed_session(request), time.time()
    until = now + get_settings().session_seconds
    if not get_settings().has_provider:
        if body is None:
            raise HTTPException(422, "A name is needed.")
        user = await named_user(body, before)
    elif bearer is None:
        raise HTTPException(404, "Sign in at the provider.")
    else:
        user, token_ends = await verify(bearer.credentials)
        until = min(until, token_ends)
    session = Session(id=uuid.uuid4().hex, user=user, since=now, expires_at=until)
    if before is not None and before.user.id == user.id and before.expires_at > now:
        session = session.model_copy(update={"id": before.id, "since": before.since})
    request.session.clear()
    request.session.update(session.model_dump())
    return _told(session, renewal=renewal_of(session))


async def named_user(body: SignIn, before: Session | None) -> User:
    """Development: any name will do, and the browser keeps its id. A look at your own users goes here."""
    return User(id=before.user.id if before else uuid.uuid4().hex, name=body.name)


@router.delete("/session", status_code=204)
async def sign_out(request: Request, everywhere: bool = False) -> Response:
    """Forget the cookie and close the sockets of this session, or all of the user's."""
    session = await signed_session(request)
    request.session.clear()
    if session is not None:
        only = None if everywhere else session.id
        entry = {"type": "signed.out", "session": only, "at": time.time()}
        await channel_layers["jobs"].group_send(signed_out(session.user), entry)
        layer = channel_layers["default"]  # after that: no socket comes in between
        await close_user(layer, session.user.id, reason="You signed out.", session=only)
    return Response(status_code=204)


def _told(session: Session, **more: str) -> JSONResponse:
    told = session.model_dump(include={"user", "expires_at"})
    return JSONResponse({**told, "sign_in": _way(), **more})


def _way() -> str:
    return "provider" if get_settings().has_provider else "name"
