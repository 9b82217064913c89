#!/usr/bin/env python3
"""A reverse proxy that stands before an S3 gateway and misbehaves on script.

    fault_proxy.py UPSTREAM SCRIPT LOG        UPSTREAM: http://HOST:PORT; prints its own URL, runs until killed

Requests pass unchanged, the Host header too, so the gateway verifies the signature that the client made for
the proxy. SCRIPT is JSON, a list of rules; the first rule whose `match` fits a request decides what happens:

    {"match": {"method": "GET", "path": "REGEX", "skip": 1, "times": 2}, "do": {...}}

`path` is searched in path?query. A rule leaves its first `skip` fits alone and acts on the next `times`
(default: all). What it can `do`, in any sensible combination:

    "delay": S              wait before anything else
    "forward": false        do not ask the gateway (default: true, so that the request takes effect)
    "twice": true           send the request to the gateway twice; the client gets the second answer
    "corrupt_request": N    flip a bit in byte N of the request's body on its way to the gateway
    "status": 503           answer with this status ...
    "body": "TEXT"          ... and this body
    "headers": {"A": "b"}   set headers of the answer; the value null drops one
    "corrupt": N            flip a bit in byte N of the answer's body
    "no_length": true       send no Content-Length; the end of the connection is the end of the body
    "cut": N                send the head and N bytes of the body, then close the connection
    "stall": N              send the head and N bytes of the body, then nothing for two minutes
    "trickle": S            send the body a byte every S seconds
    "reset": true           reset the connection (RST) instead of answering
    "silent": true          never answer
    "garbage": true         answer with something that is not HTTP

LOG gets one JSON line for each request: its number, method, path, Range, Expect, status, and whether a
rule acted.
As a module: FaultProxy(upstream, rules) is a context manager with .url and .requests. There, whatever the rules say,
kill_at(N, WHEN, VICTIM) kills the process VICTIM() (SIGKILL) at the Nth request from then on: WHEN it has sent half
of the body ("body"), when it has sent all of it and nobody has seen it yet ("request"), or when the gateway has
answered and the answer is not passed on yet ("answer"). `faulted` is set when a rule acts; settle() waits until what
was sent has been dealt with.
"""
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import socketserver
import struct
import sys
import threading
import time
import urllib.parse


class Rule:
    def __init__(self, spec):
        match = spec.get("match", {})
        self.method = match.get("method")
        self.path = re.compile(match.get("path", ""))
        self.skip = match.get("skip", 0)
        self.times = match.get("times")
        self.action = spec["do"]
        self.fits = 0

    def acts_on(self, method, path):
        if self.method not in (None, method) or not self.path.search(path):
            return False
        self.fits += 1
        number = self.fits - self.skip
        return number > 0 and (self.times is None or number <= self.times)


class Answer:
    """Status, headers (a list of pairs) and body of what goes back to the client."""

    def __init__(self, status=200, headers=(), body=b""):
        self.status, self.headers, self.body = status, list(headers), body

    def set(self, name, value):
        self.headers = [(n, v) for n, v in self.headers if n.lower() != name.lower()]
        if value is not None:
            self.headers.append((name, value))


class Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.upstream = None

    def finish(self):
        if self.upstream:
            self.upstream.close()
        try:
            super().finish()
        except OSError:
            pass

    def handle(self):
        try:
            while self.one_request():
                pass
        except OSError:
            pass

    def read_head(self):
        line = self.rfile.readline(65536).decode("latin-1")
        if not line.strip():
            return None
        method, path, _ = line.split(" ", 2)
        headers = []
        while (line := self.rfile.readline(65536).decode("latin-1").rstrip("\r\n")):
            name, _, value = line.partition(":")
            headers.append((name, value.strip()))
        return method, path, headers

    def read_body(self, headers, kill):
        length = int(dict((n.lower(), v) for n, v in headers).get("content-length", 0))
        if kill == "body":
            self.rfile.read(length // 2)
            self.server.kill_victim()
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("the client is gone")  # and no server would act on a part of what it sent
        return body

    def one_request(self):
        head = self.read_head()
        if head is None:
            return False
        method, path, headers = head
        kill = self.server.kill_of_next_request()
        body = self.read_body(headers, kill)
        if kill == "request":
            self.server.kill_victim()
        if kill in ("body", "request"):
            return False
        rule = self.server.rule_for(method, path)
        action = rule.action if rule else {}
        if "corrupt_request" in action:
            body = flipped(body, action["corrupt_request"])
        answer = Answer()
        if rule:
            self.server.faulted.set()
        with self.server.at_work():
            time.sleep(action.get("delay", 0))
            if action.get("forward", True):
                for _ in range(2 if action.get("twice") else 1):
                    answer = self.ask_gateway(method, path, headers, body)
        if kill == "answer":
            self.server.kill_victim()
            return False
        answer.status = action.get("status", answer.status)
        if "body" in action:
            answer.body = action["body"].encode("latin-1")
        if "corrupt" in action:
            answer.body = flipped(answer.body, action["corrupt"])
        self.server.note(method, path, dict(headers), answer.status, bool(rule))
        return self.reply(method, answer, action)

    def ask_gateway(self, method, path, headers, body):
        if self.upstream is None:
            self.upstream = http.client.HTTPConnection(self.server.host, self.server.port)
            self.upstream.connect()
            self.upstream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.upstream.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            self.upstream.putheader(name, value.encode("latin-1"))
        self.upstream.endheaders(body if body else None)
        response = self.upstream.getresponse()
        answer = Answer(response.status, response.getheaders(), response.read())
        answer.set("Transfer-Encoding", None)
        answer.set("Connection", None)
        return answer

    def reply(self, method, answer, action):
        if action.get("silent"):
            time.sleep(120)
            return False
        if action.get("reset"):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return False
        if action.get("garbage"):
            self.connection.sendall(b"\x00\x01 this is not HTTP\r\n\r\n")
            return False
        if method != "HEAD":
            answer.set("Content-Length", None if action.get("no_length") else str(len(answer.body)))
        for name, value in action.get("headers", {}).items():
            answer.set(name, value)
        head = f"HTTP/1.1 {answer.status} Scripted\r\n"
        head += "".join(f"{n}: {v}\r\n" for n, v in answer.headers)
        closing = action.get("no_length") or "cut" in action
        head += "Connection: close\r\n\r\n" if closing else "\r\n"
        body = b"" if method == "HEAD" else answer.body
        body = body[:action.get("cut", action.get("stall", len(body)))]
        if "trickle" in action:
            self.connection.sendall(head.encode("latin-1"))
            for i in range(len(body)):
                self.connection.sendall(body[i:i + 1])
                time.sleep(action["trickle"])
        else:
            self.connection.sendall(head.encode("latin-1") + body)
        if "stall" in action:
            time.sleep(120)
        return not closing and "stall" not in action


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:] if at < len(data) else data


class FaultProxy(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, upstream, rules, log=None, listen=0):
        """`listen`: a port; 0 is any that is free."""
        super().__init__(("127.0.0.1", listen), Handler)
        parts = urllib.parse.urlsplit(upstream)
        self.host, self.port = parts.hostname, parts.port
        self.rules = [Rule(rule) for rule in rules]
        self.log = log
        self.requests = []
        self.faulted = threading.Event()  # a rule acts
        self.working = 0  # requests that the gateway has, or will have
        self.idle = threading.Condition()
        self.lock = threading.Lock()
        self.arrived = 0
        self.kill = None
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def rule_for(self, method, path):
        with self.lock:
            return next((rule for rule in self.rules if rule.acts_on(method, path)), None)

    def kill_at(self, request, when, victim):
        with self.lock:
            self.arrived, self.kill = 0, (request, when, victim)

    def kill_of_next_request(self):
        with self.lock:
            self.arrived += 1
            return self.kill[1] if self.kill and self.kill[0] == self.arrived else None

    @contextlib.contextmanager
    def at_work(self):
        with self.idle:
            self.working += 1
        try:
            yield
        finally:
            with self.idle:
                self.working -= 1
                self.idle.notify_all()

    def settle(self, timeout):
        """Waits until nothing that a client sent, be it gone or not, is still on its way to the gateway."""
        with self.idle:
            if not self.idle.wait_for(lambda: self.working == 0, timeout):
                raise TimeoutError("the gateway does not answer")

    def kill_victim(self):
        os.kill(self.kill[2](), signal.SIGKILL)

    def note(self, method, path, headers, status, faulty):
        with self.lock:
            lower = {n.lower(): v for n, v in headers.items()}
            entry = {"n": len(self.requests) + 1, "method": method, "path": path, "range": lower.get("range"),
                     "expect": lower.get("expect"), "status": status, "fault": faulty}
            self.requests.append(entry)
            if self.log:
                print(json.dumps(entry), file=self.log, flush=True)

    def handle_error(self, request, client_address):
        pass  # a client that goes away in the middle of an answer is what many tests are about

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    with open(sys.argv[2]) as script, open(sys.argv[3], "a") as log:
        proxy = FaultProxy(sys.argv[1], json.load(script), log)
        print(proxy.url, flush=True)
        proxy.serve_forever()


if __name__ == "__main__":
    main()
