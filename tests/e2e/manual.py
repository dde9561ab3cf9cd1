#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`interestd help`: every command has a manual page that man formats without
a warning and that names every option of its --help; bash completes commands
and options, and the words it offers are those of --help. docs/settings.md is
what check-config --reference prints."""

import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from daemon import check
from paths import Steps, say


def said(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60,
                          **options)
    check(done.returncode == 0 and not done.stderr,
          f"{command[1:]}: exit status {done.returncode}: {done.stderr}")
    return done.stdout


def options_of(interestd, command):
    text = said(interestd, command, "--help")
    return re.findall(r"^  (--[a-z-]+)", text.rpartition("\noptions:\n")[2],
                      re.MULTILINE)


def formatted(page):
    """The page as a reader sees it; as it is where there is no man."""
    if not shutil.which("man"):
        return page.replace("\\-", "-")
    done = subprocess.run(
        ["man", "--warnings", "-Tascii", "-l", "-"], input=page, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
        env={**os.environ, "MANWIDTH": "200", "GROFF_NO_SGR": "1"})
    check(done.returncode == 0 and not done.stderr, f"man: {done.stderr}")
    return re.sub(".\b", "", done.stdout)


def pages(interestd):
    if not shutil.which("man"):
        say("  man is not here: its warnings are not looked at")
    names = said(interestd, "help", "--commands").split()
    listed = re.findall(r"^  ([a-z-]+) ", said(interestd, "--help"),
                        re.MULTILINE)
    check(names == listed, f"commands {names}, --help lists {listed}")
    whole = formatted(said(interestd, "help", "--man", "interestd"))
    for name in names:
        check(re.search(rf"^\s+{name}\b", whole, re.MULTILINE),
              f"interestd(1) does not name {name}")
        page = formatted(said(interestd, "help", "--man", name))
        for option in options_of(interestd, name):
            check(option in page, f"{name}: no {option} in its page")
    say(f"  {len(names)} pages")


def completed(script, *words):
    """What bash offers for the last of the words."""
    line = " ".join(f"'{word}'" for word in words)
    return said("bash", "-c", f"""{script}
COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}
_interestd; printf '%s\\n' "${{COMPREPLY[@]}}" """).split()


def completion(interestd):
    script = said(interestd, "help", "--completion", "bash")
    names = said(interestd, "help", "--commands").split()
    check(completed(script, "interestd", "che") ==
          [x for x in names if x.startswith("che")], "commands")
    for name in names:
        found = completed(script, "interestd", name, "--")
        check(sorted(found) == sorted(options_of(interestd, name)),
              f"{name}: {found}")


def settings(interestd):
    path = os.path.join(os.path.dirname(paths.TESTS), "docs", "settings.md")
    with open(path, encoding="utf-8") as file:
        page = file.read()
    table = said(interestd, "check-config", "--reference")
    check(page.partition("```\n")[2] == table + "```\n",
          "docs/settings.md is not what check-config --reference prints; "
          "put that between its ``` lines")


def wrong(interestd):
    for arguments, word in ((("--man", "nothing"), "nothing"),
                            (("--completion", "fish"), "fish")):
        done = subprocess.run([interestd, "help", *arguments], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=60)
        check(done.returncode == 64 and word in done.stderr,
              f"{arguments}: {done.returncode}, {done.stderr}")


def test(arguments, _folder):
    steps = Steps()
    steps.run("manual pages", pages, arguments.interestd)
    steps.run("completion", completion, arguments.interestd)
    steps.run("the page of settings", settings, arguments.interestd)
    steps.run("what is refused", wrong, arguments.interestd)


if __name__ == "__main__":
    paths.main(test)
