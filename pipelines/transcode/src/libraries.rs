//! Which FFmpeg this program runs on, and whether it has what transcoding needs. Called by
//! `millrace doctor`.

use ffmpeg_next::{codec, format};

/// The encoders of every rendition and of the poster.
const ENCODERS: [&str; 3] = ["libx264", "aac", "mjpeg"];

/// The media libraries found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaLibraries {
    /// Their versions.
    pub version: String,
    /// Encoders that are needed and not there.
    pub missing: Vec<String>,
}

/// Looks at the libraries this program is linked with.
#[must_use]
pub fn media_libraries() -> MediaLibraries {
    let version = |number: u32| format!("{}.{}.{}", number >> 16, (number >> 8) & 0xff, number & 0xff);
    let missing = ENCODERS
        .into_iter()
        .filter(|name| codec::encoder::find_by_name(name).is_none())
        .map(|name| format!("encoder {name}"))
        .collect();
    MediaLibraries {
        version: format!("libavcodec {}, libavformat {}", version(codec::version()), version(format::version())),
        missing,
    }
}
