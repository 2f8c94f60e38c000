//! One engine after another goes away and comes back: what does not need it goes on, what does says
//! so, nothing acknowledged is lost, and all of it heals without help.

use serde_json::Value;

use crate::{
    fleet::{Engines, Fleet},
    support::{Creator, LONG, Server, Upload, Viewer, clips, hls, wait::holds, wait_until},
};

/// Waits until `/readyz` of a process says this of one check: `ok`, or anything else.
async fn check(process: &Server, name: &str, is_ok: bool) -> (u16, Value) {
    wait_until(format!("`{name}` is {}", if is_ok { "well" } else { "missed" }), LONG, async || {
        let reply = process.stranger().get("/readyz").await;
        let (status, said) = (reply.status, reply.json());
        let seen = said["checks"][name] == "ok";
        if seen == is_ok { Ok((status, said)) } else { Err(said.to_string()) }
    })
    .await
}

struct World {
    fleet: Fleet,
    ada: Creator,
    video: String,
    acknowledged: i64,
}

impl World {
    /// A viewer who was there before plays the whole video.
    async fn play(&mut self, viewer: &mut Viewer) -> crate::support::Reply {
        let mut playback = viewer.open(&self.video, 1).await;
        let events = playback.watch_to(20_000);
        let sent = i64::try_from(events.len()).unwrap();
        let reply = playback.send(&playback.batch(events)).await;
        if reply.status == 202 {
            self.acknowledged += sent;
        }
        reply
    }

    /// Everything acknowledged is in the lake once, and the API shows what the lake gives.
    async fn is_whole(&self) {
        let rows = self.fleet.ask("select count(*) as n, count(distinct event_id) as d from playback_events").await;
        assert_eq!((rows[0]["n"].as_i64(), rows[0]["d"].as_i64()), (Some(self.acknowledged), Some(self.acknowledged)));
        let recounted =
            self.fleet.ask("select starts, views, engaged_views, watch_ms from video_stats").await.remove(0);
        wait_until("the API's counters are those of the lake", LONG, async || {
            let counters = self.fleet.edge.stranger().video(&self.video).await["counters"].clone();
            holds(counters == recounted, || format!("API {counters}, lake {recounted}"))
        })
        .await;
    }
}

#[tokio::test]
async fn an_engine_that_is_away_takes_with_it_only_what_needs_it() {
    let Some(fleet) = Fleet::start().await else { return };
    let (clip, watched) = (clips::tiny(3).await, clips::tiny(20).await);
    let ada = Creator::sign_up(&fleet.edge, "ada").await;
    let video = ada.publish(&watched, "Watched in hard times").await;
    let mut world = World { fleet, ada, video, acknowledged: 0 };
    let mut viewer = Viewer::new(&world.fleet.edge);
    world.play(&mut viewer).await.expect(202);
    world.is_whole().await;

    the_log(&mut world, &clip).await;
    the_serving_store(&mut world).await;
    the_catalog(&mut world).await;
    the_objects(&mut world, &clip).await;
}

/// Fluvio: telemetry waits on disk, uploads go on, reads go on.
async fn the_log(world: &mut World, clip: &clips::Clip) {
    world.fleet.engines.fluvio.kill();
    for _ in 0..5 {
        world.play(&mut Viewer::new(&world.fleet.edge)).await.expect(202);
    }
    let (status, said) = check(world.fleet.process("ingest"), "log", false).await;
    assert_eq!((status, &said["status"]), (200, &Value::from("degraded")), "{said}");
    let (status, said) = check(world.fleet.process("lake"), "log", false).await;
    assert_eq!((status, &said["status"]), (503, &Value::from("unready")), "{said}");
    let uploaded = world.ada.upload(clip, &[("title", "Without a log"), ("visibility", "public")]).await;
    let shown = world.ada.api.video(&uploaded).await;
    assert_eq!(shown["upload_state"], "complete", "{shown}");
    let stranger = world.fleet.edge.stranger();
    assert_eq!(stranger.video(&world.video).await["counters"]["views"], 1, "as it was counted before");
    assert!(stranger.ids("/api/v1/search?q=watched").await.contains(&world.video));
    hls::all(&stranger, &format!("/media/{}/master.m3u8", world.video)).await;

    // A process that ends while telemetry waits has it still when it starts; it can't start before
    // the log is back, and says so.
    world.fleet.engines.fluvio.restart().await;
    check(world.fleet.process("ingest"), "log", true).await;
    world.ada.ready(&uploaded).await;
    wait_until("the queue on disk is sent on", LONG, async || {
        let (status, said) = check(world.fleet.process("ingest"), "log", true).await;
        holds(status == 200 && said["status"] == "ready", || said.to_string())
    })
    .await;
    world.is_whole().await;
}

