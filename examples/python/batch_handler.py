#!/usr/bin/env python3
"""Handles DeeToo's "orders" jobs, many in one request, with an answer for each. See README.md."""

import json
import os
import signal
import sqlite3
import sys
import threading
from http.server import BaseHTTPRequestHandler

from email_handler import Server, read_key, verified

MAX_BODY = 8 << 20  # the type's max_bytes, and what is around the data


class Store:
    """Where the work goes: your database. One transaction for all of a batch is what makes batches fast."""

    def __init__(self, path):
        self.lock = threading.Lock()
        self.db = sqlite3.connect(path, check_same_thread=False)
        self.db.execute("CREATE TABLE IF NOT EXISTS orders (webhook_id TEXT PRIMARY KEY, amount REAL)")

    def put(self, item):
        # Deliveries are at least once: a job that is there already is done.
        self.db.execute("INSERT OR IGNORE INTO orders VALUES (?, ?)", (item["webhook_id"], item["data"]["amount"]))

    def total(self):
        return self.db.execute("SELECT COUNT(*), SUM(amount) FROM orders").fetchone()


def book(store, items):
    """The jobs: put your own work here. Returns what became of each."""
    answers = []
    with store.lock, store.db:
        for item in items:
            answer = {"id": item["id"]}
            data = item["data"]
            if not isinstance(data, dict) or type(data.get("amount")) not in (int, float):
                answer |= {"status": 422, "error": "data lacks amount", "no_retry": True}  # trying again would not help
            elif data.get("fail") is True and item["attempt"] == 1:
                answer |= {"status": 503, "error": "asked to fail"}  # this one is tried again, the others are not
            else:
                store.put(item)
                answer["result"] = {"booked": data["amount"]}
            answers.append(answer)
        count, amount = store.total()
    print("batch of", len(items), "orders; in all", count, "of", amount, flush=True)
    return answers


class Handler(BaseHTTPRequestHandler):
    timeout = 10  # seconds without a byte

    def do_POST(self):
        length = self.headers.get("content-length", "")
        if self.path != "/orders":
            return self.answer(404)
        if not length.isdecimal() or int(length) > MAX_BODY:
            return self.answer(413)
        body = self.rfile.read(int(length))
        if not verified(self.server.key, self.headers, body):
            return self.answer(401)
        try:
            items = json.loads(body)
        except (ValueError, RecursionError):
            items = None
        if not isinstance(items, list) or "deetoo-batch-size" not in self.headers:
            return self.answer(489, "the job type has no batch")
        self.answer(200, book(self.server.store, items))

    def answer(self, status, body=""):
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_request(self, *_):
        pass


if __name__ == "__main__":
    try:
        Server.key = read_key(os.environ.get("DEETOO_SECRET", ""))
    except ValueError:
        sys.exit("DEETOO_SECRET must be the job type's secret, whsec_...")
    Server.store = Store(os.environ.get("ORDERS_DB", ":memory:"))
    with Server(("127.0.0.1", int(os.environ.get("PORT", 9000))), Handler) as server:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever()
