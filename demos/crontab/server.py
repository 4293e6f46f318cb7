"""A local HTTP server that writes down every delivery: who it was for and how it ended.

    python3 server.py LOG PORTFILE

/ok, /curl*: 200 at once. /slow: 200 after two seconds. /long: 200 after five. /flaky: 503 the first
time a delivery id is seen, then 200. Requests with a signature are checked by Standard Webhooks with
the secret in MAINSPRING_SECRET_DEMO; a wrong one gets 401. A delivery is written as completed only
after its answer has been sent: a caller that died meanwhile did not get it.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOG = open(sys.argv[1], "a", buffering=1)
KEY = base64.b64decode(os.environ["MAINSPRING_SECRET_DEMO"].removeprefix("whsec_"))
WAITS = {"/slow": 2, "/long": 5}
lock = threading.Lock()
seen = set()


def signed(headers, body):
    """Whether the signature is right; requests of curl have none."""
    given = headers.get("webhook-signature")
    if given is None:
        return headers.get("user-agent", "").startswith("curl/")
    what = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    right = "v1," + base64.b64encode(hmac.new(KEY, what, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(right, one) for one in given.split())


class Deliveries(BaseHTTPRequestHandler):
    def do_POST(self):
        begin = time.time()
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        id = self.headers.get("webhook-id", "")
        with lock:
            again = id in seen
            seen.add(id)
        status = 200
        if not signed(self.headers, body):
            status = 401
        elif self.path == "/flaky" and not again:
            status = 503
        time.sleep(WAITS.get(self.path, 0))
        sent = self.answer(status)
        with lock:
            LOG.write(json.dumps({"id": id, "path": self.path, "status": status, "begin": begin,
                                  "end": time.time(), "sent": sent}) + "\n")

    def answer(self, status):
        """Sends it; False when nobody was there any more."""
        try:
            self.send_response(status)
            self.send_header("content-length", "3")
            self.end_headers()
            self.wfile.write(b"ok\n")
            self.wfile.flush()
            return True
        except OSError:
            return False

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass  # A killed node breaks its connections; what was not sent is not completed.


server = Server(("127.0.0.1", 0), Deliveries)
with open(sys.argv[2] + ".new", "w") as file:
    file.write(str(server.server_port))
os.rename(sys.argv[2] + ".new", sys.argv[2])
server.serve_forever()
