"""What can go wrong between this machine and a VLA server, told apart by what to do about it."""


class VlaError(RuntimeError):
    """There is no answer; the message names value, limit, cause and remedy, and never the token."""


class UnreachableError(VlaError):
    """No connection, or it broke before the answer was whole: asked again, with a pause."""


class ServerFailureError(VlaError):
    """The server failed by its own account (5xx): asked again, with a pause."""


class TooLateError(VlaError):
    """No whole answer in time. Not asked again: the server still works on it, and a second request doubles its load."""


class RefusedError(VlaError):
    """The server understood and said no (4xx, a redirect, a stated error): asking again changes nothing."""


class BadAnswerError(VlaError):
    """An answer that must not be used: not decodable, too large, wrong shape or dtype, not finite, out of range."""


class CircuitOpenError(VlaError):
    """The server failed so often that it is left alone for a while: no request was made."""


class VlaConfigError(ValueError):
    """The client was set up in a way that cannot work or is not safe."""


class ConventionError(ValueError):
    """A convention that is unknown, incomplete, or not the one agreed on."""


class WireError(ValueError):
    """Bytes that are no message, or a message that must not be sent or read."""
