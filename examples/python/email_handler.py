#!/usr/bin/env python3
"""Handles DeeToo's "email" jobs, with nothing but the standard library. See README.md."""

import base64
import hashlib
import hmac
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_BODY = 1 << 20  # what DeeToo lets a job be, by default
TOLERANCE = 5 * 60  # seconds; an older delivery may be a replay


def read_key(secret):
    """The key in a whsec_ secret. A short key, or none, would let anyone sign."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    if not secret.startswith("whsec_") or len(key) < 24:
        raise ValueError
    return key


def verified(key, headers, body):
    """Whether DeeToo sent this just now: https://www.standardwebhooks.com."""
    id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    # A full stop ends the ID in what is signed, so there must be none in it.
    if not id or "." in id or not timestamp.isdecimal() or abs(time.time() - float(timestamp)) > TOLERANCE:
        return False
    mac = hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256)
    want = b"v1," + base64.b64encode(mac.digest())
    # While a secret is rotated there are several signatures. compare_digest
    # takes the same time wherever they differ, and so tells a forger nothing.
    signatures = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(want, signature.encode()) for signature in signatures)


def send_email(data, headers):
    """The job: put your own work here. Returns status, answer and headers."""
    to = data.get("to") if isinstance(data, dict) else None
    if not isinstance(to, str) or not to:  # trying again would not help
        return 422, {"error": "data lacks to"}, {"deetoo-no-retry": "true"}
    if data.get("fail") is True:  # DeeToo tries again after a backoff
        return 500, {"error": "asked to fail"}, {}
    # Deliveries are at least once: keep the webhook-id with the work done, and
    # drop what you have seen. JSON quotes the newlines that would fake a line.
    print("email to", json.dumps(to), "job", headers["deetoo-job-id"], "attempt", headers["deetoo-attempt"], flush=True)
    return 200, {"sent_to": to}, {}


class Handler(BaseHTTPRequestHandler):
    timeout = 10  # seconds without a byte; slow senders must not pile up

    def do_POST(self):
        length = self.headers.get("content-length", "")
        if self.path != "/email":
            return self.answer(404, {"error": "no such path"}, {})
        if not length.isdecimal():
            return self.answer(411, {"error": "content-length required"}, {})
        # The bytes as they came: they are what is signed.
        body = self.rfile.read(min(int(length), MAX_BODY + 1))
        if len(body) > MAX_BODY:
            return self.answer(413, {"error": "body too large"}, {})
        if not verified(self.server.key, self.headers, body):
            return self.answer(401, {"error": "bad signature"}, {})
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            data = None
        self.answer(*send_email(data, self.headers))

    def answer(self, status, result, headers):
        body = json.dumps(result).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *_):
        pass  # the job's own line says enough


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = False  # so that closing the server waits for the running jobs


if __name__ == "__main__":
    try:
        Server.key = read_key(os.environ.get("DEETOO_SECRET", ""))
    except ValueError:
        sys.exit("DEETOO_SECRET must be the job type's secret, whsec_...")
    with Server(("127.0.0.1", int(os.environ.get("PORT", 9000))), Handler) as server:
        # In a thread, because shutdown waits for serve_forever, which the signal interrupts.
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever()
