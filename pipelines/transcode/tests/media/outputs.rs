//! What comes out plays, and is what was promised.

use libtest_mimic::Trial;
use transcode_stage::{cmaf, protocol::Track};

use crate::{
    clips::{ffmpeg, ordinary},
    collect::{Collected, Keeper, config, run, transcode},
    ffprobe, trial,
};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("an_ordinary_video_gets_its_ladder", an_ordinary_video_gets_its_ladder),
        trial("a_rate_of_30000_over_1001_stays_aligned", a_rate_of_30000_over_1001_stays_aligned),
        trial("the_same_source_gives_the_same_bytes", the_same_source_gives_the_same_bytes),
        trial("odd_sizes_become_even", odd_sizes_become_even),
        trial("pixels_become_square", pixels_become_square),
        trial("a_phone_held_upright", a_phone_held_upright),
        trial("a_variable_rate_becomes_constant", a_variable_rate_becomes_constant),
        trial("no_sound", no_sound),
        trial("sound_alone_gets_a_plain_picture", sound_alone_gets_a_plain_picture),
        trial("cover_art_is_shown_with_the_sound", cover_art_is_shown_with_the_sound),
        trial("mono_of_44100_hertz_becomes_stereo_of_48000", mono_of_44100_hertz_becomes_stereo_of_48000),
        trial("surround_becomes_stereo", surround_becomes_stereo),
        trial("ten_bits_become_eight", ten_bits_become_eight),
        trial("high_dynamic_range_is_tone_mapped", high_dynamic_range_is_tone_mapped),
        trial("interlaced_pictures_become_progressive", interlaced_pictures_become_progressive),
        trial("full_range_becomes_limited", full_range_becomes_limited),
        trial("sound_that_begins_late_or_ends_early_is_padded", sound_that_begins_late_or_ends_early_is_padded),
        trial("other_containers", other_containers),
        trial("a_picture_that_changes_size_goes_on", a_picture_that_changes_size_goes_on),
    ]
}

/// Everything that holds for every output.
fn check(keeper: &Keeper, duration_ms: i64) {
    let plan = keeper.plan.as_ref().unwrap();
    let rate = plan.frame_rate.as_f64();
    let seconds = duration_ms as f64 / 1000.0;
    let mut keys: Option<Vec<f64>> = None;
    let mut starts: Option<Vec<i64>> = None;
    for (place, rung) in (0u8..).zip(&plan.rungs) {
        let track = &keeper.tracks[&Track::Video(place)];
        let joined = track.joined();
        let stream = ffprobe::stream(&joined);
        assert_eq!(stream["codec_name"], "h264");
        assert_eq!(
            (stream["width"].as_u64(), stream["height"].as_u64()),
            (Some(rung.width.into()), Some(rung.height.into()))
        );
        assert_eq!(stream["pix_fmt"], "yuv420p");
        assert_eq!(stream["sample_aspect_ratio"], "1:1");
        assert_eq!(stream["field_order"], "progressive");
        assert_eq!(stream["profile"], "High");
        assert_eq!(stream["level"].as_u64(), Some(rung.level.into()));
        assert_eq!(cmaf::codecs_of(&track.init).unwrap(), format!("avc1.6400{:02x}", rung.level));

        let packets = ffprobe::packets(&joined);
        assert_eq!(packets[0].pts, 0.0, "buffered ranges start at 0");
        for (n, packet) in packets.iter().enumerate() {
            assert!((packet.pts - n as f64 / rate).abs() < 0.001, "frame {n} of {} at {}", rung.name, packet.pts);
        }
        assert_eq!(ffprobe::decoded_frames(&joined), packets.len(), "every packet is a picture");
        assert!((packets.len() as f64 / rate - seconds).abs() < 0.01, "{} frames for {seconds} s", packets.len());

        let own: Vec<f64> = packets.iter().filter(|packet| packet.key).map(|packet| packet.pts).collect();
        for (n, at) in own.iter().enumerate() {
            assert!((0.0..=0.11).contains(&(at - 2.0 * n as f64)), "key frame {n} at {at}");
        }
        assert_eq!(own.len(), (seconds / 2.0 - 0.001).ceil().max(1.0) as usize);
        assert_eq!(*keys.get_or_insert_with(|| own.clone()), own, "key frames are aligned");
        let durations: Vec<i64> = track.segments.iter().map(|(duration, _)| *duration).collect();
        assert_eq!(*starts.get_or_insert_with(|| durations.clone()), durations, "segments are aligned");
        check_segments(track, seconds);
    }
    if let Some(track) = keeper.tracks.get(&Track::Audio) {
        let joined = track.joined();
        let stream = ffprobe::stream(&joined);
        assert_eq!((stream["codec_name"].as_str(), stream["profile"].as_str()), (Some("aac"), Some("LC")));
        assert_eq!((stream["sample_rate"].as_str(), stream["channels"].as_u64()), (Some("48000"), Some(2)));
        assert_eq!(cmaf::codecs_of(&track.init).unwrap(), "mp4a.40.2");
        let packets = ffprobe::packets(&joined);
        // The priming packet lies before 0 by the edit list; what is heard starts at exactly 0.
        assert!((packets[0].pts + 1024.0 / 48_000.0).abs() < 1e-5, "{}", packets[0].pts);
        assert!(packets[1].pts.abs() < 1e-5, "{}", packets[1].pts);
        let end = packets.last().unwrap().pts + 1024.0 / 48_000.0;
        assert!((0.0..0.05).contains(&(end - seconds)), "sound ends at {end} of {seconds}");
        check_segments(track, seconds);
    }
    let poster = keeper.poster.as_ref().unwrap();
    assert_eq!(&poster[..3], &[0xff, 0xd8, 0xff], "a JPEG");
    assert!(keeper.sandbox.as_ref().unwrap().is_sufficient());
}

