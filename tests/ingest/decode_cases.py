# SPDX-License-Identifier: Apache-2.0
"""Cases for test_decode_differential.c: random Avro schemas and records,
written and read back by Debian's python3-avro, and the slots that follow from
what it read, with ids by python3-xxhash. Nothing of interestd is used.

Half of the schemas come with a reader's schema: fields in another order, left
out, added with a default, renamed with an alias, promoted numbers, enums with
other symbols between; python3-avro resolves. It knows no aliases: it is given
the old names. Nor are logical types left to it: values are what is written.

Usage: decode_cases.py OUTPUT SEED SCHEMAS; status 77 where one of the two
packages is missing. The output, little-endian: for each schema its text
(u32 size, bytes), the reader's text (empty: none), its targets (u32 count; each u8 kind, u8 required, u64 seed,
path as text, u8 values, u8 count of bounds, f64 each) and its records (u32
count; each u32 size, bytes, u8 whether a required value is missing, u64 each
slot, u32 elements without one). A text of size 0 ends it."""

import collections
import copy
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
LOGICAL = [{"type": kind, "logicalType": name} for kind, name in (
    ("long", "timestamp-millis"), ("long", "timestamp-micros"),
    ("long", "local-timestamp-millis"), ("long", "local-timestamp-micros"),
    ("long", "timestamp-millis"), ("long", "timestamp-micros"),
    ("int", "date"), ("int", "time-millis"), ("long", "time-micros"),
    ("string", "uuid"), ("bytes", "decimal"), ("long", "nobody-knows"))]
OTHER_TIME = {"date", "time-millis", "time-micros"}
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
            ("primitive", "time", "union", "enum", "fixed", "known", "record",
             "array", "map", "decimal"), (38, 12, 20, 5, 5, 5, 8, 8, 8, 1))[0]
        if kind == "primitive" or (depth >= 5 and kind != "time"):
            primitive = self.draw.choice(PRIMITIVES)
            return self.draw.choice((primitive, primitive, primitive,
                                     {"type": primitive}))
        if kind == "time":
            return dict(self.draw.choice(LOGICAL))
        if kind == "decimal":
            return {**self.fixed(), "logicalType": "decimal", "precision": 2}
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
        if kind in PRIMITIVES:
            return self.primitive(kind)
        if kind == "enum":
            return self.draw.choice(schema["symbols"])
        if kind == "fixed":
            return self.draw.randbytes(schema["size"])
        count = 0 if depth > 6 else self.draw.choice((0, 0, 1, 3))
        if kind == "array":
            return [self.any(schema["items"], depth + 1)
                    for _ in range(count)]
        if kind == "map":
            return {f"k{i}": self.any(schema["values"], depth + 1)
                    for i in range(count)}
        return {field["name"]: self.any(field["type"], depth + 1)
                for field in schema["fields"]}


def type_of(leaf):
    return leaf if isinstance(leaf, str) else leaf["type"]


def leaves(schema, path, named, run, maps=True, inside=False):
    """The types at the end of `path`, over all branches of unions. `run`:
    through one array; `maps`: by keys."""
    if isinstance(schema, list):
        return [leaf for branch in schema
                for leaf in leaves(branch, path, named, run, maps, inside)]
    if isinstance(schema, str) and schema in named:
        schema = named[schema]
    kind = type_of(schema)
    if kind == "array" and run and not inside:
        return leaves(schema["items"], path, named, run, maps, True)
    if not path:
        return [schema]
    if kind == "map" and maps:
        return leaves(schema["values"], path[1:], named, run, maps, inside)
    if kind != "record":
        return []
    return [leaf for field in schema["fields"] if field["name"] == path[0]
            for leaf in leaves(field["type"], path[1:], named, run, maps,
                               inside)]


def found_at(value, path, run, inside=False):
    """The values at the end of the path: one at most but for a run."""
    if isinstance(value, list):
        return [found for item in value
                for found in found_at(item, path, run, True)] \
            if run and not inside else []
    if not path:
        return [value]
    return found_at(value.get(path[0]), path[1:], run, inside) \
        if isinstance(value, dict) else []


def make_target(draw, path, kind, may_be_required):
    """kind None: several values."""
    values, bounds = 1, ()
    if kind is None:
        kind, values = ID, draw.randint(2, 5)
    if kind == BUCKET:
        bounds = sorted(draw.sample(range(-900, 900), draw.randint(1, 8)))
        bounds = [bound / draw.choice((1, 8)) for bound in bounds]
        bounds = sorted(set(bounds))
    required = values == 1 and kind in (ID, MS) and may_be_required and \
        draw.random() < 0.05
    return Target(path, kind, required, draw.getrandbits(64), values, bounds)


