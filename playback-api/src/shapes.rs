//! Videos as the API shows them, and how they are put together from catalog and serving store.

use access::{Caller, PathToken, Problem, policy, routes::ChannelView};
use catalog::{Rendition, SourceInfo, TrackKind, Video};
use event_schemas::{
    VideoId,
    records::{PlaybackState, UploadState, Visibility},
};
use serde::Serialize;
use serving_store::counters::VideoCounters;
use utoipa::ToSchema;

use crate::Playback;

/// The counters of a video; see `docs/design/08-messaging.md` for what each counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Counters {
    /// First frames shown.
    pub starts: u64,
    /// Views.
    pub views: u64,
    /// Engaged views.
    pub engaged_views: u64,
    /// Milliseconds watched, rewatched ones included.
    pub watch_ms: i64,
}

impl From<VideoCounters> for Counters {
    fn from(counters: VideoCounters) -> Self {
        Self {
            starts: counters.starts,
            views: counters.views,
            engaged_views: counters.engaged,
            watch_ms: counters.watch_ms.0,
        }
    }
}

/// A video in a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct VideoCard {
    /// Its id.
    pub id: VideoId,
    /// Rises with every change.
    pub version: i64,
    /// The title.
    pub title: String,
    /// The tags.
    pub tags: Vec<String>,
    /// Where it appears.
    pub channel: ChannelView,
    /// Its length in milliseconds, once known.
    pub duration_ms: Option<i64>,
    /// When its upload began (RFC 3339).
    pub created_at: String,
    /// When it first became playable (RFC 3339).
    pub published_at: Option<String>,
    /// Where its poster is; signed and expiring for private videos.
    pub poster_url: Option<String>,
    /// The counters.
    pub counters: Counters,
    /// Who may see it.
    pub visibility: Visibility,
    /// How far its bytes have come.
    pub upload_state: UploadState,
    /// How far it can be played.
    pub playback_state: PlaybackState,
}

/// A page of videos.
#[derive(Debug, Serialize, ToSchema)]
pub struct VideoPage {
    /// The videos.
    pub items: Vec<VideoCard>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// A rendition as shown.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RenditionView {
    /// Its name, such as `720p`.
    pub name: String,
    /// Pictures or sound.
    pub kind: TrackKind,
    /// RFC 6381 codecs string.
    pub codecs: String,
    /// Width in pixels.
    pub width: Option<u32>,
    /// Height in pixels.
    pub height: Option<u32>,
    /// Frames a second.
    pub frame_rate: Option<f64>,
    /// The highest bit rate of a segment, bits a second, measured.
    pub bandwidth: u64,
    /// How many segments there are.
    pub segments: usize,
    /// True once all are.
    pub complete: bool,
}

impl From<&Rendition> for RenditionView {
    fn from(rendition: &Rendition) -> Self {
        let bandwidth = rendition
            .segments
            .iter()
            .filter(|segment| segment.duration_us > 0)
            .map(|segment| segment.file.bytes * 8_000_000 / segment.duration_us.unsigned_abs())
            .max()
            .unwrap_or(0);
        Self {
            name: rendition.info.name.clone(),
            kind: rendition.info.kind,
            codecs: rendition.info.codecs.clone(),
            width: rendition.info.width,
            height: rendition.info.height,
            frame_rate: rendition.info.frame_rate,
            bandwidth,
            segments: rendition.segments.len(),
            complete: rendition.complete,
        }
    }
}

/// A video whole.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct VideoView {
    /// As in lists.
    #[serde(flatten)]
    pub card: VideoCard,
    /// The description.
    pub description: String,
    /// True if it belongs to who asks.
    pub owned: bool,
    /// Encoding progress in percent.
    pub progress_percent: u8,
    /// Why it failed; its owner only.
    pub failure: Option<String>,
    /// The multivariant playlist, once there is one.
    pub hls_url: Option<String>,
    /// The renditions.
    pub renditions: Vec<RenditionView>,
    /// The source; its owner only.
    pub source: Option<SourceInfo>,
}

impl Playback {
    /// The prefix of a video's media addresses: signed and expiring unless its media is for all.
    #[must_use]
    pub fn media_base(&self, video: &Video) -> String {
        if policy::is_open_media(video) {
            return format!("/media/{}", video.id);
        }
        let expires_at = self.access.clock.now() + self.access.options.path_token_lifetime;
        let token = self.access.signer.sign_path(PathToken { video: video.id }, expires_at);
        format!("/media/{}/~{token}", video.id)
    }

    /// The counters of videos, in their order. While the store is down they show as zero: a list
    /// of videos is worth more than none.
    pub async fn counters(&self, videos: &[VideoId]) -> Vec<Counters> {
        match VideoCounters::read_many(self.store.as_ref(), videos, self.playback_partitions).await {
            Ok(counters) => counters.into_iter().map(|at| at.counters.into()).collect(),
            Err(error) => {
                tracing::warn!(%error, "counters can't be read");
                vec![Counters::default(); videos.len()]
            }
        }
    }

    fn card(&self, video: &Video, counters: Counters) -> VideoCard {
        let poster_url = video.poster.as_ref().map(|name| format!("{}/{name}", self.media_base(video)));
        VideoCard {
            id: video.id,
            version: video.version,
            title: video.title.clone(),
            tags: video.tags.clone(),
            channel: (&video.channel).into(),
            duration_ms: video.duration.map(|duration| duration.0),
            created_at: video.created_at.to_rfc3339(),
            published_at: video.published_at.map(event_schemas::Timestamp::to_rfc3339),
            poster_url,
            counters,
            visibility: video.visibility,
            upload_state: video.upload,
            playback_state: video.playback,
        }
    }

    /// Videos as cards. The caller has asked the policy already.
    pub async fn cards(&self, videos: &[Video]) -> Vec<VideoCard> {
        let ids: Vec<VideoId> = videos.iter().map(|video| video.id).collect();
        let counters = self.counters(&ids).await;
        videos.iter().zip(counters).map(|(video, counters)| self.card(video, counters)).collect()
    }

    /// A video whole, as this caller may see it. The caller has asked the policy already.
    ///
    /// # Errors
    /// The catalog failed.
    pub async fn whole(&self, caller: &Caller, video: &Video) -> Result<VideoView, Problem> {
        let counters = self.counters(&[video.id]).await.pop().unwrap_or_default();
        let renditions = self.access.catalog.renditions(video.id).await?;
        let owned = policy::manage(caller, video).is_ok();
        let playable = matches!(video.playback, PlaybackState::Playable | PlaybackState::Ready);
        Ok(VideoView {
            card: self.card(video, counters),
            description: video.description.clone(),
            owned,
            progress_percent: video.progress,
            failure: video.failure.clone().filter(|_| owned),
            hls_url: playable.then(|| format!("/media/{}/master.m3u8", video.id)),
            renditions: renditions.iter().map(Into::into).collect(),
            source: video.source.clone().filter(|_| owned),
        })
    }
}
