//! What ffprobe, which nobody here wrote, thinks of the output.

use std::process::Command;

use serde_json::Value;

/// One packet of a track.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Packet {
    pub pts: f64,
    pub key: bool,
}

fn ffprobe(bytes: &[u8], arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("track.mp4");
    std::fs::write(&path, bytes).unwrap();
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "json"])
        .args(arguments)
        .arg(&path)
        .output()
        .expect("the ffprobe command line tool");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "ffprobe: {complaints}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The only stream's properties.
pub fn stream(bytes: &[u8]) -> Value {
    let found = ffprobe(bytes, &["-show_streams"]);
    let streams = found["streams"].as_array().unwrap();
    assert_eq!(streams.len(), 1);
    streams[0].clone()
}

/// The packets in presentation order.
pub fn packets(bytes: &[u8]) -> Vec<Packet> {
    let found = ffprobe(bytes, &["-show_packets"]);
    let mut packets: Vec<Packet> = found["packets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|packet| Packet {
            pts: packet["pts_time"].as_str().unwrap().parse().unwrap(),
            key: packet["flags"].as_str().unwrap().starts_with('K'),
        })
        .collect();
    packets.sort_by(|a, b| a.pts.total_cmp(&b.pts));
    packets
}

/// Frames that really decode, and the type of each.
pub fn decoded_frames(bytes: &[u8]) -> usize {
    let found = ffprobe(bytes, &["-show_entries", "frame=pts_time"]);
    found["frames"].as_array().unwrap().len()
}

/// The pixels of the frame at `at` seconds, as 8-bit RGB of the given size.
pub fn pixels(bytes: &[u8], at: f64, width: u32, height: u32) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("track.mp4");
    std::fs::write(&path, bytes).unwrap();
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(&path)
        .args(["-ss", &at.to_string(), "-frames:v", "1", "-vf", &format!("scale={width}:{height}:flags=area")])
        .args(["-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout.len(), (width * height * 3) as usize);
    output.stdout
}
