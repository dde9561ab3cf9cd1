# SPDX-License-Identifier: Apache-2.0
"""Cases for test_decode_differential.c: random Avro schemas and records,
written and read back by Debian's python3-avro, and the slots that follow from
what it read, with ids by python3-xxhash. Nothing of interestd is used.

Usage: decode_cases.py OUTPUT SEED SCHEMAS; status 77 where one of the two
packages is missing. The output, little-endian: for each schema its text
(u32 size, bytes), its targets (u32 count; each u8 kind, u8 required, u64 seed,
path as text, u8 values, u8 count of bounds, f64 each) and its records (u32
count; each u32 size, bytes, u8 whether a required value is missing, u64 each
slot, u32 elements without one). A text of size 0 ends it."""

import collections
import datetime
import io
import json
import random
import struct
import sys

try:
    import avro.io
    import avro.schema
    import xxhash
except ImportError:
    sys.exit(77)

ID, MS, HOUR, WEEKDAY, BUCKET = range(5)
ABSENT = 2 ** 64 - 1
Target = collections.namedtuple("Target",
                                "path kind required seed values bounds")
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
TEXTS = ("string", "bytes", "fixed", "enum")
PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes",
              "string")


class Schemas:
    """Makes random schemas, as the JSON value that the specification means.
    `named` maps a name to its definition, for references and for values."""

    def __init__(self, draw):
        self.draw = draw
        self.named = {}
        self.open_records = []

    def name(self, prefix):
        return f"{prefix}{len(self.named)}"

    def record(self, depth):
        name = self.name("R")
        made = {"type": "record", "name": name, "fields": []}
        self.named[name] = made
        self.open_records.append(name)
        for i in range(self.draw.randint(1 if depth else 2, 7)):
            made["fields"].append({"name": f"f{i}",
                                   "type": self.any(depth + 1)})
        self.open_records.pop()
        return made

    def enum(self):
        name = self.name("E")
        self.named[name] = {
            "type": "enum", "name": name,
            "symbols": [f"S{i}" for i in range(self.draw.randint(1, 70))]}
        return self.named[name]

    def fixed(self):
        name = self.name("F")
        self.named[name] = {"type": "fixed", "name": name,
                            "size": self.draw.choice((1, 2, 16, 300))}
        return self.named[name]

    def union(self, depth):
        """Each unnamed type once; a record may hold itself here."""
        branches = self.draw.sample(PRIMITIVES, self.draw.randint(1, 3))
        if self.draw.random() < 0.5:
            branches.append("RECORD" if depth < 4 else "FIXED")
        elif self.open_records and "null" in branches:
            branches.append(self.draw.choice(self.open_records))
        if self.draw.random() < 0.2:
            branches.append("ARRAY")
        self.draw.shuffle(branches)  # before names are given: in that order
        make = {"RECORD": lambda: self.record(depth + 1), "FIXED": self.fixed,
                "ARRAY": lambda: {"type": "array",
                                  "items": self.any(depth + 2)}}
        return [make[branch]() if branch in make else branch
                for branch in branches]

    def known(self):
        """A type by its name; never a record that is still being made."""
        names = [name for name in self.named
                 if name not in self.open_records]
        return self.draw.choice(names) if names else "string"

    def any(self, depth):
        kind = self.draw.choices(
            ("primitive", "time", "union", "enum", "fixed", "known",
             "record", "array", "map"), (40, 10, 20, 5, 5, 5, 8, 4, 4))[0]
        if kind == "primitive" or (depth >= 5 and kind != "time"):
            return self.draw.choice(PRIMITIVES)
        if kind == "time":
            return {"type": "long", "logicalType": self.draw.choice(
                ("timestamp-millis", "timestamp-micros"))}
        if kind in ("array", "map"):
            items = "items" if kind == "array" else "values"
            return {"type": kind, items: self.any(depth + 1)}
        if kind in ("enum", "fixed", "known"):
            return getattr(self, kind)()
        return getattr(self, kind)(depth)


