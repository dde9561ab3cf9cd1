// SPDX-License-Identifier: Apache-2.0
// A producer of impressions and clicks in Java, with kafka-clients and Avro:
//
//     java -cp 'JARS/*' Producer.java BROKERS SCHEMAS USER...
//
// Shows each user a page of five items and has the third clicked.
// schemas/producers.md says why each setting is there.
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;

class Producer {
    private static byte[] encode(GenericRecord record) throws Exception {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(out, null);
        new GenericDatumWriter<GenericRecord>(record.getSchema())
            .write(record, encoder);
        encoder.flush();
        return out.toByteArray();
    }

    // What both schemas have.
    private static GenericRecord event(Schema schema, String id, String user,
                                       long eventMs, int slot) {
        GenericRecord record = new GenericData.Record(schema);
        record.put("impression_id", id);
        record.put("user_id", user);
        record.put("event_ms", eventMs);
        record.put("goods", "goods" + slot);
        record.put("shop", "shop1");
        record.put("cate", "cate1");
        return record;
    }

    // The key is the user: all of a user's events are in one partition.
    private static Future<?> send(KafkaProducer<String, byte[]> producer,
                                  String topic, GenericRecord record)
            throws Exception {
        return producer.send(new ProducerRecord<>(
            topic, null, (Long) record.get("event_ms"),
            (String) record.get("user_id"), encode(record)));
    }

    public static void main(String[] arguments) throws Exception {
        Schema impression = new Schema.Parser().parse(
            new File(arguments[1], "impression.avsc"));
        Schema click = new Schema.Parser().parse(
            new File(arguments[1], "click.avsc"));
        List<Future<?>> sent = new ArrayList<>();
        // The default partitioner is murmur2 of the key.
        try (KafkaProducer<String, byte[]> producer = new KafkaProducer<>(
                Map.of("bootstrap.servers", arguments[0],
                       "enable.idempotence", "true", // no doubles
                       "acks", "all",                // no loss
                       "linger.ms", "5"),
                new StringSerializer(), new ByteArraySerializer())) {
            for (int i = 2; i < arguments.length; i++) {
                String user = arguments[i];
                long now = System.currentTimeMillis();
                for (int slot = 0; slot < 5; slot++) {
                    // Made when the page is: sent twice, it is one event.
                    String id = "java-" + user + "-" + now + "-" + slot;
                    GenericRecord shown =
                        event(impression, id, user, now, slot);
                    shown.put("pid", "p" + slot);
                    sent.add(send(producer, "impressions", shown));
                    if (slot == 2)
                        sent.add(send(producer, "clicks",
                                      event(click, id, user, now + 1, slot)));
                }
            }
        }
        for (Future<?> one : sent)
            one.get(); // throws what was not delivered in the end
    }
}