def logical_of(leaf):
    return leaf.get("logicalType") if isinstance(leaf, dict) else None


def units(found):
    """Microseconds or not, of the numbers among the types."""
    return {str(logical_of(leaf)).endswith("timestamp-micros")
            for leaf in found if type_of(leaf) in ("int", "long")}


def kinds_of(found, several):
    """What the types at a path allow."""
    ids = {"null", "boolean", "int", "long", *TEXTS}
    types = {type_of(leaf) for leaf in found}
    kinds = []
    if types and types <= ids:
        kinds.append(ID)
    if types and types <= {"null", "int", "long"} and \
            len(units(found)) <= 1 and \
            not {logical_of(leaf) for leaf in found} & OTHER_TIME:
        kinds += [MS, HOUR, WEEKDAY]
    if types and types <= {"null", "int", "long", "float", "double"}:
        kinds.append(BUCKET)
    if several and {type_of(leaf) for leaf in several} <= ids:
        kinds += [None] * (1 if several == found else 4)
    return kinds


def make_targets(draw, schema, named):
    """Up to a dozen paths that exist, with kinds that their types allow."""
    names = [f"f{i}" for i in range(7)] + ["k0", "k1", "n0", "n1"]
    targets = []
    for _ in range(90):
        path = [draw.choice(names) for _ in range(draw.choice((1, 1, 1, 2, 2,
                                                               3, 4)))]
        found = leaves(schema, path, named, False)
        several = leaves(schema, path, named, True)
        kinds = kinds_of(found, several)
        if kinds and len(targets) < 12:
            targets.append(make_target(
                draw, ".".join(path), draw.choice(kinds),
                bool(leaves(schema, path, named, False, maps=False))))
    return targets


def hash_id(seed, data):
    return xxhash.xxh3_64_intdigest(data, seed) or 1


