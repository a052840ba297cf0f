"""A client certificate that is shown alone.

OpenSSL sends after it what its trust store holds above it, here the CA that the server's certificate comes from too. A
Go CloudCore with `authorization` switched on refuses whoever shows more than one certificate ("immediate certificates
are not supported"), without a word to him. Python has no name for the switch, so it is set in OpenSSL.
"""

from __future__ import annotations

import ssl

_MODE = 33
_NO_AUTO_CHAIN = 8
"""SSL_CTRL_MODE, SSL_MODE_NO_AUTO_CHAIN: numbers of OpenSSL's interface, the same since 0.9.8."""


def show_alone(context: ssl.SSLContext) -> bool:
    """Send this context's own certificate and none of the store's; False where the TLS library cannot be told."""
    import _ctypes  # here, since the agent pays for it; ctypes itself would cost 0.2 MiB more
    import _ssl

    class Pointer(_ctypes._SimpleCData):  # type: ignore[type-arg]
        _type_ = "P"

    class Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
        _type_ = "l"

    try:
        library = _ctypes.dlopen(getattr(_ssl, "__file__", ""), 0)
        control = _ctypes.dlsym(library, "SSL_CTX_ctrl")
    except (AttributeError, OSError):
        return False
    # CPython keeps the SSL_CTX behind the head that every object has.
    handle = Pointer.from_address(id(context) + object.__basicsize__)
    mode = _ctypes.call_cdeclfunction(control, (handle, _MODE, Long(_NO_AUTO_CHAIN), None))
    return bool(mode & _NO_AUTO_CHAIN)