fn check_segments(track: &Collected, seconds: f64) {
    let total: i64 = track.segments.iter().map(|(duration, _)| duration).sum();
    assert!((total as f64 / 1e6 - seconds).abs() < 0.05, "{total} µs of {seconds} s");
    assert_eq!(track.segments.len(), (seconds / 6.0 - 0.01).ceil() as usize);
    for (duration, bytes) in &track.segments {
        assert!(cmaf::is_segment(bytes));
        assert!(*duration <= 6_150_000, "{duration}");
        // Each segment decodes without any other.
        let alone = [track.init.as_slice(), bytes.as_slice()].concat();
        assert!(ffprobe::decoded_frames(&alone) > 0);
    }
}

async fn an_ordinary_video_gets_its_ladder() {
    let (finished, keeper) = transcode(ordinary("640x360", "30", 8)).await;
    assert_eq!(finished.duration_ms, 8000);
    check(&keeper, finished.duration_ms);
    let names: Vec<_> = keeper.plan.as_ref().unwrap().rungs.iter().map(|rung| rung.name.as_str()).collect();
    assert_eq!(names, ["360p", "240p"]);
    let probe = keeper.probe.as_ref().unwrap();
    assert_eq!((probe.duration_ms, probe.format.as_str()), (Some(8000), "mov,mp4,m4a,3gp,3g2,mj2"));
    assert_eq!(probe.audio.as_ref().unwrap().codec, "aac");
    assert!(keeper.progress.windows(2).all(|pair| pair[0] < pair[1]) && keeper.progress.len() >= 6);
    let poster = ffprobe_jpeg(keeper.poster.as_ref().unwrap());
    assert_eq!(poster, (640, 360));
}

fn ffprobe_jpeg(bytes: &[u8]) -> (u64, u64) {
    let stream = ffprobe::stream(bytes);
    (stream["width"].as_u64().unwrap(), stream["height"].as_u64().unwrap())
}

async fn a_rate_of_30000_over_1001_stays_aligned() {
    let (finished, keeper) = transcode(ordinary("320x240", "30000/1001", 7)).await;
    check(&keeper, finished.duration_ms);
    let rate = keeper.plan.as_ref().unwrap().frame_rate;
    assert_eq!((rate.num, rate.den), (30_000, 1001));
}

async fn the_same_source_gives_the_same_bytes() {
    // With one thread: the encoder's rate control is not repeatable over several.
    let mut single = config();
    single.limits.threads = 1;
    let source = ordinary("320x240", "25", 3);
    let (mut first, mut second) = (Keeper::default(), Keeper::default());
    run(single.clone(), source.clone(), &mut first).await.unwrap();
    run(single, source, &mut second).await.unwrap();
    assert_eq!(first.tracks.len(), 3);
    for (track, collected) in &first.tracks {
        assert!(collected.joined() == second.tracks[track].joined(), "{track:?} differs");
    }
    assert!(first.poster == second.poster);
}

async fn odd_sizes_become_even() {
    let source = ffmpeg("mkv", "-f lavfi -i testsrc2=size=333x251:rate=25:duration=2 -c:v ffv1 -pix_fmt yuv444p");
    let (finished, keeper) = transcode(source).await;
    check(&keeper, finished.duration_ms);
    let rungs = &keeper.plan.as_ref().unwrap().rungs;
    assert_eq!((rungs[0].width, rungs[0].height), (332, 250));
}

async fn pixels_become_square() {
    let source = ffmpeg(
        "mp4",
        "-f lavfi -i testsrc2=size=360x288:rate=25:duration=2 -vf setsar=16/15 -c:v libx264 -preset ultrafast -pix_fmt yuv420p",
    );
    let (finished, keeper) = transcode(source).await;
    check(&keeper, finished.duration_ms);
    assert_eq!(keeper.probe.as_ref().unwrap().video.as_ref().unwrap().width, 384);
}

