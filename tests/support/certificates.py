# SPDX-License-Identifier: Apache-2.0
"""Certificates that only this test trusts, made by openssl in a folder of its
own: an authority, a broker at 127.0.0.1, a client whose key has a password."""

import os
import subprocess


def _openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Authority:
    """ca: path of its certificate."""

    def __init__(self, folder, name):
        os.makedirs(folder, exist_ok=True)
        self.folder = folder
        self.ca = os.path.join(folder, "ca.pem")
        _openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes",
                 "-keyout", "ca.key", "-out", "ca.pem", "-days", "3",
                 "-subj", f"/CN={name}")

    def issue(self, name, password=None):
        """(certificate, key, both in one file: what Kafka reads)"""
        hidden = ["-passout", f"pass:{password}"] if password else ["-nodes"]
        _openssl(self.folder, "req", "-newkey", "rsa:2048", *hidden,
                 "-keyout", f"{name}.key", "-out", f"{name}.csr",
                 "-subj", f"/CN={name}")
        with open(os.path.join(self.folder, "names"), "w") as file:
            file.write("subjectAltName=IP:127.0.0.1\n")
        _openssl(self.folder, "x509", "-req", "-in", f"{name}.csr", "-CA",
                 "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out",
                 f"{name}.pem", "-days", "3", "-extfile", "names")
        paths = [os.path.join(self.folder, f"{name}.{end}")
                 for end in ("pem", "key", "both")]
        with open(paths[2], "w") as both:
            for path in (paths[1], paths[0]):
                with open(path) as part:
                    both.write(part.read())
        return paths
