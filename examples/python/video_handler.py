#!/usr/bin/env python3
"""Handles DeeToo's "video" jobs, which take longer than a request should. See README.md."""

import json
import os
import signal
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler

from email_handler import MAX_BODY, Server, read_key, verified

BEAT = float(os.environ.get("BEAT", 15))  # seconds; the type's callback_lease should be some times that
STEP = float(os.environ.get("STEP", 1))  # seconds that a frame takes, since there is no real work here


class Ended(Exception):
    """The job is ours no more: it was cancelled, or DeeToo has given us up."""


class Job:
    """What DeeToo is told of a job while it is worked on."""

    def __init__(self, headers):
        self.id = headers["deetoo-job-id"]
        self.url, self.token = headers["deetoo-callback-url"], headers["deetoo-callback-token"]
        self.cancelled = threading.Event()  # set: stop working
        self.lost = False  # somebody else may be working on it by now
        self.done = threading.Event()

    def call(self, what, body):
        request = urllib.request.Request(
            f"{self.url}/{what}", json.dumps(body).encode(),
            {"content-type": "application/json", "authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = response.read()
        if answer and json.loads(answer).get("cancelled"):
            self.cancelled.set()

    def tell(self, what, body):
        """Calls, however often it takes: DeeToo may be restarting. 409: the attempt has ended."""
        while True:
            try:
                return self.call(what, body)
            except urllib.error.HTTPError as e:
                if e.code == 409:
                    self.lost = True
                    self.cancelled.set()
                    return None
                if e.code < 500:
                    raise
            except OSError:
                pass
            if self.lost or self.done.wait(1):
                return None

    def beat(self):
        """Says in a thread of its own that the work goes on, even while that is deep in something."""
        while not self.done.wait(BEAT):
            self.tell("heartbeat", {})


def render(job, frames):
    """The job: put your own work here, and look at job.cancelled between its steps."""
    for n in range(frames):
        if job.cancelled.wait(STEP):
            raise Ended
        job.tell("progress", {"number": n + 1, "total": frames})
    job.tell("log", {"message": f"rendered {frames} frames"})
    return {"frames": frames}


def work(job, data):
    threading.Thread(target=job.beat, daemon=True).start()
    what, body = "fail", {"error": "the handler broke"}
    try:
        what, body = "complete", {"result": render(job, data["frames"])}
    except Ended:
        body = {"error": "stopped, because the job was cancelled"}
    except Exception as e:
        body = {"error": repr(e)}
    if not job.lost:  # else its next attempt may be running already
        job.tell(what, body)
    job.done.set()
    print("video job", job.id, "lost" if job.lost else what, flush=True)


class Handler(BaseHTTPRequestHandler):
    timeout = 10  # seconds without a byte

    def do_POST(self):
        length = self.headers.get("content-length", "")
        if self.path != "/video":
            return self.answer(404)
        if not length.isdecimal() or int(length) > MAX_BODY:
            return self.answer(413)
        body = self.rfile.read(int(length))
        if not verified(self.server.key, self.headers, body):
            return self.answer(401)
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict) or type(data.get("frames")) is not int or data["frames"] < 0:
            return self.answer(489)  # trying again would not help
        job = Job(self.headers)
        if not job.url:
            return self.answer(500)  # this dispatcher has no address to call back
        # Not a daemon: on SIGTERM the process ends when the work is done.
        threading.Thread(target=work, args=(job, data)).start()
        self.answer(202)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_request(self, *_):
        pass


if __name__ == "__main__":
    try:
        Server.key = read_key(os.environ.get("DEETOO_SECRET", ""))
    except ValueError:
        sys.exit("DEETOO_SECRET must be the job type's secret, whsec_...")
    with Server(("127.0.0.1", int(os.environ.get("PORT", 9000))), Handler) as server:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever()
