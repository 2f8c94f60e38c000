//! Small clips, made by the `ffmpeg` program once and kept in the build directory.

use std::{path::PathBuf, process::Command, sync::LazyLock};

use bytes::Bytes;
use tokio::sync::Mutex;

/// A video file.
#[derive(Debug, Clone)]
pub struct Clip {
    /// Where it lies.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Bytes,
    /// Its length.
    pub duration_ms: i64,
    /// Pictures in it.
    pub frames: u64,
}

static MAKING: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

/// Pictures a second.
const RATE: u64 = 24;

async fn make(name: &str, seconds: u64, (size, rate): (&str, u64), arguments: &[&str]) -> Clip {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("clips").join(name);
    {
        let _one_at_a_time = MAKING.lock().await;
        if !path.exists() {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for clips");
            // Another test program may be making it too: whoever is last wins, and both are right.
            let staged = path.with_file_name(format!("{}-{name}", std::process::id()));
            let output = Command::new("ffmpeg")
                .args(["-v", "error", "-nostdin", "-y"])
                .args(["-f", "lavfi", "-i", &format!("testsrc2=size={size}:rate={rate}:duration={seconds}")])
                .args(["-f", "lavfi", "-i", &format!("sine=frequency=440:sample_rate=48000:duration={seconds}")])
                .args(arguments)
                .arg(&staged)
                .output()
                .expect("the program ffmpeg, which `make test` installs");
            assert!(output.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&output.stderr));
            std::fs::rename(&staged, &path).expect("the clip in its place");
        }
    }
    let bytes = Bytes::from(std::fs::read(&path).expect("the clip"));
    Clip { path, bytes, duration_ms: seconds as i64 * 1000, frames: seconds * rate }
}

const H264: [&str; 10] =
    ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-movflags", "+faststart"];

/// `seconds` of few and tiny pictures, which are transcoded in a moment.
pub async fn tiny(seconds: u64) -> Clip {
    make(&format!("tiny-{seconds}s-8fps.mp4"), seconds, ("160x90", 8), &H264).await
}

/// 12 seconds at 320×180.
pub async fn small() -> Clip {
    make("small-12s.mp4", 12, ("320x180", RATE), &H264).await
}

/// `seconds` at 640×360, which makes two renditions and keeps a transcoder busy for a while.
pub async fn wide(seconds: u64) -> Clip {
    make(&format!("wide-{seconds}s.mp4"), seconds, ("640x360", RATE), &H264).await
}

/// 12 seconds of uncompressed pictures: about 24 MiB, of which every byte can be seen.
pub async fn large() -> Clip {
    make("large-12s.avi", 12, ("320x180", RATE), &["-c:v", "rawvideo", "-pix_fmt", "yuv420p", "-c:a", "pcm_s16le"])
        .await
}

/// 6 seconds whose index is at the end of the file, so that nothing of it can be read once the
/// end is cut off.
pub async fn index_last() -> Clip {
    make("index-last-6s.mp4", 6, ("320x180", RATE), &H264[..8]).await
}
