#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_python.py LIBRARY MAKE_MODEL: the Python binding over a chain of deltas
that grows while it is followed. interest.py is found by PYTHONPATH."""
import ctypes
import os
import subprocess
import sys
import tempfile
import threading
import unittest

LIBRARY, MAKE_MODEL = sys.argv[1:3]
os.environ["INTEREST_LIBRARY"] = LIBRARY
import interest  # noqa: E402


class Binding(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "model")
        self.make(60, 0)

    def make(self, rows, deltas):
        subprocess.run([MAKE_MODEL, self.path, str(rows), str(deltas)],
                       check=True, stdout=subprocess.DEVNULL)

    @staticmethod
    def ask(model):
        return model.request(
            profile={"gender": "f"}, context={"pid": 7},
            behaviors=[{"goods": "shoe7", "cate": "sport"}, {"goods": 3}],
            candidates=[{"goods": "shoe7"}, {"goods": "hat"}, {}])

    def test_scores(self):
        with interest.Model(self.path) as model, model.scorer() as scorer:
            request = self.ask(model)
            answer = scorer.score(request, attention=True)
            self.assertEqual(len(answer.probability), 3)
            self.assertTrue(all(0 < p < 1 for p in answer.probability))
            self.assertNotEqual(answer.probability[0], answer.probability[1])
            # no row, or no id: the row of unknown values
            self.assertEqual(answer.probability[1], answer.probability[2])
            self.assertEqual([len(row) for row in answer.attention], [2] * 3)
            self.assertEqual(answer.version.name, model.version.name)
            both = scorer.score_users([request, request])
            self.assertEqual(both[1].probability, answer.probability)
            told = scorer.explain(request)
            self.assertEqual(told.probability, answer.probability)
            self.assertEqual(told.attention, answer.attention)
            less = model.request(
                profile={"gender": "f"}, context={"pid": 7},
                behaviors=[{"goods": 3}],
                candidates=[{"goods": "shoe7"}, {"goods": "hat"}, {}])
            self.assertEqual([row[0] for row in told.without],
                             scorer.score(less).probability)
            value, length = model.history_hash(request, answer.version)
            self.assertEqual(length, 2)
            self.assertNotEqual(value, model.history_hash(
                less, answer.version)[0])

    def test_follows(self):
        seen, came = [], threading.Event()

        def changed(version):
            seen.append(version.version)
            if version.version == 5:
                came.set()
        with interest.Model(self.path) as model, model.scorer() as scorer:
            request = self.ask(model)
            before = scorer.score(request)
            model.follow(changed=changed)
            self.make(60, 3)  # a new base, then three deltas
            self.assertTrue(came.wait(60))
            after = scorer.score(request)
            self.assertEqual(after.version.version, 5)
            self.assertNotEqual(after.probability, before.probability)
            self.assertEqual(seen, sorted(set(seen)))
            state = model.state
            self.assertEqual(state.version.version, 5)
            self.assertEqual(state.errors, 0)
            self.assertGreater(state.bytes, 1000)

    def test_errors(self):
        with self.assertRaises(interest.Error) as caught:
            interest.Model(os.path.join(self.folder.name, "nothing"))
        self.assertEqual(caught.exception.status, "no_model")
        self.assertIn("nothing", str(caught.exception))
        with interest.Model(self.path) as model:
            with self.assertRaisesRegex(interest.Error, "no field 'colour'"):
                model.request([{"colour": "red"}])
            with self.assertRaises(interest.Error) as caught:
                model.announce(b"nonsense")
            self.assertEqual(caught.exception.status, "argument")
            with self.assertRaises(interest.Error) as caught:
                model.scorer(candidates_max=2).score(self.ask(model))
            self.assertEqual(caught.exception.status, "limit")
            with open(os.path.join(self.path, "CURRENT"), "w") as current:
                current.write("nonsense\n")
            with self.assertRaisesRegex(interest.Error, "CURRENT"):
                model.refresh()
            self.assertEqual(model.state.errors_in_row, 1)
            self.assertIn("CURRENT", model.state.error.text)
            self.assertFalse(model.version.version == 0)

    def test_structs_are_the_librarys(self):
        """The sizes that the C compiler gave to the structs."""
        sizes = {interest.Version: int(os.environ["VERSION_SIZE"]),
                 interest.State: int(os.environ["STATE_SIZE"])}
        for struct, size in sizes.items():
            self.assertEqual(ctypes.sizeof(struct), size)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
