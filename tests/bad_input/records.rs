//! A record of the log that can't be processed: it is put aside with its reason, its partition goes
//! on, and it can be listed and sent again.

use std::sync::Arc;

use bytes::Bytes;
use event_log::{EmbeddedLog, EmbeddedLogOptions, EventLog as _, Stream};
use event_schemas::{
    ByteSize, Envelope, Partition, ProducerId, ProducerStamp, SystemClock, Timestamp, Topic, records::SchemaId,
};

use crate::support::{
    Creator, SHORT, Server, Viewer, clips,
    command::{output, succeed},
    wait::holds,
    wait_until,
};

/// The letters that the command lists.
async fn letters(server: &Server) -> Vec<String> {
    let listed = succeed(server.command(&["dead-letters", "list", "playback"])).await;
    listed.lines().map(str::to_owned).collect()
}

async fn until_there_are(server: &Server, count: usize) -> Vec<String> {
    wait_until("the record is put aside", SHORT, async || {
        let letters = letters(server).await;
        if letters.len() == count { Ok(letters) } else { Err(format!("{letters:?}")) }
    })
    .await
}

#[tokio::test]
async fn what_cannot_be_processed_is_put_aside_and_can_be_replayed() {
    let clip = clips::tiny(20).await;
    let mut server = Server::start(&["topics.playback_partitions=1"]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let video = ada.publish(&clip, "Among bad records").await;
    assert!(letters(&server).await.is_empty());

    // Such as a faulty producer of another version would leave: one is an envelope, one is nothing.
    server.kill();
    let stream = Stream::Main(Topic::Playback);
    let mut options = EmbeddedLogOptions::new(server.data().join("log"), Arc::new(SystemClock));
    options.free_space_floor = ByteSize(0);
    let log = EmbeddedLog::open(options).unwrap();
    let bad = Envelope {
        schema: SchemaId::PlaybackBatch as u16,
        producer: ProducerStamp { id: ProducerId::generate(), epoch: 1, seq: 0 },
        produced_at: Timestamp::from_micros(0),
        key: Bytes::new(),
        payload: Bytes::from_static(b"not Arrow"),
    };
    log.append(stream, Partition(0), vec![bad.encode(), Bytes::from_static(b"noise")]).await.unwrap();
    log.close().await;
    drop(log);
    server.restart().await;

    let found = until_there_are(&server, 2).await;
    assert!(found.iter().all(|letter| letter.starts_with("playback\t") && letter.contains("from 0/")), "{found:?}");
    // What comes behind them is counted as ever.
    let mut viewer = Viewer::new(&server);
    let mut playback = viewer.open(&video, 1).await;
    let events = playback.watch_to(20_000);
    playback.report(events).await;
    wait_until("the view is counted", SHORT, async || {
        let views = server.stranger().video(&video).await["counters"]["views"].clone();
        holds(views == 1, || views.to_string())
    })
    .await;

    // Sent again, the first is as bad as before; the second was never a record.
    let offset = |letter: &String| letter.split('\t').nth(1).unwrap().to_owned();
    let replayed = succeed(server.command(&["dead-letters", "replay", "playback", &offset(&found[0])])).await;
    assert!(replayed.contains("is in playback again"), "{replayed}");
    until_there_are(&server, 3).await;
    for (number, why) in [(offset(&found[1]), "not an envelope"), ("99".to_owned(), "no dead letter 99")] {
        let refused = output(server.command(&["dead-letters", "replay", "playback", &number])).await;
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && message.contains(why), "{message}");
    }
    assert_eq!(letters(&server).await.len(), 3);
    let events = server.flush().await;
    assert!(server.sql_number("select count(*) from playback_events").await > 0, "{events}");
}