class Values:
    """Random values for a schema, near the limits of each type."""

    def __init__(self, draw, named):
        self.draw = draw
        self.named = named

    def integer(self, bits):
        magnitude = self.draw.getrandbits(self.draw.randint(0, bits - 1))
        return self.draw.choice((magnitude, ~magnitude))

    def text(self):
        size = self.draw.choice((0, 1, 3, 8, 17, 63, 64, 130, 250))
        return "".join(self.draw.choice("ab0\0\u00fc\u4e2d")
                       for _ in range(size))

    def time(self, logical):
        value = EPOCH + datetime.timedelta(
            microseconds=self.draw.randint(-10**15, 4 * 10**15))
        if logical == "timestamp-millis":
            value = value.replace(microsecond=value.microsecond // 1000 * 1000)
        return value

    def primitive(self, kind):
        return {"null": lambda: None,
                "boolean": lambda: self.draw.random() < 0.5,
                "int": lambda: self.integer(32),
                "long": lambda: self.integer(64),
                "float": lambda: self.draw.randint(0, 99) + 0.5,
                "double": lambda: self.draw.random(),
                "bytes": lambda: self.text().encode(),
                "string": self.text}[kind]()

    def any(self, schema, depth=0):
        if isinstance(schema, list):
            if depth > 8 and "null" in schema:
                return None
            return self.any(self.draw.choice(schema), depth + 1)
        if isinstance(schema, str):
            if schema in self.named:
                return self.any(self.named[schema], depth + 1)
            return self.primitive(schema)
        kind = schema["type"]
        if "logicalType" in schema:
            return self.time(schema["logicalType"])
        if kind == "enum":
            return self.draw.choice(schema["symbols"])
        if kind == "fixed":
            return self.draw.randbytes(schema["size"])
        count = 0 if depth > 6 else self.draw.choice((0, 0, 1, 3))
        if kind == "array":
            return [self.any(schema["items"], depth + 1)
                    for _ in range(count)]
        if kind == "map":
            return {f"key-{i}": self.any(schema["values"], depth + 1)
                    for i in range(count)}
        return {field["name"]: self.any(field["type"], depth + 1)
                for field in schema["fields"]}


def leaves(schema, path, named):
    """The types at the end of `path`, over all branches of unions."""
    if isinstance(schema, list):
        return [leaf for branch in schema
                for leaf in leaves(branch, path, named)]
    if isinstance(schema, str) and schema in named:
        schema = named[schema]
    if not path:
        return [schema]
    if isinstance(schema, str) or schema["type"] != "record":
        return []
    return [leaf for field in schema["fields"] if field["name"] == path[0]
            for leaf in leaves(field["type"], path[1:], named)]


def type_of(leaf):
    return leaf if isinstance(leaf, str) else leaf["type"]


def elements(leaf, named):
    """Types of an array's elements; of anything else its own."""
    if type_of(leaf) == "array":
        return leaves(leaf["items"], [], named)
    return [leaf]


def all_elements(schema, path, named):
    return [element for leaf in leaves(schema, path.split("."), named)
            for element in elements(leaf, named)]


def make_target(draw, path, kind):
    """kind None: several values."""
    values, bounds = 1, ()
    if kind is None:
        kind, values = ID, draw.randint(2, 5)
    if kind == BUCKET:
        bounds = sorted(draw.sample(range(-900, 900), draw.randint(1, 8)))
        bounds = [bound / draw.choice((1, 8)) for bound in bounds]
        bounds = sorted(set(bounds))
    required = values == 1 and kind in (ID, MS) and draw.random() < 0.05
    return Target(path, kind, required, draw.getrandbits(64), values, bounds)


def make_targets(draw, schema, named):
    """Up to a dozen paths that exist, with kinds that their types allow."""
    ids = {"null", "boolean", "int", "long", *TEXTS}
    targets = []
    for _ in range(60):
        path = [f"f{draw.randint(0, 6)}"
                for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 4)))]
        types = {type_of(leaf) for leaf in leaves(schema, path, named)}
        if not types or len(targets) == 12:
            continue
        kinds = []
        if types <= ids:
            kinds.append(ID)
        if types <= {"null", "int", "long"}:
            kinds += [MS, HOUR, WEEKDAY]
        if types <= {"null", "int", "long", "float", "double"}:
            kinds.append(BUCKET)
        path = ".".join(path)
        if {type_of(x) for x in all_elements(schema, path, named)} <= ids:
            kinds += [None] * (1 + 3 * ("array" in types))
        if kinds:
            targets.append(make_target(draw, path, draw.choice(kinds)))
    return targets


