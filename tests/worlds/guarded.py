"""A broker that lets in only whom it knows: one listener for passwords, one for certificates, one for tokens.

All three speak TLS with certificates of an authority that exists for the test alone. The open listener of the
embedded broker stays, for what a test does from outside.
"""

import base64
import json
import time
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives import serialization
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from streams.broker.node import HOST, EmbeddedBroker, _free_port
from streams.settings import load_settings
from streams.transport import clients

PASSWORD = "hush-hush"
LISTENERS = {"SECURE": "SASL_SSL", "MUTUAL": "SSL", "TOKEN": "SASL_SSL"}
_KAFKA = "org.apache.kafka.common.security"


class Authority:
    """An authority and its files in a folder: `ca.pem`, and NAME.pem and NAME.key of whom it vouches for."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._ca = folder, trustme.CA()
        self.cafile = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.cafile))

    def vouch(self, name: str, *hosts: str) -> tuple[Path, Path]:
        """Files of a certificate and its key."""
        issued = self._ca.issue_cert(*(hosts or (f"{name}.example",)))
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
        private = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        key.write_bytes(  # the form that Java reads
            private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, key


class GuardedBroker(EmbeddedBroker):
    """The embedded broker with these listeners; `ports` has theirs by name."""

    authority: Authority
    ports: dict[str, int]

    def _configure(self, controller_port: int) -> Path:
        path = super()._configure(controller_port)
        self.authority = Authority(self.data / "tls")
        self.ports = {name: _free_port() for name in LISTENERS}
        certificate, key = self.authority.vouch("broker", HOST, "localhost")
        store = self.authority.folder / "store.pem"
        store.write_bytes(key.read_bytes() + certificate.read_bytes())
        more = "".join(f",{name}://{HOST}:{port}" for name, port in self.ports.items())
        text = path.read_text()
        for name in ("listeners", "advertised.listeners"):
            text = text.replace(
                f"\n{name}=PLAINTEXT://{HOST}:{self.port}", f"\n{name}=PLAINTEXT://{HOST}:{self.port}{more}"
            )
        protocols = "".join(f",{name}:{protocol}" for name, protocol in LISTENERS.items())
        text = text.replace("=PLAINTEXT:PLAINTEXT", f"=PLAINTEXT:PLAINTEXT{protocols}")
        path.write_text(text + self._guards(store))
        return path

    def _guards(self, store: Path) -> str:
        def module(name: str, options: str = "") -> str:
            return f"{_KAFKA}.{name} required {options};"

        plain = module("plain.PlainLoginModule", f'user_me="{PASSWORD}"')
        scram, token = "scram.ScramLoginModule", "oauthbearer.OAuthBearerLoginModule"
        lines = {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": store,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.authority.cafile,
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.secure.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            "listener.name.secure.plain.sasl.jaas.config": plain,
            "listener.name.secure.scram-sha-256.sasl.jaas.config": module(scram),
            "listener.name.secure.scram-sha-512.sasl.jaas.config": module(scram),
            "listener.name.token.sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.token.oauthbearer.sasl.jaas.config": module(
                token, 'unsecuredLoginStringClaim_sub="broker"'
            ),
            # A token's connections end with it, as hosts have it.
            "listener.name.token.oauthbearer.connections.max.reauth.ms": 3_600_000,
        }
        return "".join(f"{name}={value}\n" for name, value in lines.items())

    def set_scram(self, user: str, password: str) -> None:
        """Makes the password the user's one for SCRAM."""
        with clients.admin(load_settings(bootstrap_servers=self.bootstrap_servers)) as admin:
            for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
                credential = UserScramCredentialUpsertion(user, mechanism, password, iterations=4096)
                said = admin.alter_user_scram_credentials([credential])
                assert said == {user: None}, said

    def secure(self, mechanism: str | None, **more: Any) -> dict[str, Any]:
        """Settings for a login; without a mechanism for a certificate."""
        listener = {None: "MUTUAL", "OAUTHBEARER": "TOKEN"}.get(mechanism, "SECURE")
        given: dict[str, Any] = {
            "bootstrap_servers": f"{HOST}:{self.ports[listener]}",
            "security_protocol": LISTENERS[listener],
            "ssl_cafile": self.authority.cafile,
        }
        if listener == "SECURE":
            given |= {"sasl_username": "me", "sasl_password": PASSWORD}
        if mechanism is not None:
            given["sasl_mechanism"] = mechanism
        return given | more


def environment(given: dict[str, Any]) -> dict[str, str]:
    """The same as variables of a process."""
    return {f"NEXTCLICK_{name.upper()}": str(value) for name, value in given.items() if value is not None}


def unsigned_token(lives_s: float, subject: str = "me") -> str:
    """What a broker takes that does not look for signatures."""
    now = time.time()

    def part(told: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part({'sub': subject, 'iat': now, 'exp': now + lives_s})}."
