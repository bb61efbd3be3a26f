"""Messages over gRPC with mutual TLS: one call a message, raw bytes, no generated code.

Needs the extra ``federated``.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any

from gendistill.errors import UserError
from gendistill.federated import extra
from gendistill.federated.certificates import AUTHORITY, Identity, run_of
from gendistill.federated.core_log import CoreLog
from gendistill.federated.messages import Refused, Stale
from gendistill.federated.server import Hub
from gendistill.federated.site import Unreachable

SERVICE, METHOD = "gendistill.PrivacyGAN", "Exchange"
PATH = f"/{SERVICE}/{METHOD}"
NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")
"""What TLS says of an answer that is none of its own."""
CALLS = 2
"""Of one site that may be waited for at once."""
WAIT = 600.0
"""Seconds that a site waits for an answer: of a server that lives, and computes for others first."""
ALIVE, SIGN_OF_LIFE = 10.0, 20.0
"""Seconds after which a site asks whether a server that owes it an answer lives, and how long it may take to say so.

A machine that lost power or a line that was cut closes no connection: without this a site would wait all of WAIT.
"""
AGAIN = 0.3
"""Seconds until a handshake that ended without a word is made once more."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def address_of(text: str) -> tuple[str, int]:
    """Return host and port.

    Raises:
        UserError: It is none.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise UserError(f"'{text}' is no address; give HOST:PORT, such as localhost:8443")
    return host.strip("[]"), int(port)


class Server:
    """A hub that sites reach over the network.

    Args:
        hub: Answers messages.
        identity: The server's certificate and key.
        address: Host and port to listen at; port 0: any that is free.
        say: Where lines of the log go.

    Attributes:
        port: Where it listens.

    Raises:
        UserError: The address cannot be listened at.
    """

    def __init__(self, hub: Hub, identity: Identity, address: str, say: Callable[[str], Any]) -> None:
        from concurrent import futures

        host, port = address_of(address)
        extra.require()
        self._core = CoreLog(say)
        self._core.begin()
        options = [("grpc.max_receive_message_length", hub.terms.largest), ("grpc.so_reuseport", 0)]
        options += [("grpc.max_send_message_length", hub.terms.largest)]
        options += [("grpc.http2.min_ping_interval_without_data_ms", int(ALIVE * 500))]
        pool = futures.ThreadPoolExecutor((CALLS + 1) * len(hub.seats) + 2)
        self._server = extra.grpc.server(pool, options=options)
        busy, lock = Counter[str](), Lock()
        answer = extra.grpc.stream_unary_rpc_method_handler(lambda sent, call: _answer(hub, sent, call, busy, lock))
        self._server.add_generic_rpc_handlers((extra.grpc.method_handlers_generic_handler(SERVICE, {METHOD: answer}),))
        credentials = extra.grpc.ssl_server_credentials(
            [(identity.key, identity.certificate)], identity.authority, require_client_auth=True
        )
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self.port = int(self._server.add_secure_port(place, credentials))
        except RuntimeError:
            self.port = 0
        if not self.port:
            self._core.end()
            raise UserError(
                f"the server cannot listen at '{address}'; it is in use or not this machine's: give another"
            )
        self._server.start()

    def stop(self, grace: float = 1.0) -> None:
        """Accept no more, and let what is being answered be answered."""
        self._server.stop(grace).wait()
        self._core.end()


def _answer(hub: Hub, sent: Iterator[bytes], call: Any, busy: Counter[str], lock: Lock) -> bytes:
    """Answer one call; a generator of messages, so that one that is too large is noticed here and not lost in gRPC.

    A call that is begun and then silent holds a thread: a site has :data:`CALLS` of them, and never another one's.
    """
    about = call.auth_context()
    site = about.get("x509_common_name", [b""])[0].decode(errors="replace")
    pem = about.get("x509_pem_cert", [b""])[0]
    try:
        of_run = run_of(extra.x509.load_pem_x509_certificate(pem))
    except ValueError:
        of_run = None
    why = None
    if of_run != hub.run:
        why = f"its certificate belongs to {'no run' if of_run is None else f'another run ({of_run.hex()})'}"
    elif site not in hub.seats:
        why = "there is no such site in this run"
    if why is not None:
        hub.refuse(site, why)
        call.abort(extra.grpc.StatusCode.FAILED_PRECONDITION, why)
    with lock:
        busy[site] += 1
        many = busy[site] > CALLS
    try:
        if many:
            why = f"it has {CALLS} calls that are not answered yet"
        else:
            data = next(sent)
    except Exception:  # gRPC raises bare exceptions of its own here
        why = f"it has more than the {hub.terms.largest:,} bytes of the largest message agreed on, or broke off"
    finally:
        with lock:
            busy[site] -= 1
    if why is not None:
        hub.refuse(site, why)
    if why is None:
        try:
            return hub.handle(site, data)
        except Stale as stale:
            call.abort(extra.grpc.StatusCode.ABORTED, str(stale))
        except Refused as refusal:
            why = str(refusal)
    call.abort(extra.grpc.StatusCode.FAILED_PRECONDITION, why)
    raise AssertionError("abort raises")


class Channel:
    """A site's way to its server.

    Args:
        identity: The site's certificate and key.
        address: Host and port of the server.
        largest: Bytes of the largest message.

    Raises:
        UserError: The address is none.
    """

    def __init__(self, identity: Identity, address: str, largest: int) -> None:
        if "grpc" not in sys.modules:  # what it would write to stderr is said by this program, in words
            os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        self._identity, (self._host, self._port) = identity, address_of(address)
        self.address = address
        credentials = extra.grpc.ssl_channel_credentials(identity.authority, identity.key, identity.certificate)
        options = [("grpc.max_receive_message_length", largest), ("grpc.max_send_message_length", largest)]
        options += [("grpc.enable_retries", 0), ("grpc.initial_reconnect_backoff_ms", 200)]
        options += [("grpc.min_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 2000)]
        options += [("grpc.keepalive_time_ms", int(ALIVE * 1000)), ("grpc.http2.max_pings_without_data", 0)]
        # gRPC waits for the answer to a ping as long as the second says, a minute by default, whatever the first is.
        waits = ("grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")
        options += [(name, int(SIGN_OF_LIFE * 1000)) for name in waits]
        place = f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"
        self._channel = extra.grpc.secure_channel(place, credentials, options=options)
        self._call = self._channel.stream_unary(PATH)

    def send(self, data: bytes) -> bytes:
        """Return the server's answer.

        Raises:
            Refused: The server does not accept the message, or the site.
            Unreachable: It could not be reached, for now.
        """
        try:
            answer: bytes = self._call(iter((data,)), timeout=WAIT)
        except extra.grpc.RpcError as error:
            code, details = error.code(), str(error.details())
            if code in (extra.grpc.StatusCode.FAILED_PRECONDITION, extra.grpc.StatusCode.RESOURCE_EXHAUSTED):
                raise Refused(f"the server at {self.address} does not accept it: {details}") from error
            if code == extra.grpc.StatusCode.ABORTED:
                raise Stale(details) from error
            if code == extra.grpc.StatusCode.UNIMPLEMENTED:
                raise Refused(f"what listens at {self.address} is no server of this program") from error
            if why := self.refusal():
                raise Refused(why) from error
            raise Unreachable(f"the server at {self.address} does not answer ({code.name.lower()})") from error
        return answer

    def refusal(self) -> str | None:
        """Return why the two sides do not accept each other's certificates; None where that is not the trouble.

        gRPC says UNAVAILABLE of all of it. So the handshake is made by hand. A server that refuses a certificate closes
        the connection without a word, as one does that is killed just now; so it is asked once more.
        """
        why, certain = self._handshake()
        if why is not None and not certain:
            time.sleep(AGAIN)
            why, _ = self._handshake()
        return why

    def _handshake(self) -> tuple[str | None, bool]:
        """Return why the other side is not the right one, or refuses this one, and whether that is certain."""
        folder = self._identity.folder
        context = ssl.create_default_context(cafile=str(folder / AUTHORITY))
        context.load_cert_chain(folder / "certificate.crt", folder / "key.pem")
        context.set_alpn_protocols(["h2"])
        agreed = certain = False  # of TLS 1.3 the site's certificate is looked at after the site has seen the server's
        try:
            with (
                socket.create_connection((self._host, self._port), 5) as bare,
                context.wrap_socket(bare, server_hostname=self._host) as secure,
            ):
                agreed = True
                secure.sendall(PREFACE)
                if secure.recv(64):
                    return None, True
        except ssl.SSLCertVerificationError as error:
            return (
                f"the certificate of the server at {self.address} is refused here ({error.verify_message or error}); "
                "copy the folder of this site that was made with the server's, or give the name that is in it"
            ), True
        except TimeoutError:  # who is slow, or stands still, has refused nothing
            return None, True
        except OSError as error:  # those of TLS are some
            if isinstance(error, ssl.SSLError) and error.reason in NO_TLS:
                return f"what listens at {self.address} speaks no TLS ({error.reason})", True
            certain = "alert" in str(error).lower()
            if not agreed and not certain:
                return None, True
        return (
            f"the server at {self.address} refuses the certificate in '{folder}': it is not signed by the server's "
            "authority, or has expired by the server's clock; copy the folder that was made with the server's"
        ), certain

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()
