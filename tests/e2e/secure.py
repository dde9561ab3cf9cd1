#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TLS and SASL/SCRAM with Apache Kafka, and that no secret is ever told.

1. A wrong password: the daemon stays up, is not ready, and says that it is
   authentication that failed, in status, log, /readyz and a metric. With the
   password set at the broker it goes on by itself, to the state and the
   weights of a run without security.
2. A certificate of an authority that is not trusted: said to be TLS.
3. TLS with a client's certificate, its key under a password.
4. Passwords come from a file or the environment, stand nowhere else: not in
   what check-config, status, metrics and inspect print, not in the log with
   all of librdkafka's debugging, not in the state or the model."""

import os
import sys
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
import certificates
import stream
import topics
from daemon import Daemon, check, compare, dump, merge
from kafka import Kafka
from paths import Steps, say

PARTITIONS = 2
PAGES = 300
USER = "interestd"
WRONG, SCRAM = "Wr0ng-hunter2-word", "R1ght-hunter2-word"
KEY, TOKEN = "K3y-hunter2-word", "T0ken-hunter2-word"
SECRETS = (WRONG, SCRAM, KEY, TOKEN)


def scram(*entity):
    return ["--alter", *entity, "--entity-type", "users", "--entity-name",
            USER]


class Test:
    def __init__(self, interestd, folder, kafka, authority):
        self.interestd, self.folder, self.kafka = interestd, folder, kafka
        self.authority = authority
        self.daemons = []
        self.plain = merge(stream.config(), {"kafka.brokers": kafka.brokers})

    def daemon(self, name, protocol, properties, **changes):
        config = merge(self.plain, {
            "kafka.brokers": self.kafka.secure_brokers[protocol],
            "kafka.properties": {"security.protocol": protocol.lower(),
                                 "ssl.ca.location": self.authority.ca,
                                 **properties}, **changes})
        made = Daemon(self.interestd, os.path.join(self.folder, name), config)
        self.daemons.append(made)
        return made

    def secret(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text + "\n")
        return "file:" + path

    def fill(self):
        with topics.Client(self.kafka.brokers) as client:
            client.create(PARTITIONS, "impressions", "clicks",
                          "model-announcements")
            self.events = stream.Stream(9, PAGES).send(client, PARTITIONS)
        self.kafka.configure(*scram(
            "--add-config", f"SCRAM-SHA-256=[password={WRONG}-at-first]"))

    def without(self):
        daemon = Daemon(self.interestd, os.path.join(self.folder, "plain"),
                        self.plain)
        self.expected = self.finish(daemon)

    def finish(self, daemon):
        try:
            if daemon.process is None:
                daemon.start()
            daemon.wait_trained(self.events, 120)
            check(not daemon.status()["ingest"]["broker_refuses"], "refused")
            daemon.stop()
        finally:
            daemon.end()
        out = os.path.join(daemon.folder, "out")
        dump(daemon, out)
        return out, daemon.checkpoint()["digest"]

    def same(self, title, found):
        compare(title, self.expected[0], found[0])
        check(found[1] == self.expected[1], f"{title}: other weights")

    def refused(self, daemon, words):
        """It says so everywhere, and goes on."""
        status = daemon.wait(
            lambda s: words in s["ingest"]["broker_error"], words, 60)
        say(f"  {status['ingest']['broker_error']}")
        check(status["ingest"]["broker_refuses"], "broker_refuses is false")
        check(not status["ready"] and status["ingest"]["events"] == 0,
              "ready, or events from nowhere")
        check(f'event=broker_refuses reason="{words}"'
              in daemon.log(10_000_000), "not in the log")
        try:
            urllib.request.urlopen(daemon.url("/readyz"), timeout=10)
            check(False, "/readyz says ready")
        except urllib.error.HTTPError as answer:
            text = answer.read().decode()
            check(answer.code == 503 and words in text, f"/readyz: {text}")
        self.told(daemon)
        with urllib.request.urlopen(daemon.url("/metrics"),
                                    timeout=10) as answer:
            check("\ninterestd_ingest_broker_refusing 1\n"
                  in answer.read().decode(), "not in the metrics")
        daemon.alive()

    def told(self, daemon):
        """All that the running daemon tells."""
        for path in ("/status", "/metrics", "/livez"):
            with urllib.request.urlopen(daemon.url(path),
                                        timeout=10) as answer:
                self.clean(path, answer.read())

    @staticmethod
    def clean(where, data):
        for secret in SECRETS:
            check(secret.encode() not in data, f"{where} tells a secret")

    def strangers(self):
        daemon = self.daemon("scram", "SASL_SSL", {
            "sasl.mechanism": "SCRAM-SHA-256", "sasl.username": USER,
            "sasl.password": self.secret("password", SCRAM), "debug": "all",
            "reconnect.backoff.max.ms": 1000}, **{"log.level": "debug",
                                                  "http.token": "env:TOKEN"})
        os.environ["TOKEN"] = TOKEN
        other = certificates.Authority(
            os.path.join(self.folder, "other"), "other")
        stranger = self.daemon("other-ca", "SSL", {"ssl.ca.location": other.ca})
        try:
            daemon.start()
            stranger.start()
            self.refused(daemon, "authentication failed")
            self.refused(stranger, "TLS failed")
            stranger.stop()
            self.kafka.configure(*scram(
                "--add-config", f"SCRAM-SHA-256=[password={SCRAM}]"))
            found = self.finish(daemon)
        finally:
            daemon.end()
            stranger.end()
        self.same("SCRAM over TLS", found)

    def mutual(self):
        os.environ["KEY_WORD"] = KEY
        certificate, key, _ = self.authority.issue("client", KEY)
        daemon = self.daemon("mutual", "SSL", {
            "ssl.certificate.location": certificate, "ssl.key.location": key,
            "ssl.key.password": "env:KEY_WORD"})
        self.same("TLS both ways", self.finish(daemon))

    def secrets(self):
        count = 0
        for daemon in self.daemons:
            for done in (daemon.call("check-config"),
                         daemon.call("inspect", "meta"),
                         daemon.call("inspect", "decisions")):
                self.clean(done.args, (done.stdout + done.stderr).encode())
            for at, _, names in os.walk(daemon.folder):
                for name in names:
                    with open(os.path.join(at, name), "rb") as file:
                        self.clean(os.path.join(at, name), file.read())
                    count += 1
        check(count > 20, f"only {count} files")
        log = self.daemons[0].log(100_000_000)
        check("facility=" in log and "SASL" in log, "no debugging was logged")
        for key in ("sasl.password", "ssl.key.password", "ssl.key.pem"):
            done = self.daemons[0].call(
                "check-config", "--set", f"kafka.properties.{key}={SCRAM}")
            check(done.returncode == 78 and "file:PATH" in done.stderr,
                  f"{key} is taken from the file: {done.stderr}")
            self.clean(key, (done.stdout + done.stderr).encode())


def test(arguments, folder):
    steps = Steps()
    authority = certificates.Authority(os.path.join(folder, "ca"), "ours")
    both = authority.issue("broker")[2]
    tls = {"ssl.keystore.type": "PEM", "ssl.keystore.location": both,
           "ssl.truststore.type": "PEM",
           "ssl.truststore.location": authority.ca}
    secure = {"SSL": {**tls, "ssl.client.auth": "required"},
              "SASL_SSL": {
                  **tls, "sasl.enabled.mechanisms": "SCRAM-SHA-256",
                  "scram-sha-256.sasl.jaas.config":
                      "org.apache.kafka.common.security.scram."
                      "ScramLoginModule required;"}}
    with Kafka(secure=secure) as kafka:
        one = Test(arguments.interestd, folder, kafka, authority)
        steps.run("produce", one.fill)
        steps.run("without security", one.without)
        steps.run("a wrong password at first; an authority that is not "
                  "trusted", one.strangers)
        steps.run("TLS with a client's certificate", one.mutual)
        steps.run("no secret is told", one.secrets)


if __name__ == "__main__":
    paths.main(test)
