#!/usr/bin/env python3
"""Servers that answer to hurt: endless listings, redirects to other servers, keys that lead elsewhere, sizes that
cannot be. A small fake on loopback stands for the bucket; no gateway is needed."""

import pathlib
import socketserver
import struct
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "cli")]
import harness  # noqa: E402
from harness import CORRUPT, DONE, FAILED, USAGE  # noqa: E402

KEY = "p/runs/v1/mixed/" + "a" * 64 + ".ndjson.zst"
DATE = "Date: " + time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()) + "\r\n"


def response(status: str, body: bytes = b"", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{DATE}{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def page(keys=(), groups=(), token: str = "", size: str = "100", when: str = "2024-05-05T00:00:00Z") -> bytes:
    entries = "".join(f"<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>{when}</LastModified></Contents>"
                      for key in keys)
    entries += "".join(f"<CommonPrefixes><Prefix>{group}</Prefix></CommonPrefixes>" for group in groups)
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>" if token else \
        "<IsTruncated>false</IsTruncated>"
    body = f"<ListBucketResult><EncodingType>url</EncodingType>{more}{entries}</ListBucketResult>"
    return response("200 OK", body.encode())


class Hostile:
    """Answers request number n by answer(n, method, path): bytes, or an iterator of bytes that may never end."""

    def __init__(self, answer):
        self.requests = []
        hostile = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                while line := self.rfile.readline():
                    method, path, _ = line.decode().split(" ", 2)
                    headers = {}
                    while (line := self.rfile.readline().decode().strip()):
                        name, _, value = line.partition(":")
                        headers[name.lower()] = value.strip()
                    self.rfile.read(int(headers.get("content-length", 0)))
                    hostile.requests.append((method, path, headers))
                    reply = answer(len(hostile.requests) - 1, method, path)
                    try:
                        for piece in [reply] if isinstance(reply, bytes) else reply:
                            self.wfile.write(piece)
                    except OSError:
                        return

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Servers(harness.CliTest):
    timeout = 100

    def ask(self, answer, *command, status, **env) -> tuple[harness.Result, list]:
        with Hostile(answer) as server:
            result = self.run_plain(
                "--store", "s3://some-bucket/p", "--index", self.dir / f"{time.monotonic_ns()}.sqlite", *command,
                env={"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_ENDPOINT_URL_S3": server.url,
                     **env})
            self.assertEqual(result.status, status, f"{command}: {result}")
            self.assertNotIn(b"hidden", result.err + result.out)
            text = (result.err + result.out).decode()
            bad = [c for c in text if (ord(c) < 0x20 and c != "\n") or 0x7F <= ord(c) < 0xA0]
            self.assertEqual(bad, [], str(result))
            return result, server.requests

    def test_listings_without_end(self):
        result, _ = self.ask(lambda n, *_: page(token=f"t{n}"), "index", "sync", status=FAILED)
        self.assert_message(result, "the server comes to no end")
        result, _ = self.ask(lambda n, *_: page(token="t" * 10_000), "index", "sync", status=FAILED)
        self.assert_message(result, "the server comes to no end")
        group = "p/runs/v1/2024-05-05/"
        result, _ = self.ask(lambda n, *_: page(groups=[group], token=f"t{n}"), "index", "sync", status=FAILED)
        self.assert_message(result, "the server comes to no end")

    def test_keys(self):
        # Keys that no store has are not ours; those outside of what was asked for are a lie.
        inside = ["p/runs/v1/" + each for each in ("%1B[2J", "..%2F..%2Fetc%2Fpasswd", "a%0Arunctl:%20b",
                                                "b/../c", "c//d")]
        result, requests = self.ask(lambda *_: page(keys=sorted(inside)), "verify", status=DONE)
        self.assertTrue(all("etc" not in path for _, path, _ in requests), requests)
        for outside in ("/etc/passwd", "p/runs/v2/%1B[2J", "%1B]0;x%07"):
            result, _ = self.ask(lambda *_: page(keys=[outside]), "verify", status=FAILED)
            self.assert_message(result, "which is outside of it")

    def test_redirects_are_not_followed(self):
        with Hostile(lambda *_: page()) as elsewhere:
            host = elsewhere.url.removeprefix("http://")
            body = (f"<Error><Code>PermanentRedirect</Code><Endpoint>{host}</Endpoint><Region>{host}/</Region>"
                    f"<Message>\x9b2J</Message></Error>").encode()
            for status in ("301 Moved", "302 Found", "307 Temporary", "308 Permanent", "303 See Other", "400 Bad"):
                for headers in (f"Location: {elsewhere.url}/\r\n",
                                f"Location: //{host}/\r\nx-amz-bucket-region: {host}\r\n",
                                f"Location: {elsewhere.url}/\r\nx-amz-bucket-region: eu-west-1\r\n"):
                    for command in (("index", "sync"), ("doctor",)):
                        self.ask(lambda *_: response(status, body, headers), *command, status=USAGE)
            self.assertEqual(elsewhere.requests, [])

    def test_heads_without_end(self):
        def endless(piece: bytes, first: bytes = b""):
            def answer(*_):
                yield first
                while True:
                    yield piece * 100
            return answer

        for answer in (endless(b"HTTP/1.1 100 Continue\r\n\r\n"), endless(b"X-Header: x\r\n", b"HTTP/1.1 200 OK\r\n"),
                       endless(b"T: x\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")):
            self.ask(answer, "index", "sync", status=FAILED)

    def test_bodies_without_end(self):
        def answer(*_):
            yield f"HTTP/1.1 200 OK\r\n{DATE}\r\n<ListBucketResult>".encode()
            while True:
                yield b"<Contents>" * 1000

        self.ask(answer, "index", "sync", status=FAILED)

    def test_sizes_and_times_that_cannot_be(self):
        for size in ("18446744073709551615", "9223372036854775808", "4294967296"):
            def answer(n, method, path):
                if "list-type" not in path:
                    return response("404 Not Found")
                if "delimiter" in path:
                    return page(groups=["p/runs/v1/mixed/"])
                return page(keys=[KEY], size=size, when="9999-12-31T23:59:59Z")

            self.ask(answer, "index", "sync", status=FAILED)

    def test_frames_that_do_not_come(self):
        """The seek table says that the footer has 4 GiB, and so does the listing: neither is set aside."""
        size = 0xFFFFFFF0 + 1 + 8 + 25
        table = struct.pack("<IIIIIIIBI", 0x184D2A5E, 25, 1, 1, 0xFFFFFFF0, 0, 2, 0, 0x8F92EAB1)

        def answer(n, method, path):
            if "delimiter" in path:
                return page(groups=["p/runs/v1/mixed/"])
            if "list-type" in path:
                return page(keys=[KEY], size=str(size))
            tail = bytes(131072 - len(table)) + table
            return response("206 Partial", tail, f"Content-Range: bytes {size - 131072}-{size - 1}/{size}\r\n")

        result, requests = self.ask(answer, "index", "sync", status=CORRUPT)
        self.assert_message(result, "the footer is larger than any footer may be")

    def test_messages(self):
        body = ("<Error><Code>\x9b2J&#x1B;[31m</Code>"
                "<Message>&#10;runctl: all is well&#x7;\x9b</Message></Error>").encode()
        result, _ = self.ask(lambda *_: response("400 Bad", body), "index", "sync", status=FAILED)
        self.assertEqual(result.err.count(b"\n"), 1, str(result))
        self.ask(lambda *_: response("400 Bad", body), "doctor", status=FAILED)
        self.ask(lambda *_: response("400 Bad", body), "doctor", "--json", "-v", status=FAILED)


if __name__ == "__main__":
    harness.main()