def hash_id(seed, data):
    return xxhash.xxh3_64_intdigest(data, seed) or 1


def integer_of(value):
    """A number as it was written, and its milliseconds."""
    if isinstance(value, int):
        return value, value
    microseconds = (value - EPOCH) // datetime.timedelta(microseconds=1)
    return microseconds, microseconds // 1000


def slot_of(value, target, logical):
    kind, seed = target.kind, target.seed
    if value is None:
        return 0
    if isinstance(value, float):
        return hash_id(seed, str(sum(
            bound <= value for bound in target.bounds)).encode())
    if kind == ID and isinstance(value, bool):
        return hash_id(seed, b"true" if value else b"false")
    if isinstance(value, str):
        return hash_id(seed, value.encode())
    if isinstance(value, bytes):
        return hash_id(seed, value)
    raw, ms = integer_of(value)
    if kind == MS:
        return ms & 2**64 - 1
    if kind == HOUR:
        return hash_id(seed, str(ms // 3600000 % 24).encode())
    if kind == WEEKDAY:
        day = EPOCH + datetime.timedelta(days=ms // 86400000 % 7)
        return hash_id(seed, str(day.weekday()).encode())
    if logical == "timestamp-millis" and not isinstance(value, int):
        raw = ms
    if kind == BUCKET:
        raw = sum(bound <= raw for bound in target.bounds)
    return hash_id(seed, str(raw).encode())


def expect(schema, named, datum, target):
    """Slots, whether a required value is missing, elements without one."""
    value = datum
    for name in target.path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    logicals = {leaf.get("logicalType")
                for leaf in all_elements(schema, target.path, named)
                if isinstance(leaf, dict)} - {None}
    logical = next(iter(logicals), None)
    if target.values == 1:
        return [slot_of(value, target, logical)], \
            target.required and (value is None or value in ("", b"")), 0
    found = [slot_of(x, target, logical)
             for x in (value if isinstance(value, list) else [value])
             if x is not None]
    absent = [ABSENT] * (target.values - len(found))
    return found[:target.values] + absent, False, \
        max(0, len(found) - target.values)


def one_logical(schema, named, target):
    """Two units of time at one path could not be told apart in the datum."""
    found = {leaf.get("logicalType") if isinstance(leaf, dict) else None
             for leaf in all_elements(schema, target.path, named)
             if type_of(leaf) in ("int", "long")}
    return len(found) <= 1


def write_text(out, data):
    out.write(struct.pack("<I", len(data)) + data)


def write_schema(out, draw, records):
    schemas = Schemas(draw)
    schema = schemas.record(0)
    targets = [target for target in make_targets(draw, schema, schemas.named)
               if one_logical(schema, schemas.named, target)]
    text = json.dumps(schema)
    parsed = avro.schema.parse(text)
    write_text(out, text.encode())
    out.write(struct.pack("<I", len(targets)))
    for path, kind, required, seed, values, bounds in targets:
        out.write(struct.pack("<BBQ", kind, required, seed))
        write_text(out, path.encode())
        out.write(struct.pack(f"<BB{len(bounds)}d", values, len(bounds),
                              *bounds))
    out.write(struct.pack("<I", records))
    values = Values(draw, schemas.named)
    for _ in range(records):
        data = io.BytesIO()
        avro.io.DatumWriter(parsed).write(values.any(schema),
                                          avro.io.BinaryEncoder(data))
        write_text(out, data.getvalue())
        data.seek(0)
        datum = avro.io.DatumReader(parsed).read(avro.io.BinaryDecoder(data))
        expected = [expect(schema, schemas.named, datum, target)
                    for target in targets]
        out.write(struct.pack("<B", any(missing
                                        for _, missing, _ in expected)))
        for slots, _, _ in expected:
            out.write(struct.pack(f"<{len(slots)}Q", *slots))
        out.write(struct.pack("<I", sum(cut for _, _, cut in expected)))


def main():
    path, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    draw = random.Random(seed)
    with open(path, "wb") as out:
        for _ in range(count):
            write_schema(out, draw, 15)
        write_text(out, b"")


if __name__ == "__main__":
    main()
