# SPDX-License-Identifier: Apache-2.0
"""Avro container files (specification 1.11, "Object Container Files"), null
codec, written and read by hand: a generic library spends most of a minute on
what this does in seconds. Writers are given fields that are already encoded;
the reader knows the types that this folder's schemas use (string, long, int,
null, arrays and unions of these) and nothing else. One thread."""

import hashlib
import json

MAGIC = b"Obj\x01"
BLOCK_BYTES = 64 * 1024


def encode_long(value):
    """Zig-zag, then seven bits a byte, lowest first."""
    value = (value << 1) ^ (value >> 63)
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_string(text):
    raw = text.encode()
    return encode_long(len(raw)) + raw


def encode_array(items):
    """Items that are encoded already."""
    return (encode_long(len(items)) + b"".join(items) if items else b"") + \
        encode_long(0)


def _encode(kind, value):
    if isinstance(kind, list):
        branch = kind.index("null") if value is None else next(
            n for n, k in enumerate(kind) if k != "null")
        return encode_long(branch) + _encode(kind[branch], value)
    if isinstance(kind, dict) and kind["type"] == "array":
        return encode_array([_encode(kind["items"], x) for x in value])
    if isinstance(kind, dict):
        return _encode(kind["type"], value)
    if kind == "null":
        return b""
    if kind == "string":
        return encode_string(value)
    return encode_long(value)


def encode_record(schema, record):
    """The slow general way, for tests' own records; absent fields are
    null."""
    return b"".join(_encode(field["type"], record.get(field["name"]))
                    for field in schema["fields"])


class Writer:
    """Appends records to a container file, a block each 64 KiB. Use as a
    context manager: the last block is written on the way out."""

    def __init__(self, path, schema_text):
        self.records = 0
        self._pending = []
        self._bytes = 0
        # Compact, so that equal schemas give equal files.
        schema = json.dumps(json.loads(schema_text),
                            separators=(",", ":")).encode()
        self._sync = hashlib.md5(schema).digest()
        self._file = open(path, "wb")
        meta = encode_long(2)
        for name, value in (("avro.codec", b"null"), ("avro.schema", schema)):
            meta += encode_string(name) + encode_long(len(value)) + value
        self._file.write(MAGIC + meta + encode_long(0) + self._sync)

    def append(self, record):
        self._pending.append(record)
        self._bytes += len(record)
        if self._bytes >= BLOCK_BYTES:
            self._flush()

    def _flush(self):
        if not self._pending:
            return
        self._file.write(encode_long(len(self._pending)) +
                         encode_long(self._bytes))
        self._file.writelines(self._pending)
        self._file.write(self._sync)
        self.records += len(self._pending)
        self._pending = []
        self._bytes = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._flush()
        self._file.close()


class DecodeError(ValueError):
    pass


def decode_long(data, at):
    """Returns (value, position behind it)."""
    shift = value = 0
    while True:
        if at >= len(data):
            raise DecodeError("ends inside an integer")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        if shift > 63:
            raise DecodeError("an integer is too long")
    if value >= 1 << 64:
        raise DecodeError("an integer is too long")
    return (value >> 1) ^ -(value & 1), at


def _decode_array(kind, data, at):
    items = []
    while True:
        count, at = decode_long(data, at)
        if not count:
            return items, at
        end = None
        if count < 0:
            size, at = decode_long(data, at)
            count, end = -count, at + size
        if count > len(data) - at:  # no type used here is empty
            raise DecodeError("an array is longer than the record")
        for _ in range(count):
            item, at = _decode(kind, data, at)
            items.append(item)
        if end not in (None, at):
            raise DecodeError("a block has another size than it says")


def _decode(kind, data, at):
    if isinstance(kind, list):
        branch, at = decode_long(data, at)
        if not 0 <= branch < len(kind):
            raise DecodeError("union index")
        return _decode(kind[branch], data, at)
    if isinstance(kind, dict) and kind["type"] == "array":
        return _decode_array(kind["items"], data, at)
    if isinstance(kind, dict):
        return _decode(kind["type"], data, at)
    if kind == "null":
        return None, at
    value, at = decode_long(data, at)
    if kind == "string":
        if value < 0 or value > len(data) - at:
            raise DecodeError("length")
        return data[at:at + value], at + value
    if kind not in ("long", "int"):
        raise DecodeError(f"type {kind} is not used here")
    if kind == "int" and not -2 ** 31 <= value < 2 ** 31:
        raise DecodeError("int overflow")
    return value, at


def decode_record(schema, data):
    """One whole record -> {field: value}; strings stay bytes."""
    at, record = 0, {}
    for field in schema["fields"]:
        record[field["name"]], at = _decode(field["type"], data, at)
    if at != len(data):
        raise DecodeError("bytes follow the record")
    return record


def read(path):
    """Yields the records of a container file as dictionaries."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] != MAGIC:
        raise DecodeError(f"{path}: not an Avro container file")
    at, meta = 4, {}
    count, at = decode_long(data, at)
    while count:
        for _ in range(count):
            name, at = _decode("string", data, at)
            meta[name], at = _decode("string", data, at)
        count, at = decode_long(data, at)
    schema = json.loads(meta[b"avro.schema"])
    sync, at = data[at:at + 16], at + 16
    while at < len(data):
        count, at = decode_long(data, at)
        size, at = decode_long(data, at)
        end = at + size
        for _ in range(count):
            record = {}
            for field in schema["fields"]:
                record[field["name"]], at = _decode(field["type"], data, at)
            yield record
        if at != end or data[at:at + 16] != sync:
            raise DecodeError(f"{path}: damaged block before byte {at}")
        at += 16
