//! A video's HLS playlists, with addresses relative to `/media/{id}/`.

use catalog::Rendition;
use packaging::playlists::{Form, media as write_media, multivariant as write_multivariant, target_duration};

/// The multivariant playlist; none before a rendition is complete. `prefix` goes before every
/// address: empty, or a path token and a slash.
#[must_use]
pub fn multivariant(renditions: &[Rendition], prefix: &str) -> Option<String> {
    let complete: Vec<Rendition> = renditions.iter().filter(|rendition| rendition.complete).cloned().collect();
    (!complete.is_empty()).then(|| write_multivariant(&complete, |name| format!("{prefix}{name}")))
}

/// The media playlist of the rendition with this name, if it is complete.
#[must_use]
pub fn media(renditions: &[Rendition], name: &str) -> Option<String> {
    let rendition = renditions.iter().find(|rendition| rendition.info.name == name && rendition.complete)?;
    Some(write_media(rendition, target_duration(renditions), Form::Vod, |file| file.name.clone()))
}
