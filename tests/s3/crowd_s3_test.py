#!/usr/bin/env python3
"""Many programs at once on one bucket, one index and one cache, as tests/cli/crowd_test.py has them on a directory."""

import secrets
import unittest

import gateway
import crowd_test
import harness
from gateway import S3Case


def setUpModule() -> None:
    S3Case.gateway = gateway.Gateway()
    unittest.addModuleCleanup(S3Case.gateway.stop)
    S3Case.bucket = S3Case.gateway.make_bucket("runctl-crowd-" + secrets.token_hex(4))


class Bucket(crowd_test.Crowd, S3Case):
    direct = "http"

    def setUp(self) -> None:
        self.long_form()
        super().setUp()


if __name__ == "__main__":
    harness.main()
