//! What the writer does with duplicates, unreadable records, a lost state and a grown table.

use std::time::Duration;

use bytes::Bytes;
use event_log::{ReadLimit, Stream};
use event_schemas::{
    Envelope, Offset, Partition, ProducerId, ProducerStamp, Timestamp, Topic,
    records::{DeadLetter, JsonRecord, SchemaId},
};
use lake_tables::{Column, Lake, schema};
use lake_writer::WriterConfig;

use crate::support::{PLAYBACK, World, event, payload};

#[tokio::test(flavor = "multi_thread")]
async fn rows_carry_their_provenance_and_lie_in_the_day_they_happened() {
    let world = World::new().await;
    let mut late = event(1, 1, 90_000);
    late.event_ts = event(1, 1, 10).event_ts;
    world.produce(1, &[event(1, 0, 86_400), late]).await;
    let life = world.live();
    let status = life.handle.flush(None).await.unwrap();
    assert_eq!(status.committed.get(Partition(1)), Offset(1));
    assert!(status.lag.values().all(|lag| *lag == 0));
    life.end().await;
    let sql = "select count(*) as n from playback_events where topic_partition = 1 and log_generation = 1 \
               and log_offset = 0 and log_index = seq and producer_epoch = 1 and producer_seq = 0 \
               and event_date = cast(event_ts as date)";
    assert_eq!(world.number(sql).await, 2);
    assert_eq!(world.number("select seq as n from playback_events where event_date = date '2026-01-05'").await, 1);
    let folder = world.folder.path().join("objects/lake/playback_events");
    assert!(folder.join("event_date=2026-01-05").is_dir() && folder.join("_delta_log").is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_wait_no_longer_than_they_may() {
    let world = World::new().await;
    let mut config = WriterConfig::new("one");
    config.commit_every = Duration::from_millis(50);
    let life = world.live_as(config, world.deps());
    for n in 0..3 {
        world.produce(0, &[event(1, n, 0)]).await;
        let until = tokio::time::Instant::now() + Duration::from_secs(30);
        while life.handle.status().await.unwrap().committed.get(Partition(0)) != Offset(u64::from(n) + 1) {
            assert!(tokio::time::Instant::now() < until);
            tokio::task::yield_now().await;
        }
    }
    life.end().await;
    world.holds(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_appended_twice_and_out_of_turn_are_taken_once() {
    let world = World::new().await;
    let id = ProducerId::generate();
    let record = |epoch, seq, n| {
        let producer = ProducerStamp { id, epoch, seq };
        let produced_at = Timestamp::default();
        let payload = payload(&[event(1, n, 0)]);
        Envelope { schema: SchemaId::PlaybackBatch as u16, producer, produced_at, key: Bytes::new(), payload }.encode()
    };
    // Number 2 overtakes 1 and is sent again after it; an earlier life's record comes last.
    let appended = [record(1, 0, 0), record(1, 0, 0), record(1, 2, 2), record(1, 1, 1), record(1, 2, 2)];
    for bytes in appended.into_iter().chain([record(2, 0, 3), record(1, 3, 9)]) {
        world.log.append(PLAYBACK, Partition(0), vec![bytes]).await.unwrap();
    }
    world.live().end().await;
    world.holds(4).await;
    assert_eq!(world.number("select sum(seq) as n from playback_events").await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_record_becomes_a_dead_letter_and_the_partition_goes_on() {
    let world = World::new().await;
    world.produce(0, &[event(1, 0, 0)]).await;
    let bad = vec![(Bytes::new(), Bytes::from_static(b"not arrow"))];
    world.producer.send(PLAYBACK, Partition(0), SchemaId::PlaybackBatch as u16, bad).await.unwrap();
    world.produce(0, &[event(1, 1, 0)]).await;
    let life = world.live();
    life.handle.flush(None).await.unwrap();
    life.end().await;
    world.live().end().await;
    world.holds(2).await;
    let dead = Stream::DeadLetters(Topic::Playback);
    let letters = world.log.read(dead, Partition(0), Offset(0), ReadLimit::default()).await.unwrap();
    assert_eq!(letters.len(), 1, "kept once, and not again by the next life");
    let letter = DeadLetter::from_envelope(&Envelope::decode(&letters[0].bytes).unwrap()).unwrap();
    assert_eq!((letter.stage.as_str(), letter.partition, letter.offset), ("lake-writer", 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_state_is_rebuilt_from_the_table() {
    let world = World::new().await;
    world.produce(0, &[event(1, 0, 0), event(1, 1, 0)]).await;
    // Leaves no row, so the table does not know that the producer came this far.
    world.produce(0, &[event(1, 1, 0)]).await;
    let life = world.live();
    life.handle.flush(None).await.unwrap();
    life.end().await;

    let mut deps = world.deps();
    deps.state = fjall::Database::builder(world.folder.path().join("empty")).open().unwrap();
    world.produce(0, &[event(1, 0, 5), event(1, 2, 5)]).await;
    world.produce(0, &[event(1, 2, 5), event(1, 3, 5)]).await;
    world.live_with("one", deps.clone()).end().await;
    world.holds(4).await;
    world.produce(0, &[event(1, 3, 5), event(1, 4, 5)]).await;
    world.live_with("one", deps).end().await;
    world.holds(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_a_later_version_has_grown_is_written_as_before() {
    let world = World::new().await;
    world.live().end().await;
    let mut def = schema::playback_events().clone();
    let data_type = arrow::datatypes::DataType::Int64;
    def.columns.push(Column { name: "score", data_type, nullable: true, meaning: "a column of a later version" });
    let lake = Lake::local(world.objects.clone()).unwrap();
    lake.open_or_create(Box::leak(Box::new(def))).await.unwrap();
    world.produce(0, &[event(1, 0, 0)]).await;
    world.live().end().await;
    world.holds(1).await;
    assert_eq!(world.number("select count(*) as n from playback_events where score is null").await, 1);
}
