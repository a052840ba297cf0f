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
    import _ssl
    import ctypes  # here, since the agent pays for it

    try:
        control = ctypes.CDLL(getattr(_ssl, "__file__", None)).SSL_CTX_ctrl
    except (AttributeError, OSError):
        return False
    control.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p)
    control.restype = ctypes.c_long
    # CPython keeps the SSL_CTX behind the head that every object has.
    handle = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    return bool(control(handle, _MODE, _NO_AUTO_CHAIN, None) & _NO_AUTO_CHAIN)
