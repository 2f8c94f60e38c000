//! Sources for the tests.

use std::{path::Path, process::Command};

/// A file made by `ffmpeg` with these arguments, read into memory.
pub fn ffmpeg(extension: &str, arguments: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("clip.{extension}"));
    run(arguments, &path);
    std::fs::read(path).unwrap()
}

fn run(arguments: &str, path: &Path) {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(arguments.split_whitespace())
        .arg(path)
        .output()
        .expect("the ffmpeg command line tool");
    assert!(output.status.success(), "ffmpeg {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Coloured, numbered, moving pictures with a tone.
pub fn ordinary(size: &str, rate: &str, seconds: u32) -> Vec<u8> {
    ffmpeg(
        "mp4",
        &format!(
            "-f lavfi -i testsrc2=size={size}:rate={rate}:duration={seconds} \
             -f lavfi -i sine=frequency=440:sample_rate=48000:duration={seconds} \
             -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac -ac 2 -shortest"
        ),
    )
}