/// Redis: what was read is shown, everything is counted, and the figures come back by themselves.
async fn the_serving_store(world: &mut World) {
    world.fleet.engines.redis.kill();
    let (status, said) = check(world.fleet.process("playback"), "serving store", false).await;
    assert_eq!((status, &said["status"]), (200, &Value::from("degraded")), "{said}");
    let stranger = world.fleet.edge.stranger();
    assert_eq!(stranger.video(&world.video).await["counters"]["views"], 6, "the last that was read");
    assert!(!stranger.ids("/api/v1/trending").await.is_empty());
    stranger.get(&format!("/api/v1/videos/{}/related", world.video)).await.expect(200);
    world.play(&mut Viewer::new(&world.fleet.edge)).await.expect(202);
    Creator::sign_up(&world.fleet.edge, "bob").await;
    // It comes back empty, as it keeps nothing on disk.
    world.fleet.engines.redis.restart();
    check(world.fleet.process("playback"), "serving store", true).await;
    world.is_whole().await;
}

/// PostgreSQL: telemetry with a grant goes on; what needs the catalog says 503.
async fn the_catalog(world: &mut World) {
    let mut playback = Viewer::new(&world.fleet.edge).open(&world.video, 1).await;
    world.fleet.engines.postgres.crash();
    let events = playback.watch_to(20_000);
    world.acknowledged += i64::try_from(events.len()).unwrap();
    playback.send(&playback.batch(events)).await.expect(202);
    let (status, said) = check(world.fleet.process("playback"), "catalog", false).await;
    assert_eq!((status, &said["status"]), (503, &Value::from("unready")), "{said}");
    world.fleet.process("playback").stranger().get(&format!("/api/v1/videos/{}", world.video)).await.expect_problem(
        503,
        "unavailable",
        "",
    );
    world.fleet.engines.postgres.restart().unwrap();
    check(world.fleet.process("playback"), "catalog", true).await;
    world.is_whole().await;
}

/// S3: pages and telemetry go on; segments and uploads say 503 and go on later.
async fn the_objects(world: &mut World, clip: &clips::Clip) {
    let upload = Upload::create(&world.ada.api, clip.bytes.len() as u64, &[("title", "Interrupted")]).await;
    let master = format!("/media/{}/master.m3u8", world.video);
    let all = hls::all(&world.fleet.edge.stranger(), &master).await;
    let segment = all[0].1.files().into_iter().next().unwrap();
    world.fleet.engines.s3.stop().await;
    for role in ["playback", "ingest"] {
        let (status, said) = check(world.fleet.process(role), "storage", false).await;
        assert_eq!((status, &said["status"]), (200, &Value::from("degraded")), "{said}");
    }
    let (status, _) = check(world.fleet.process("sql"), "storage", false).await;
    assert_eq!(status, 503);
    let playback = world.fleet.process("playback").stranger();
    assert_eq!(playback.video(&world.video).await["title"], "Watched in hard times");
    playback.get(&segment).await.expect_problem(503, "unavailable", "");
    let refused = upload.patch(0, clip.bytes.clone()).await;
    refused.expect_problem(503, "unavailable", "");
    world.play(&mut Viewer::new(&world.fleet.edge)).await.expect(202);
    world.fleet.engines.s3.restart().await;
    check(world.fleet.process("playback"), "storage", true).await;
    playback.get(&segment).await.expect(200);
    let at = upload.offset().await;
    upload.patch(at, clip.bytes.slice(at as usize..)).await.expect(204);
    world.ada.ready(&upload.video_id).await;
    world.is_whole().await;
}

/// A process that can't reach an engine says which setting is wrong, and ends.
#[tokio::test]
async fn an_engine_that_cannot_be_reached_is_named_at_the_start() {
    let Some(engines) = Engines::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    for (wrong, parts) in [
        ("log=fluvio://127.0.0.1:1", &["setting `log`", "127.0.0.1:1"][..]),
        ("catalog=postgres://nobody:secret@127.0.0.1:1/x", &["setting `catalog`", "127.0.0.1"]),
        ("cache=redis://127.0.0.1:1", &["setting `cache`", "127.0.0.1:1"]),
        ("storage=s3://millrace/x?endpoint=http://127.0.0.1:1", &["setting `storage`", "127.0.0.1:1"]),
        ("index=qdrant://127.0.0.1:1", &["setting `index`", "127.0.0.1:1"]),
    ] {
        let mut command = crate::support::command::millrace();
        command.envs(engines.s3.variables()).arg("--data-dir").arg(folder.path().join("data"));
        for set in engines.settings().iter().map(String::as_str).chain([wrong]) {
            command.args(["--set", set]);
        }
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        let refused = crate::support::command::output(command).await;
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{wrong}: {message}");
        for part in parts {
            assert!(message.contains(part), "{wrong}: `{part}` is missing: {message}");
        }
        assert!(!message.contains("secret"), "{message}");
    }
}
