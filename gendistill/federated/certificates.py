"""Certificates of a run: an authority of its own, one for the server, one for each site.

Who a site is stands in its certificate's common name, and which run it belongs to in a URI beside it, so that an
authority that an institution has already may sign certificates of many runs. Needs the extra ``federated``.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gendistill.errors import PlaceError, UserError
from gendistill.federated import extra
from gendistill.files import new_folder, place_sentence
from gendistill.regular import read_bytes, read_text

RUN = "urn:gendistill:run:"
AUTHORITY, SERVER, SITES = "authority.crt", "server", "sites"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
DAYS = 30


def make(folder: Path, sites: Sequence[str], hosts: Sequence[str], days: int = DAYS) -> None:
    """Make certificates and keys of a new run.

    Args:
        folder: New folder: ``authority.crt``, and a folder ``server`` and one for each site with ``certificate.crt``
            and ``key.pem``. The authority's own key is kept nowhere: nobody can add a site later.
        sites: Their names.
        hosts: Names and addresses by which sites reach the server.
        days: For which they are valid.

    Raises:
        UserError: A name is none, is given twice, or the folder is there already.
        StorageError: It cannot be written.
    """
    for site in sites:
        if not NAME.fullmatch(site) or site == SERVER:
            raise UserError(
                f"'{site}' is no name of a site; give letters, digits, '.', '_' and '-', and not '{SERVER}'"
            )
    if not sites or len(set(sites)) != len(sites):
        raise UserError("give each site a name of its own: --sites north,south,west")
    if days < 1:
        raise UserError(f"days is {days}; give a whole number from 1")
    if folder.exists():
        raise UserError(f"'{folder}' is there already, and certificates are never replaced; give a new folder")
    run = os.urandom(16)
    authority_key = extra.ec.generate_private_key(extra.ec.SECP256R1())
    name = _name(f"gendistill run {run.hex()[:8]}")
    authority = _sign(name, authority_key.public_key(), name, authority_key, days, authority=True)
    with new_folder(folder) as inside:
        _write(inside / AUTHORITY, _pem(authority))
        for one in (SERVER, *sites):
            key = extra.ec.generate_private_key(extra.ec.SECP256R1())
            names: list[Any] = [extra.x509.UniformResourceIdentifier(f"{RUN}{run.hex()}")]
            if one == SERVER:
                names += [_host(host) for host in hosts]
            signed = _sign(_name(one), key.public_key(), name, authority_key, days, names=names)
            (inside / one).mkdir()
            _write(inside / one / "certificate.crt", _pem(signed))
            _write(inside / one / "key.pem", _private(key), mode=0o600)
            _write(inside / one / AUTHORITY, _pem(authority))
        _write(inside / SERVER / SITES, "".join(f"{site}\n" for site in sites).encode())


def sites_of(folder: Path) -> list[str]:
    """Return the sites that the server's folder names.

    Raises:
        UserError: It names none.
    """
    try:
        found = read_text(folder / SITES).split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"'{folder}' has no list of sites; give --sites north,south, or the server's folder") from error
    if not found or len(set(found)) != len(found) or not all(map(NAME.fullmatch, found)):
        raise UserError(f"'{folder / SITES}' is no list of sites, one a line; give --sites north,south")
    return found


@dataclass(frozen=True)
class Identity:
    """Certificate, key and authority of one side, as PEM.

    Attributes:
        name: The common name.
        run: 16 bytes that name the run.
        certificate: Of this side.
        key: Its private key.
        authority: Who signed it and the other side.
        folder: Where they are from.
    """

    name: str
    run: bytes
    certificate: bytes
    key: bytes
    authority: bytes
    folder: Path


def read(folder: Path) -> Identity:
    """Read the folder of one side, and refuse certificates that the other side would not accept.

    Args:
        folder: With ``certificate.crt``, ``key.pem`` and ``authority.crt``.

    Raises:
        UserError: A file is missing or damaged, the certificate has expired, belongs to no run, to another key, or is
            not signed by the authority beside it.
    """
    try:
        parts = {name: read_bytes(folder / name) for name in ("certificate.crt", "key.pem", AUTHORITY)}
    except OSError as error:
        raise UserError(
            f"'{error.filename}' cannot be read ({(error.strerror or str(error)).lower()}); give the folder of one "
            f"side, with certificate.crt, key.pem and {AUTHORITY}, as gendistill privacy certificates makes it"
        ) from error
    try:
        certificate = extra.x509.load_pem_x509_certificate(parts["certificate.crt"])
        authority = extra.x509.load_pem_x509_certificate(parts[AUTHORITY])
        key: Any = extra.serialization.load_pem_private_key(parts["key.pem"], None)
    except (ValueError, TypeError) as error:
        raise UserError(f"'{folder}' holds a damaged certificate or key; make new ones, or copy them again") from error
    if why := trouble(certificate, authority):
        raise UserError(f"the certificate in '{folder}' {why}; copy the folder that belongs to this run")
    if key.public_key() != certificate.public_key():
        raise UserError(f"the key in '{folder}' does not belong to the certificate beside it; copy both again")
    run = run_of(certificate)
    if run is None:
        raise UserError(
            f"the certificate in '{folder}' names no run (a URI {RUN}... among its alternative names); make "
            "certificates with gendistill privacy certificates"
        )
    return Identity(common_name(certificate), run, parts["certificate.crt"], parts["key.pem"], parts[AUTHORITY], folder)


def trouble(certificate: Any, authority: Any) -> str | None:
    """Return what is wrong with a certificate, as the end of a sentence; None where nothing is."""
    now = datetime.datetime.now(datetime.UTC)
    for whose, one in (("", certificate), ("'s authority", authority)):
        if one.not_valid_after_utc < now:
            return f"{whose} expired on {one.not_valid_after_utc:%Y-%m-%d %H:%M} UTC".lstrip()
        if one.not_valid_before_utc > now:
            return f"{whose} is not valid before {one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC".lstrip()
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # cryptography raises several kinds; all mean the same to the user
        return "is signed by another authority than the one beside it"
    return None


def common_name(certificate: Any) -> str:
    """Return whose a certificate is."""
    found = certificate.subject.get_attributes_for_oid(extra.x509.NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def run_of(certificate: Any) -> bytes | None:
    """Return which run a certificate belongs to; None: it says none."""
    try:
        names = certificate.extensions.get_extension_for_class(extra.x509.SubjectAlternativeName).value
    except (extra.x509.ExtensionNotFound, ValueError):
        return None
    for uri in names.get_values_for_type(extra.x509.UniformResourceIdentifier):
        if re.fullmatch(re.escape(RUN) + "[0-9a-f]{32}", uri):
            return bytes.fromhex(uri[len(RUN) :])
    return None


def _name(common: str) -> Any:
    return extra.x509.Name([extra.x509.NameAttribute(extra.x509.NameOID.COMMON_NAME, common)])


def _host(host: str) -> Any:
    try:
        return extra.x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return extra.x509.DNSName(host)


def _sign(
    subject: Any, public: Any, issuer: Any, key: Any, days: int, *, names: Sequence[Any] = (), authority: bool = False
) -> Any:
    now = datetime.datetime.now(datetime.UTC)
    built = (
        extra.x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(extra.x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(extra.x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
    )
    if names:
        built = built.add_extension(extra.x509.SubjectAlternativeName(names), critical=False)
    return built.sign(key, extra.hashes.SHA256())


def _pem(certificate: Any) -> bytes:
    found: bytes = certificate.public_bytes(extra.serialization.Encoding.PEM)
    return found


def _private(key: Any) -> bytes:
    found: bytes = key.private_bytes(
        extra.serialization.Encoding.PEM, extra.serialization.PrivateFormat.PKCS8, extra.serialization.NoEncryption()
    )
    return found


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    except OSError as error:
        raise PlaceError(place_sentence(path, error)) from error
