# SPDX-License-Identifier: Apache-2.0
"""A producer that nobody here wrote: PyPI's confluent-kafka with its
AvroSerializer, which registers the schemas. Run by the interpreter of
apicurio.client(); reads lines of JSON from standard input:
{"topic", "partition", "key", "timestamp_ms", "schema", "record"}, where
`schema` is the number of one of the schema files given."""

import json
import sys

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext


def main():
    brokers, url, *schemas = sys.argv[1:]
    registry = SchemaRegistryClient({"url": url})
    serializers = []
    for path in schemas:
        with open(path, encoding="utf-8") as file:
            serializers.append(AvroSerializer(registry, file.read(), conf={
                "subject.name.strategy": lambda context, name: name}))
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 5})
    for line in sys.stdin:
        row = json.loads(line)
        for part, name in ((row["record"].get("what", {}), "goods"),
                           (row["record"], "view")):
            if name in part:
                part[name] = part[name].encode()
        context = SerializationContext(row["topic"], MessageField.VALUE)
        value = serializers[row["schema"]](row["record"], context)
        while True:
            try:
                producer.produce(row["topic"], value, key=row["key"],
                                 partition=row["partition"],
                                 timestamp=row["timestamp_ms"])
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    if producer.flush(60):
        sys.exit("records were not delivered")


main()
