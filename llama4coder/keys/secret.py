"""The secret that a client holds, and the digest that is kept of it.

A secret is 256 random bits, so that nobody can guess one from its digest however fast the hash is: the slow hashes that
passwords need would only let strangers keep the endpoint busy.
"""

import hashlib
import secrets

PREFIX = "l4c-"
_NUM_BYTES = 32


def new_secret() -> str:
    """A key that nobody has; its prefix lets scanners of repositories find what should not be there."""
    return PREFIX + secrets.token_urlsafe(_NUM_BYTES)


def digest_of(secret: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(secret).digest()
