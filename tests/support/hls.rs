//! HLS playlists as a player reads them (RFC 8216).

use super::api::{Api, Reply};

/// A rendition that a multivariant playlist leads to.
#[derive(Debug, Clone)]
pub struct Variant {
    /// The attributes of its tag.
    pub attributes: String,
    /// The address of its media playlist.
    pub address: String,
    /// True for pictures.
    pub is_video: bool,
}

/// A media playlist.
#[derive(Debug, Clone)]
pub struct Playlist {
    /// The address of the init segment.
    pub init: String,
    /// The segments' lengths in seconds, as written.
    pub lengths: Vec<String>,
    /// The segments' addresses.
    pub segments: Vec<String>,
}

impl Playlist {
    /// Init segment and segments.
    pub fn files(&self) -> Vec<String> {
        std::iter::once(self.init.clone()).chain(self.segments.iter().cloned()).collect()
    }

    /// The sum of the segments' lengths.
    pub fn duration_ms(&self) -> i64 {
        let seconds: f64 = self.lengths.iter().map(|length| length.parse::<f64>().expect("seconds")).sum();
        (seconds * 1000.0).round() as i64
    }
}

/// The value of an attribute.
pub fn attribute(line: &str, name: &str) -> Option<String> {
    let rest = &line[line.find(&format!("{name}="))? + name.len() + 1..];
    Some(match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?.to_owned(),
        None => rest.split(',').next()?.to_owned(),
    })
}

/// An address relative to the one of the playlist that names it.
fn beside(playlist: &str, name: &str) -> String {
    let folder = playlist.rsplit_once('/').map_or("", |(folder, _)| folder);
    if name.starts_with('/') { name.to_owned() } else { format!("{folder}/{name}") }
}

fn check(reply: &Reply) -> String {
    assert_eq!(reply.header("content-type"), "application/vnd.apple.mpegurl", "{}", reply.what);
    let text = reply.text();
    assert!(text.starts_with("#EXTM3U\n"), "{text}");
    text
}

/// Fetches a multivariant playlist.
pub async fn multivariant(api: &Api, address: &str) -> Vec<Variant> {
    let text = check(&api.get(address).await.expect(200));
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(attributes) = line.strip_prefix("#EXT-X-MEDIA:") {
            let name = attribute(attributes, "URI").expect("a URI");
            found.push(Variant { attributes: attributes.to_owned(), address: beside(address, &name), is_video: false });
        } else if let Some(attributes) = line.strip_prefix("#EXT-X-STREAM-INF:") {
            let name = lines.next().expect("an address");
            found.push(Variant { attributes: attributes.to_owned(), address: beside(address, name), is_video: true });
        }
    }
    assert!(!found.is_empty(), "{text}");
    found
}

/// Fetches a media playlist, which must be complete.
pub async fn media(api: &Api, address: &str) -> Playlist {
    let text = check(&api.get(address).await.expect(200));
    assert!(text.ends_with("#EXT-X-ENDLIST\n"), "{text}");
    let tag =
        |name: &str| text.lines().filter_map(|line| line.strip_prefix(name).map(str::to_owned)).collect::<Vec<_>>();
    let init = attribute(tag("#EXT-X-MAP:").first().expect("an init segment"), "URI").expect("a URI");
    let lengths: Vec<String> = tag("#EXTINF:").iter().map(|length| length.trim_end_matches(',').to_owned()).collect();
    let segments: Vec<String> =
        text.lines().filter(|line| !line.starts_with('#')).map(|name| beside(address, name)).collect();
    assert_eq!(lengths.len(), segments.len(), "{text}");
    Playlist { init: beside(address, &init), lengths, segments }
}

/// Every playlist of a video with its variant.
pub async fn all(api: &Api, address: &str) -> Vec<(Variant, Playlist)> {
    let mut found = Vec::new();
    for variant in multivariant(api, address).await {
        let playlist = media(api, &variant.address).await;
        found.push((variant, playlist));
    }
    found
}