async fn a_phone_held_upright() {
    // Red on the left, blue on the right as stored; turned, one is on top.
    let folder = tempfile::tempdir().unwrap();
    let lying = folder.path().join("lying.mp4");
    std::fs::write(
        &lying,
        ffmpeg(
            "mp4",
            "-f lavfi -i color=red:size=320x360:rate=25:duration=2 -f lavfi -i color=blue:size=320x360:rate=25:duration=2 \
             -filter_complex hstack -c:v libx264 -preset ultrafast -pix_fmt yuv420p",
        ),
    )
    .unwrap();
    let source = ffmpeg("mp4", &format!("-i {} -c copy -metadata:s:v rotate=90", lying.display()));
    let (finished, keeper) = transcode(source.clone()).await;
    check(&keeper, finished.duration_ms);
    let video = keeper.probe.as_ref().unwrap().video.as_ref().unwrap();
    assert_eq!((video.width, video.height), (360, 640));
    // The FFmpeg command line turns pictures by itself: both must show the same.
    let ours = ffprobe::pixels(&keeper.tracks[&Track::Video(0)].joined(), 1.0, 2, 2);
    let theirs = ffprobe::pixels(&source, 1.0, 2, 2);
    for (a, b) in ours.iter().zip(&theirs) {
        assert!(a.abs_diff(*b) < 12, "{ours:?} {theirs:?}");
    }
    let (top, bottom) = ours.split_at(6);
    assert!(top[0].abs_diff(bottom[0]) > 150 && top[0].abs_diff(top[3]) < 12, "{ours:?}");
}

async fn a_variable_rate_becomes_constant() {
    // Frames 25 to 49 of every 50 are missing.
    let source = ffmpeg(
        "mkv",
        "-f lavfi -i testsrc2=size=320x240:rate=50:duration=4 -vf select=lt(mod(n\\,50)\\,25) -vsync vfr \
         -c:v libx264 -preset ultrafast -pix_fmt yuv420p",
    );
    let (finished, keeper) = transcode(source).await;
    check(&keeper, finished.duration_ms);
    assert!((3400..=4100).contains(&finished.duration_ms), "{}", finished.duration_ms);
}

async fn no_sound() {
    let source = ffmpeg(
        "mp4",
        "-f lavfi -i testsrc2=size=320x240:rate=24:duration=2 -c:v libx264 -preset ultrafast -pix_fmt yuv420p",
    );
    let (finished, keeper) = transcode(source).await;
    check(&keeper, finished.duration_ms);
    assert!(!keeper.tracks.contains_key(&Track::Audio));
    assert_eq!(finished.duration_ms, 2000);
}

async fn sound_alone_gets_a_plain_picture() {
    let source = ffmpeg("mp3", "-f lavfi -i sine=frequency=300:duration=7 -c:a libmp3lame");
    let (finished, keeper) = transcode(source).await;
    check(&keeper, finished.duration_ms);
    assert!((6900..=7200).contains(&finished.duration_ms), "{}", finished.duration_ms);
    assert!(keeper.probe.as_ref().unwrap().video.is_none());
}

async fn cover_art_is_shown_with_the_sound() {
    let folder = tempfile::tempdir().unwrap();
    let cover = folder.path().join("cover.png");
    std::fs::write(&cover, ffmpeg("png", "-f lavfi -i color=red:size=300x300 -frames:v 1")).unwrap();
    let source = ffmpeg(
        "mp3",
        &format!(
            "-f lavfi -i sine=frequency=300:duration=3 -i {} -map 0 -map 1 -c:a libmp3lame -c:v copy -id3v2_version 3",
            cover.display()
        ),
    );
    let (finished, keeper) = transcode(source).await;
    check(&keeper, finished.duration_ms);
    assert!((2900..=3200).contains(&finished.duration_ms), "{}", finished.duration_ms);
    assert!(keeper.probe.as_ref().unwrap().video.as_ref().unwrap().still);
    let shown = ffprobe::pixels(&keeper.tracks[&Track::Video(0)].joined(), 2.0, 1, 1);
    assert!(shown[0] > 200 && shown[1] < 60, "the cover is red: {shown:?}");
}

async fn mono_of_44100_hertz_becomes_stereo_of_48000() {
    let source = ffmpeg(
        "mp4",
        "-f lavfi -i testsrc2=size=320x240:rate=25:duration=4 -f lavfi -i sine=frequency=440:sample_rate=44100:duration=4 \
         -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac -ac 1",
    );
    let (finished, keeper) = transcode(source).await;
    check(&keeper, finished.duration_ms);
}

