"""A mail server for tests, on aiosmtpd: tells its port, then each mail it took, as lines of JSON."""

import argparse
import asyncio
import email
import email.policy
import json
import ssl
import sys
import threading

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

asks = argparse.ArgumentParser()
asks.add_argument("--certificate")
asks.add_argument("--key")
asks.add_argument("--tls", action="store_true")
asks.add_argument("--start-tls", action="store_true")
asks.add_argument("--login")
asks.add_argument("--answers", default="")
asks.add_argument("--port", type=int, default=0)
asked = asks.parse_args()

lock = threading.Lock()
answers = [a for a in asked.answers.split("|") if a]


def tell(**what):
    with lock:
        print(json.dumps(what), flush=True)


def secure():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(asked.certificate, asked.key)
    return context


def check(server, session, envelope, mechanism, data):
    name = data.login.decode() if isinstance(data, LoginPassword) else ""
    password = data.password.decode() if isinstance(data, LoginPassword) else ""
    # Not "handled" when it is wrong: then the library says so to the other side.
    right = f"{name}:{password}" == asked.login
    return AuthResult(success=right, handled=right)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        answer = answers.pop(0) if answers else "250 2.0.0 queued as 4F1"
        if answer == "silence":
            # Taken, and then the machine dies before it can say so.
            self.keep(session, envelope)
            server.transport.abort()
            return "250 never heard"
        if answer.startswith("250"):
            self.keep(session, envelope)
        return answer

    def keep(self, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        part = lambda kind: (message.get_body((kind,)) or message).get_content()
        tell(
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            subject=str(message["subject"]),
            id=str(message["message-id"]),
            text=part("plain"),
            html=part("html"),
            headers=sorted(name.lower() for name in message.keys()),
            encrypted=session.ssl is not None or asked.tls,
            signed_in=bool(session.authenticated),
        )


handler = Handler()


def conversation():
    more = {}
    if asked.start_tls:
        more = {"tls_context": secure(), "require_starttls": True}
    if asked.login:
        more.update(authenticator=check, auth_required=True, auth_require_tls=not asked.tls)
    return SMTP(handler, hostname="mail.test", ident="mail.test", loop=loop, **more)


loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
listens = loop.create_server(conversation, "127.0.0.1", asked.port, ssl=secure() if asked.tls else None)
server = loop.run_until_complete(listens)


def end_with_the_test():
    # The test holds the other end: when it goes, so do we.
    sys.stdin.read()
    loop.call_soon_threadsafe(loop.stop)


threading.Thread(target=end_with_the_test, daemon=True).start()
tell(port=server.sockets[0].getsockname()[1])
loop.run_forever()
