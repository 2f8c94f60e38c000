//! A disk without room: writes are refused with 503, all else goes on, and it heals by itself.

use std::{io::Write as _, path::Path, process::Command};

use bytes::Bytes;
use nix::sys::statvfs::statvfs;

use crate::support::{Creator, SHORT, Server, Upload, Viewer, clips, not_run, tus, wait::holds, wait_until};

const MIB: u64 = 1 << 20;

fn free(path: &Path) -> u64 {
    let stat = statvfs(path).unwrap();
    stat.blocks_available() * stat.fragment_size()
}

/// Whatever a full disk stopped is at work again.
async fn is_well(server: &Server) {
    wait_until("everything is well again", SHORT, async || {
        let ready = server.stranger().get("/readyz").await;
        holds(ready.status == 200 && ready.json()["status"] == "ready", || ready.text())
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_recovers() {
    let clip = clips::small().await;
    let mut server = Server::start(&[]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let video = ada.publish(&clip, "Watched").await;
    let upload = Upload::create(&ada.api, clip.bytes.len() as u64, &[("title", "Interrupted")]).await;
    let half = clip.bytes.len() / 2;
    upload.patch(0, clip.bytes.slice(..half)).await.expect(204);
    let mut viewer = Viewer::new(&server);
    let mut playback = viewer.open(&video, 1).await;
    let batch = {
        let events = playback.watch_to(12_000);
        playback.batch(events)
    };

    // The server comes back on a disk that, as far as it is concerned, is full.
    server.kill();
    server.restart_lacking(&["free_space_floor=9999TiB"]).await;
    let refused = upload.patch(half as u64, clip.bytes.slice(half..)).await;
    refused.expect_problem(503, "storage-full", "no room");
    let refused = playback.send(&batch).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    refused.expect_problem(503, "unavailable", "");
    // Reading goes on as ever.
    let shown = server.stranger().video(&video).await;
    server.stranger().get(shown["hls_url"].as_str().unwrap()).await.expect(200);
    server.stranger().get(shown["poster_url"].as_str().unwrap()).await.expect(200);
    assert_eq!(server.stranger().ids("/api/v1/videos").await, [video.as_str()]);
    assert_eq!(upload.offset().await, half as u64);
    assert_eq!(shown["counters"]["views"], 0);
    // Nothing half-made: what was refused is not among the chunks.
    let stored: u64 = server
        .files(&format!("uploads/{}", upload.id))
        .iter()
        .map(|file| std::fs::metadata(server.data().join(file)).unwrap().len())
        .sum();
    assert_eq!(stored, half as u64);

    // With room it takes what it refused.
    server.kill();
    server.restart().await;
    let reply = upload.patch(half as u64, clip.bytes.slice(half..)).await.expect(204);
    assert_eq!(tus::offset(&reply), clip.bytes.len() as u64);
    playback.send(&batch).await.expect(202);
    ada.ready(&upload.video_id).await;
    wait_until("the view that was refused at first is counted", SHORT, async || {
        let counters = server.stranger().video(&video).await["counters"].clone();
        holds(counters["views"] == 1, || counters.to_string())
    })
    .await;
    server.flush().await;
    assert_eq!(server.sql_number("select count(*) from playback_events").await, 4);
}

/// A folder on a file system of memory, where nobody else writes much.
fn quiet_folder() -> Result<tempfile::TempDir, String> {
    let memory = Path::new("/dev/shm");
    let kind = nix::sys::statfs::statfs(memory).map_err(|error| format!("/dev/shm: {error}"))?.filesystem_type();
    if kind != nix::sys::statfs::TMPFS_MAGIC {
        return Err("/dev/shm is no file system of memory".to_owned());
    }
    if free(memory) < 512 * MIB {
        return Err(format!("/dev/shm has only {} MiB free", free(memory) / MIB));
    }
    tempfile::Builder::new().prefix("millrace-test-").tempdir_in(memory).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_disk_that_fills_up_and_empties_needs_no_restart() {
    let folder = match quiet_folder() {
        Ok(folder) => folder,
        Err(reason) => return not_run(&reason),
    };
    let floor = free(folder.path()) - 256 * MIB;
    let ballast = folder.path().join("ballast");
    let server = Server::start_in(folder, &[&format!("free_space_floor={floor}")]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let clip = clips::small().await;
    let video = ada.publish(&clip, "Watched").await;
    let upload = Upload::create(&ada.api, clip.bytes.len() as u64, &[("title", "Interrupted")]).await;
    let mut viewer = Viewer::new(&server);
    let mut playback = viewer.open(&video, 1).await;
    let batch = {
        let events = playback.watch_to(12_000);
        playback.batch(events)
    };

    for _ in 0..2 {
        // Somebody else's file takes the room under the server's feet.
        let file = std::fs::File::create(&ballast).unwrap();
        nix::fcntl::posix_fallocate(&file, 0, i64::try_from(256 * MIB).unwrap()).unwrap();
        upload.patch(0, clip.bytes.clone()).await.expect_problem(503, "storage-full", "no room");
        playback.send(&batch).await.expect_problem(503, "unavailable", "");
        server.stranger().get(&format!("/media/{video}/master.m3u8")).await.expect(200);
        assert_eq!(upload.offset().await, 0);
        drop(file);
        std::fs::remove_file(&ballast).unwrap();
        // The next attempt succeeds, without help.
        wait_until("telemetry is taken again", SHORT, async || {
            let reply = playback.send(&batch).await;
            holds(reply.status == 202, || reply.text())
        })
        .await;
    }
    upload.patch(0, clip.bytes.clone()).await.expect(204);
    ada.ready(&upload.video_id).await;
    server.flush().await;
    assert_eq!(server.sql_number("select count(*) from playback_events").await, 4);
    is_well(&server).await;
    assert_eq!(upload.patch(0, Bytes::from_static(b"x")).await.status, 409);
}

/// A file system of its own, as large as a test needs; gone when this is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size: u64) -> Result<Self, String> {
        let place = tempfile::Builder::new().prefix("millrace-disk-").tempdir().map_err(|error| error.to_string())?;
        let size = format!("size={size},mode=700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "millrace-test"]).arg(place.path());
        let output = mount.output().map_err(|error| format!("mount: {error}"))?;
        if output.status.success() {
            return Ok(Self(place));
        }
        Err(format!("no file system can be mounted here: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still holds a file there lets go of it in a moment.
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.0.path().display());
        }
    }
}

/// Writes until not one more byte is taken.
fn fill(path: &Path) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    file.sync_all()
}

#[tokio::test]
async fn a_disk_that_is_full_to_the_last_byte_loses_nothing() {
    // Without a floor the server meets what a floor is there to prevent: writes that fail halfway.
    // Even its own log, which is on the same disk, can't be written.
    let disk = match SmallDisk::new(400 * MIB) {
        Ok(disk) => disk,
        Err(reason) => return not_run(&reason),
    };
    let folder = tempfile::Builder::new().prefix("millrace-test-").tempdir_in(disk.0.path()).unwrap();
    let ballast = folder.path().join("ballast");
    let mut server = Server::start_in(folder, &["free_space_floor=0"]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let clip = clips::small().await;
    let video = ada.publish(&clip, "Watched").await;
    let upload = Upload::create(&ada.api, clip.bytes.len() as u64, &[("title", "Interrupted")]).await;
    let half = clip.bytes.len() / 2;
    upload.patch(0, clip.bytes.slice(..half)).await.expect(204);

    let mut acknowledged = 0;
    for round in 0..2 {
        let mut playback = Viewer::new(&server).open(&video, 1).await;
        let events = playback.watch_to(12_000);
        let batch = playback.batch(events.clone());
        fill(&ballast).unwrap();
        let refused = upload.patch(half as u64, clip.bytes.slice(half..)).await;
        assert_eq!(refused.status, 503, "{}", refused.text());
        // The log may still have room in a file that it holds; then what it takes it must keep.
        let reply = playback.send(&batch).await;
        assert!(matches!(reply.status, 202 | 503), "{}", reply.text());
        server.stranger().get(&format!("/media/{video}/master.m3u8")).await.expect(200);
        assert_eq!(upload.offset().await, half as u64);

        std::fs::remove_file(&ballast).unwrap();
        wait_until("telemetry is taken again", SHORT, async || {
            let reply = playback.send(&batch).await;
            holds(reply.status == 202, || reply.text())
        })
        .await;
        acknowledged += events.len() as i64;
        if round == 0 {
            continue;
        }
        wait_until("the upload is taken again", SHORT, async || {
            let reply = upload.patch(half as u64, clip.bytes.slice(half..)).await;
            holds(reply.status == 204, || reply.text())
        })
        .await;
    }
    ada.ready(&upload.video_id).await;
    server.flush().await;
    assert_eq!(server.sql_number("select count(*) from playback_events").await, acknowledged);
    assert_eq!(server.sql_number("select count(distinct event_id) from playback_events").await, acknowledged);
    is_well(&server).await;

    // What a full disk has left behind does not hinder a restart.
    server.kill();
    server.restart().await;
    let counters = server.stranger().video(&video).await["counters"].clone();
    assert_eq!((&counters["views"], &counters["starts"]), (&2.into(), &2.into()), "{counters}");
}
