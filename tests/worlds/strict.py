"""A broker that lets each user do what a list says and nothing else, and writes down whatever it refuses.

Users come by name and password through a listener of their own. The open listener of the embedded broker
stays, for what a test does from outside: whoever comes there may do anything.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

from streams.broker.node import HOST, START_TIMEOUT_S, EmbeddedBroker, _free_port, prepare
from streams.settings import load_settings
from streams.transport import clients

_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_LOGGED = "-Dorg.slf4j.simpleLogger.log.kafka.authorizer.logger=info"


def password(user: str) -> str:
    """What a user says."""
    return f"{user}-says-so"


class StrictBroker(EmbeddedBroker):
    """The embedded broker with an authorizer; `users` may log in at `door`."""

    users: tuple[str, ...] = ()
    door: int

    def start(self, timeout_s: float = START_TIMEOUT_S) -> Self:
        """As the embedded broker's; what is denied is logged."""
        return self._start(prepare(self._cache, self._jars, self._report), timeout_s, _LOGGED)

    def _configure(self, controller_port: int) -> Path:
        path = super()._configure(controller_port)
        self.door = _free_port()
        text = path.read_text()
        for name in ("listeners", "advertised.listeners"):
            open_one = f"\n{name}=PLAINTEXT://{HOST}:{self.port}"
            text = text.replace(open_one, f"{open_one},USERS://{HOST}:{self.door}")
        text = text.replace("=PLAINTEXT:PLAINTEXT", "=PLAINTEXT:PLAINTEXT,USERS:SASL_PLAINTEXT")
        known = " ".join(f'user_{user}="{password(user)}"' for user in self.users)
        path.write_text(
            f"{text}listener.name.users.sasl.enabled.mechanisms=PLAIN\n"
            f"listener.name.users.plain.sasl.jaas.config={_PLAIN} required {known};\n"
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
            "super.users=User:ANONYMOUS\n"
        )
        return path

    def allow(self, user: str, kind: ResourceType, names: Iterable[str], *operations: ACLOperation) -> None:
        """Gives a user these rights to the topics or groups of these names."""
        rights = [
            ACL(f"User:{user}", "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, name))
            for name in names
            for operation in operations
        ]
        with clients.admin(load_settings(bootstrap_servers=self.bootstrap_servers)) as admin:
            said = admin.create_acls(rights)
        assert not said["failed"], said

    def denied(self) -> set[str]:
        """What was refused to anybody: user, operation and resource."""
        said = re.findall(
            r"Principal = User:(\w+) is Denied operation = (\w+) .*? on resource = (\S+)",
            self.log_file.read_text(),
        )
        return {" ".join(each) for each in said}

    def login(self, user: str) -> dict[str, str]:
        """Variables of a process that comes as this user."""
        return {
            "NEXTCLICK_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "NEXTCLICK_SASL_MECHANISM": "PLAIN",
            "NEXTCLICK_SASL_USERNAME": user, "NEXTCLICK_SASL_PASSWORD": password(user),
        }  # fmt: skip