async fn surround_becomes_stereo() {
    let source = ffmpeg(
        "mkv",
        "-f lavfi -i testsrc2=size=320x240:rate=25:duration=2 -f lavfi -i sine=frequency=440:sample_rate=48000:duration=2 \
         -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a ac3 -ac 6",
    );
    let (finished, keeper) = transcode(source).await;
    assert_eq!(keeper.probe.as_ref().unwrap().audio.as_ref().unwrap().channels, 6);
    check(&keeper, finished.duration_ms);
}

async fn ten_bits_become_eight() {
    let source = ffmpeg(
        "mp4",
        "-f lavfi -i testsrc2=size=320x240:rate=25:duration=2 -c:v libx264 -preset ultrafast -pix_fmt yuv422p10le",
    );
    let (finished, keeper) = transcode(source).await;
    check(&keeper, finished.duration_ms);
}

async fn high_dynamic_range_is_tone_mapped() {
    let source = ffmpeg(
        "mkv",
        "-f lavfi -i testsrc2=size=320x240:rate=25:duration=1 -c:v libx264 -preset ultrafast -pix_fmt yuv420p10le \
         -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc",
    );
    let (finished, keeper) = transcode(source).await;
    check(&keeper, finished.duration_ms);
    let stream = ffprobe::stream(&keeper.tracks[&Track::Video(0)].joined());
    for property in ["color_transfer", "color_primaries", "color_space"] {
        assert_eq!(stream[property], "bt709", "{property}");
    }
}

async fn interlaced_pictures_become_progressive() {
    let source = ffmpeg(
        "ts",
        "-f lavfi -i testsrc2=size=352x288:rate=50:duration=2 -vf tinterlace=interleave_top,fieldorder=tff -c:v mpeg2video \
         -flags +ildct+ilme -b:v 4M",
    );
    let (finished, keeper) = transcode(source).await;
    check(&keeper, finished.duration_ms);
}

async fn full_range_becomes_limited() {
    let source = ffmpeg(
        "mp4",
        "-f lavfi -i color=white:size=320x240:rate=25:duration=1 -vf scale=out_range=full -pix_fmt yuvj420p -c:v libx264 \
         -preset ultrafast",
    );
    let (finished, keeper) = transcode(source).await;
    check(&keeper, finished.duration_ms);
    let stream = ffprobe::stream(&keeper.tracks[&Track::Video(0)].joined());
    assert_ne!(stream["color_range"], "pc");
    let white = ffprobe::pixels(&keeper.tracks[&Track::Video(0)].joined(), 0.5, 1, 1);
    assert!(white.iter().all(|value| *value > 250), "white stays white: {white:?}");
}

async fn sound_that_begins_late_or_ends_early_is_padded() {
    let source = ffmpeg(
        "mkv",
        "-f lavfi -i testsrc2=size=320x240:rate=25:duration=8 -itsoffset 1.5 -f lavfi -i sine=frequency=440:duration=3 \
         -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a pcm_s16le",
    );
    let (finished, keeper) = transcode(source).await;
    check(&keeper, finished.duration_ms);
    assert_eq!(finished.duration_ms, 8000);
}

async fn other_containers() {
    for (extension, codecs) in [
        ("webm", "-c:v libvpx -deadline realtime -c:a libopus"),
        ("avi", "-c:v mpeg4 -c:a libmp3lame"),
        ("ts", "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac"),
        ("flv", "-c:v flv -c:a libmp3lame -ar 44100"),
        ("mov", "-c:v prores_ks -c:a pcm_s24le"),
    ] {
        let source = ffmpeg(
            extension,
            &format!(
                "-f lavfi -i testsrc2=size=320x240:rate=25:duration=2 -f lavfi -i sine=frequency=440:duration=2 {codecs}"
            ),
        );
        let (finished, keeper) = transcode(source).await;
        assert!((1950..=2200).contains(&finished.duration_ms), "{extension}: {}", finished.duration_ms);
        check(&keeper, finished.duration_ms);
    }
}

async fn a_picture_that_changes_size_goes_on() {
    let large = ffmpeg(
        "ts",
        "-f lavfi -i testsrc2=size=320x240:rate=25:duration=2 -c:v libx264 -preset ultrafast -pix_fmt yuv420p",
    );
    let small = ffmpeg(
        "ts",
        "-f lavfi -i testsrc2=size=160x120:rate=25:duration=2 -c:v libx264 -preset ultrafast -pix_fmt yuv420p \
         -output_ts_offset 2",
    );
    let (finished, keeper) = transcode([large, small].concat()).await;
    check(&keeper, finished.duration_ms);
    assert!((3900..=4100).contains(&finished.duration_ms), "{}", finished.duration_ms);
}