def slot_of(value, target, micros):
    kind, seed = target.kind, target.seed
    if value is None:
        return 0
    if kind == BUCKET:
        return hash_id(seed, str(sum(
            bound <= value for bound in target.bounds)).encode())
    if isinstance(value, bool):
        return hash_id(seed, b"true" if value else b"false")
    if isinstance(value, str):
        return hash_id(seed, value.encode())
    if isinstance(value, bytes):
        return hash_id(seed, value)
    if kind == ID:
        return hash_id(seed, str(value).encode())
    ms = value // 1000 if micros else value
    if kind == MS:
        return ms & 2**64 - 1
    if kind == HOUR:
        return hash_id(seed, str(ms // 3600000 % 24).encode())
    day = EPOCH + datetime.timedelta(days=ms // 86400000 % 7)
    return hash_id(seed, str(day.weekday()).encode())


def expect(schema, named, datum, target):
    """Slots, whether a required value is missing, elements without one."""
    path, run = target.path.split("."), target.values > 1
    micros = True in units(leaves(schema, path, named, run))
    found = found_at(datum, path, run)
    if not run:
        value = found[0] if found else None
        return [slot_of(value, target, micros)], \
            target.required and (value is None or value in ("", b"")), 0
    found = [slot_of(x, target, micros) for x in found if x is not None]
    absent = [ABSENT] * (target.values - len(found))
    return found[:target.values] + absent, False, \
        max(0, len(found) - target.values)


class Reader:
    """A reader's schema made of a writer's, types by name still."""

    def __init__(self, draw, named):
        self.draw = draw
        self.named = {name: self.changed(made)
                      for name, made in named.items()}

    def added(self, number):
        kind, default = self.draw.choice((
            ("string", "given"), ("long", -7), ("boolean", True),
            ("bytes", "raw"), (["null", "string"], None),
            (["int", "null"], 12), ("double", 2.5),
            ({"type": "array", "items": "string"}, ["x", "y"]),
            ({"type": "map", "values": "long"}, {"k0": 5}),
            (dict(LOGICAL[1]), 1999)))
        return {"name": f"n{number}", "type": kind, "default": default}

    def changed(self, made):
        made = copy.deepcopy(made)
        if made["type"] == "enum":
            made["symbols"] += ["Z0", "Z1"]
            self.draw.shuffle(made["symbols"])
        if made["type"] == "record":
            made["fields"] = [
                {**field, "type": self.promoted(field["type"])}
                for field in made["fields"] if self.draw.random() < 0.9]
            made["fields"] += [self.added(i)
                               for i in range(self.draw.randint(0, 2))]
            self.draw.shuffle(made["fields"])
        return made

    def promoted(self, kind):
        wider = {"int": "long", "float": "double"}
        if isinstance(kind, str) and kind in wider and \
                self.draw.random() < 0.5:
            return wider[kind]
        return kind


def whole(schema, named, done):
    """The schema with each named type written out where it comes first."""
    if isinstance(schema, list):
        return [whole(branch, named, done) for branch in schema]
    name = schema if isinstance(schema, str) else schema.get("name")
    if name in done:
        return name
    if name in named:
        done.add(name)
        made = {**named[name], **(schema if isinstance(schema, dict)
                                  and "logicalType" in schema else {})}
        if "fields" in made:
            made["fields"] = [{**field,
                               "type": whole(field["type"], named, done)}
                              for field in named[name]["fields"]]
        return made
    if isinstance(schema, dict):
        return {**schema, **{inner: whole(schema[inner], named, done)
                             for inner in ("items", "values")
                             if inner in schema}}
    return schema


def plain(schema):
    """Without logical types."""
    if isinstance(schema, list):
        return [plain(branch) for branch in schema]
    if isinstance(schema, dict):
        return {key: plain(value) if key in ("type", "items", "values")
                else [{**field, "type": plain(field["type"])}
                      for field in value] if key == "fields" else value
                for key, value in schema.items()
                if key not in ("logicalType", "precision")}
    return schema


def dressed(draw, schema, renamed, old_names):
    """With what must not matter, and with fields called otherwise: the old
    name becomes an alias, or (old_names) the new one does."""
    schema = copy.deepcopy(schema)
    if isinstance(schema, list):
        return [dressed(draw, x, renamed, old_names) for x in schema]
    if not isinstance(schema, dict):
        return schema
    for inner in ("items", "values"):
        if inner in schema:
            schema[inner] = dressed(draw, schema[inner], renamed, old_names)
    if isinstance(schema["type"], (dict, list)):
        schema["type"] = dressed(draw, schema["type"], renamed, old_names)
    if "name" in schema and draw.random() < 0.3:
        schema["doc"] = "of \"no\" account"
    for field in schema.get("fields", ()):
        field["type"] = dressed(draw, field["type"], renamed, old_names)
        new = renamed.get(field["name"])
        if new and old_names:
            field["aliases"] = ["other", new]
        elif new:
            field["aliases"] = [field["name"]]
            field["name"] = new
        if draw.random() < 0.2:
            field["order"] = "ignore"
    return schema


def write_text(out, data):
    out.write(struct.pack("<I", len(data)) + data)


def write_targets(out, targets, renamed):
    out.write(struct.pack("<I", len(targets)))
    for path, kind, required, seed, values, bounds in targets:
        path = ".".join(renamed.get(x, x) for x in path.split("."))
        out.write(struct.pack("<BBQ", kind, required, seed))
        write_text(out, path.encode())
        out.write(struct.pack(f"<BB{len(bounds)}d", values, len(bounds),
                              *bounds))


def write_schema(out, draw, records):
    schemas = Schemas(draw)
    made = schemas.record(0)
    schema = read = whole(made["name"], schemas.named, set())
    named = schemas.named
    with_reader = draw.random() < 0.5
    if with_reader:
        named = Reader(draw, schemas.named).named
        read = whole(made["name"], named, set())
    targets = make_targets(draw, read, named)
    renamed = {f"f{i}": f"g{i}" for i in range(7) if draw.random() < 0.3}
    space = {"namespace": "made.up"} if draw.random() < 0.5 else {}
    text = {**dressed(draw, schema, {} if with_reader else renamed, True),
            **space}
    write_text(out, json.dumps(text).encode())
    write_text(out, json.dumps({**dressed(draw, read, renamed, False),
                                **space}).encode() if with_reader else b"")
    write_targets(out, targets, renamed)
    out.write(struct.pack("<I", records))
    writer = avro.schema.parse(json.dumps(plain(schema)))
    reader = avro.schema.parse(json.dumps(plain(read)))
    values = Values(draw, schemas.named)
    for _ in range(records):
        data = io.BytesIO()
        avro.io.DatumWriter(writer).write(values.any(schema),
                                          avro.io.BinaryEncoder(data))
        write_text(out, data.getvalue())
        data.seek(0)
        datum = avro.io.DatumReader(writer, reader).read(
            avro.io.BinaryDecoder(data))
        expected = [expect(read, named, datum, target) for target in targets]
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
