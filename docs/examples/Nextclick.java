// A click and the list that it makes, with Kafka's own client. Without a build:
//   java -cp 'kafka-clients.jar:slf4j-api.jar:...' Nextclick.java USER ITEM

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class Nextclick {
    public static void main(String[] args) throws Exception {
        String brokers = System.getenv().getOrDefault("BOOTSTRAP_SERVERS", "127.0.0.1:9092");
        String prefix = System.getenv().getOrDefault("NEXTCLICK_PREFIX", "nextclick.");
        String user = args[0], item = args[1], event = UUID.randomUUID().toString();

        try (var lists = new KafkaConsumer<>(Map.<String, Object>of("bootstrap.servers", brokers),
                 new StringDeserializer(), new StringDeserializer());
             var producer = new KafkaProducer<>(Map.<String, Object>of("bootstrap.servers", brokers),
                 new StringSerializer(), new StringSerializer())) {
            List<TopicPartition> places = lists.partitionsFor(prefix + "recommendations").stream()
                .map(place -> new TopicPartition(place.topic(), place.partition())).toList();
            lists.assign(places);
            lists.seekToEnd(places);
            places.forEach(lists::position); // from here on, before the click is sent

            // With a JSON library where ids may hold quotes. The default partitioner is the right one.
            String click = """
                {"event_id": "%s", "user_id": "%s", "item_id": "%s", "event": "click", "timestamp": %d}"""
                .formatted(event, user, item, System.currentTimeMillis());
            producer.send(new ProducerRecord<>(prefix + "clicks", user, click)).get();

            while (true) {
                for (var record : lists.poll(Duration.ofSeconds(1))) {
                    if (record.value().contains("\"id\":\"" + event + "\"")) {
                        System.out.println(record.value());
                        return;
                    }
                }
            }
        }
    }
}
