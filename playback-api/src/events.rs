//! `GET /api/v1/videos/{id}/events`: a video's state and counters as they change, by server-sent
//! events.
//!
//! A message on the store's channel `videos/<id>` only says that something changed; state and
//! counters are read anew, and the policy is asked anew, for every event sent.

use std::{convert::Infallible, time::Duration};

use access::{Caller, Problem, policy};
use axum::{
    extract::{Path, State},
    response::sse::{Event, KeepAlive, Sse},
};
use event_schemas::{
    VideoId,
    records::{PlaybackState, UploadState},
};
use futures::{Stream, StreamExt as _};
use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{Playback, shapes::Counters, videos::visible};

/// The channel on which changes of a video are announced.
#[must_use]
pub fn channel(video: VideoId) -> String {
    format!("videos/{video}")
}

/// Changes that follow one another faster are told together.
const GATHER: Duration = Duration::from_millis(100);

/// Event `state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StateEvent {
    /// How far the bytes have come.
    pub upload_state: UploadState,
    /// How far it can be played.
    pub playback_state: PlaybackState,
    /// Encoding progress in percent.
    pub progress_percent: u8,
    /// Why it failed; its owner only.
    pub failure: Option<String>,
}

#[derive(PartialEq)]
struct Told {
    state: StateEvent,
    counters: Counters,
}

/// What there is to tell; none once the caller may not see the video any more.
async fn look(playback: &Playback, caller: &Caller, id: VideoId) -> Result<Option<Told>, Problem> {
    let Some(video) = playback.access.catalog.video(id).await? else { return Ok(None) };
    if policy::see(caller, &video).is_err() {
        return Ok(None);
    }
    let owned = policy::manage(caller, &video).is_ok();
    let state = StateEvent {
        upload_state: video.upload,
        playback_state: video.playback,
        progress_percent: video.progress,
        failure: video.failure.filter(|_| owned),
    };
    Ok(Some(Told { state, counters: playback.counters(&[id]).await.pop().unwrap_or_default() }))
}

fn event<T: Serialize>(name: &str, data: &T) -> Option<Event> {
    Event::default().event(name).json_data(data).ok()
}

async fn follow(
    playback: Playback,
    caller: Caller,
    id: VideoId,
    mut changes: futures::stream::BoxStream<'static, bytes::Bytes>,
    sender: mpsc::Sender<Event>,
) {
    let mut before: Option<Told> = None;
    loop {
        match look(&playback, &caller, id).await {
            Ok(Some(now)) => {
                let mut events = Vec::new();
                if before.as_ref().is_none_or(|before| before.state != now.state) {
                    events.extend(event("state", &now.state));
                }
                if before.as_ref().is_none_or(|before| before.counters != now.counters) {
                    events.extend(event("counters", &now.counters));
                }
                for event in events {
                    if sender.send(event).await.is_err() {
                        return;
                    }
                }
                before = Some(now);
            }
            Ok(None) => {
                let _ = sender.send(Event::default().event("deleted").data("{}")).await;
                return;
            }
            // The catalog is down for a moment: the next change looks again.
            Err(_) => {}
        }
        tokio::select! {
            () = sender.closed() => return,
            () = playback.closing.cancelled() => return,
            change = changes.next() => if change.is_none() { return },
        }
        let until = tokio::time::Instant::now() + GATHER;
        while let Ok(Some(_)) = tokio::time::timeout_at(until, changes.next()).await {}
    }
}

#[utoipa::path(get, path = "/api/v1/videos/{id}/events", tag = "videos", params(("id" = String, Path)),
    responses((status = 200, content_type = "text/event-stream", body = StateEvent,
               description = "Events `state`, `counters` and, last, `deleted`"), (status = 404, body = Problem)))]
async fn events(
    State(playback): State<Playback>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let id = visible(&playback, &caller, &id).await?.id;
    // Subscribed before the first look, so that no change falls between the two.
    let changes = playback.store.subscribe(&channel(id)).await.map_err(|error| Problem::from_seam(&error))?;
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(follow(playback, caller, id, changes, sender));
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver).map(Ok);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)).text("ping")))
}

/// The route of this module.
#[must_use]
pub fn router() -> OpenApiRouter<Playback> {
    OpenApiRouter::new().routes(routes!(events))
}
