//! What must not be transcoded, and what its owner is told.

use libtest_mimic::Trial;
use transcode_stage::{protocol::FailureKind, worker::RunError};

use crate::{
    clips::{ffmpeg, ordinary},
    collect::{Keeper, config, refusal, run},
    trial,
};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("files_that_are_no_video", files_that_are_no_video),
        trial("an_ffconcat_list_named_mp4", an_ffconcat_list_named_mp4),
        trial("an_hls_playlist_named_mp4", an_hls_playlist_named_mp4),
        trial("a_movie_that_refers_to_another_file", a_movie_that_refers_to_another_file),
        trial("a_file_cut_off", a_file_cut_off),
        trial("too_long_too_large_too_many", too_long_too_large_too_many),
        trial("damaged_bytes_never_take_the_worker_down", damaged_bytes_never_take_the_worker_down),
    ]
}

fn is_bad_source(error: &RunError) -> bool {
    matches!(error, RunError::Failed { kind: FailureKind::Source, .. }) && !error.is_worth_another_attempt()
}

async fn not_accepted(source: Vec<u8>) {
    let error = refusal(source).await;
    assert!(is_bad_source(&error), "{error:?}");
    assert!(error.reason().contains("not a video we accept"), "{error}");
}

async fn files_that_are_no_video() {
    not_accepted(Vec::new()).await;
    not_accepted(b"Dear diary, today I uploaded a text file.\n".repeat(200)).await;
    not_accepted(vec![0; 100_000]).await;
    let picture = ffmpeg("png", "-f lavfi -i testsrc2=size=64x64 -frames:v 1");
    not_accepted(picture).await;
}

async fn an_ffconcat_list_named_mp4() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), ordinary("160x120", "25", 1)).unwrap();
    let list = format!("ffconcat version 1.0\nfile '{}'\n", secret.path().display());
    not_accepted(list.into_bytes()).await;
}

async fn an_hls_playlist_named_mp4() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), ordinary("160x120", "25", 1)).unwrap();
    let playlist = format!(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nfile://{}\n#EXT-X-ENDLIST\n",
        secret.path().display()
    );
    not_accepted(playlist.into_bytes()).await;
    not_accepted(b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n".to_vec())
        .await;
}

async fn a_movie_that_refers_to_another_file() {
    // The data reference `url ` with the flag for "in this file" becomes one that points elsewhere.
    let mut movie = ordinary("160x120", "25", 1);
    let at = movie.windows(8).position(|window| window == b"url \0\0\0\x01").unwrap();
    movie[at..at + 8].copy_from_slice(b"alis\0\0\0\0");
    let mut keeper = Keeper::default();
    // Either outcome is fine as long as nothing outside is read, which the sandbox denies anyway.
    let _ = run(config(), movie, &mut keeper).await;
    assert!(keeper.sandbox.unwrap().is_sufficient());
}

async fn a_file_cut_off() {
    let front = ffmpeg(
        "mp4",
        "-f lavfi -i testsrc2=size=320x240:rate=25:duration=8 -c:v libx264 -preset ultrafast -pix_fmt yuv420p \
         -movflags +faststart",
    );
    let error = refusal(front[..front.len() * 6 / 10].to_vec()).await;
    assert!(is_bad_source(&error) && error.reason().contains("ends early"), "{error:?}");
    // With its index at the end there is nothing to go by.
    let behind = ordinary("320x240", "25", 4);
    let error = refusal(behind[..behind.len() / 2].to_vec()).await;
    assert!(is_bad_source(&error), "{error:?}");
}

async fn too_long_too_large_too_many() {
    let source = ordinary("320x240", "25", 3);
    let mut short = config();
    short.limits.max_duration = event_schemas::Millis(2000);
    let error = run(short, source.clone(), &mut Keeper::default()).await.unwrap_err();
    assert!(is_bad_source(&error) && error.reason().contains("longer than we accept"), "{error:?}");
    let mut narrow = config();
    narrow.limits.max_pixels = 320 * 200;
    let error = run(narrow, source.clone(), &mut Keeper::default()).await.unwrap_err();
    assert!(is_bad_source(&error) && error.reason().contains("larger than we accept"), "{error:?}");
    let mut few = config();
    few.limits.max_streams = 1;
    let error = run(few, source.clone(), &mut Keeper::default()).await.unwrap_err();
    assert!(is_bad_source(&error), "{error:?}");
    let mut lean = config();
    lean.limits.max_output = event_schemas::ByteSize(20_000);
    let error = run(lean, source, &mut Keeper::default()).await.unwrap_err();
    assert!(matches!(error, RunError::TooMuch(20_000)) && !error.is_worth_another_attempt(), "{error:?}");
}

async fn damaged_bytes_never_take_the_worker_down() {
    let whole = ordinary("160x120", "25", 2);
    for seed in 0..6u64 {
        let mut damaged = whole.clone();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for _ in 0..200 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(state >> 33).unwrap() % damaged.len();
            damaged[at] ^= u8::try_from((state >> 20) & 0xff).unwrap();
        }
        let mut keeper = Keeper::default();
        if let Err(error) = run(config(), damaged, &mut keeper).await {
            assert!(!error.reason().is_empty());
        }
    }
}
