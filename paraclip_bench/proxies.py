"""The proxies and certificates that environment variables name, and whether they can be used.

HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, of small letters too, and NO_PROXY, as httpx and requests
read them. A proxy's user and password are never shown.
"""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import os
import urllib.request
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

_SCHEMES = ("http", "https", "all")
_KNOWN = ("http", "https", "socks5", "socks5h")


@dataclass(frozen=True)
class Proxy:
    """A proxy's address, and the environment variable that names it."""

    variable: str
    address: str

    def __str__(self) -> str:
        return f"the proxy {self.shown} of {self.variable}"

    @property
    def shown(self) -> str:
        """The address without user, password and what follows the port."""
        scheme, _, rest = self.address.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2].partition('/')[0].partition('?')[0]}"

    @property
    def parts(self) -> SplitResult:
        """The address in parts; `ValueError` where it has none."""
        parts = urlsplit(self.address)
        if not parts.hostname or any(c.isspace() or not c.isprintable() for c in self.address):
            raise ValueError("no host")
        _ = parts.port
        return parts

    def problem(self, socks_package: str = "socksio") -> str | None:
        """What keeps every request from going through it, in one sentence; else None.

        socks_package is what the client imports for SOCKS.
        """
        try:
            scheme = self.parts.scheme
        except ValueError:
            scheme = ""
        if scheme not in _KNOWN:
            return (
                f"the environment variable {self.variable} ({self.shown}) is not the address of a "
                "proxy; write it like http://HOST:PORT, or unset it"
            )
        if scheme.startswith("socks") and importlib.util.find_spec(socks_package) is None:
            package = {"socks": "PySocks"}.get(socks_package, socks_package)
            return (
                f"the environment variable {self.variable} names a SOCKS proxy ({self.shown}), "
                f"which needs a package more; install it with pip install {package}, or unset "
                f"{self.variable}"
            )
        return None


def all_proxies() -> dict[str, Proxy]:
    """The proxies that are set, by what they are for: http, https, all."""
    found = urllib.request.getproxies()
    if any(part.strip() == "*" for part in found.get("no", "").split(",")):
        return {}
    return {
        scheme: Proxy(_variable(scheme, found[scheme]), _whole(found[scheme]))
        for scheme in _SCHEMES
        if found.get(scheme)
    }


def proxy_for(url: str) -> Proxy | None:
    """The proxy that a request to an address goes through, None where it goes straight."""
    parts = urlsplit(url)
    proxies = all_proxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    host = parts.hostname or ""
    if proxy is not None and urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    if proxy is None or urllib.request.proxy_bypass(host) or _is_in_a_network(host):
        return None
    return proxy


def certificate_problem(*, is_needed: bool = True) -> tuple[str, str] | None:
    """The environment variable whose certificates no client can read, and why, in one sentence.

    SSL_CERT_FILE, which keeps httpx from any request, and SSL_CERT_DIR, which matters where a
    request `is_needed` to be encrypted. httpx reads no REQUESTS_CA_BUNDLE.
    """
    import ssl

    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file:
        try:
            ssl.create_default_context(cafile=file)
        except OSError as error:  # SSLError is one
            why = "no certificates are in it" if isinstance(error, ssl.SSLError) else error.strerror
            return "SSL_CERT_FILE", (
                f"the environment variable SSL_CERT_FILE ({file}) names no file of certificates "
                f"({why}); name a PEM file, or unset it"
            )
    elif folder and is_needed and not any(map(os.path.isdir, folder.split(os.pathsep))):
        return "SSL_CERT_DIR", (
            f"the environment variable SSL_CERT_DIR ({folder}) names no folder; name one of "
            "certificates, or unset it"
        )
    return None


def is_local(host: str) -> bool:
    """Whether a host is this machine, or in a network of its own: no proxy need know it."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".local", ".localhost", ".internal"))
    return address.is_loopback or address.is_private


def redacted(text: str) -> str:
    """A text without the users and passwords of proxies."""
    for proxy in all_proxies().values():
        user = proxy.address.partition("://")[2].rpartition("@")[0]
        if not user:
            continue
        text = text.replace(f"{user}@", "[secret]@")
        # A user's name without a password may be a part of any word.
        if password := user.partition(":")[2]:
            text = text.replace(user, "[secret]").replace(password, "[secret]")
    return text


def _whole(address: str) -> str:
    return address if "://" in address else f"http://{address}"


def _variable(scheme: str, value: str) -> str:
    """The environment variable that has this value; small letters come first, as for urllib."""
    names = [name for name in os.environ if name.lower() == f"{scheme}_proxy"]
    names.sort(key=str.islower, reverse=True)
    fitting = [name for name in names if os.environ[name] == value]
    return next(iter(fitting), f"{scheme.upper()}_PROXY of the system's settings")


def _is_in_a_network(host: str) -> bool:
    """Whether NO_PROXY has a network (10.0.0.0/8) that a host's address is in."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        for part in urllib.request.getproxies().get("no", "").split(","):
            with contextlib.suppress(ValueError):
                if "/" in part and address in ipaddress.ip_network(part.strip(), strict=False):
                    return True
    return False
