//! The one place that decides who may see or change what. Every route, segment, search result
//! and feed asks here; nothing here does I/O.
//!
//! | video | listed in feeds and search | seen by address | edited, deleted, analysed |
//! |---|---|---|---|
//! | public, complete and playable or ready | everyone | everyone | its owner |
//! | unlisted, likewise | nobody | everyone | its owner |
//! | private, or not yet complete or playable, or failed | nobody | its owner | its owner |

use catalog::{Upload, Video};
use event_schemas::records::{PlaybackState, UploadState, Visibility};

use crate::{Problem, who::Caller};

/// Why something is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deny {
    /// The caller must sign in first.
    SignIn,
    /// As if it did not exist.
    Hidden,
    /// The caller may know of it, but not do this.
    Forbidden,
}

impl Deny {
    /// The refusal as a problem; `what` names the thing, such as `video`.
    #[must_use]
    pub fn problem(self, what: &str) -> Problem {
        match self {
            Self::SignIn => Problem::unauthorized(),
            Self::Hidden => Problem::not_found(what),
            Self::Forbidden => Problem::forbidden(format!("this {what} belongs to somebody else")),
        }
    }
}

fn owns(caller: &Caller, video: &Video) -> bool {
    caller.account().is_some_and(|account| account.id == video.owner)
}

/// True once others than the owner may watch, visibility permitting.
fn is_published(video: &Video) -> bool {
    video.upload == UploadState::Complete && matches!(video.playback, PlaybackState::Playable | PlaybackState::Ready)
}

/// Whether the video may appear in lists, search, feeds and recommendations, for anybody.
#[must_use]
pub fn is_listed(video: &Video) -> bool {
    video.visibility == Visibility::Public && is_published(video)
}

/// Whether the caller may know of the video and watch it.
///
/// # Errors
/// [`Deny::Hidden`]: it must look as if it did not exist.
pub fn see(caller: &Caller, video: &Video) -> Result<(), Deny> {
    let shared = matches!(video.visibility, Visibility::Public | Visibility::Unlisted) && is_published(video);
    if shared || owns(caller, video) { Ok(()) } else { Err(Deny::Hidden) }
}

/// Whether the media of the video is for everyone, so that its addresses need no token and
/// shared caches may keep it.
#[must_use]
pub fn is_open_media(video: &Video) -> bool {
    matches!(video.visibility, Visibility::Public | Visibility::Unlisted) && is_published(video)
}

/// Whether the caller may edit, delete or analyse the video.
///
/// # Errors
/// [`Deny::Hidden`] if the caller may not even see it; [`Deny::SignIn`] or [`Deny::Forbidden`]
/// if it is somebody else's.
pub fn manage(caller: &Caller, video: &Video) -> Result<(), Deny> {
    see(caller, video)?;
    if owns(caller, video) {
        Ok(())
    } else if caller.account().is_none() {
        Err(Deny::SignIn)
    } else {
        Err(Deny::Forbidden)
    }
}

/// Whether the caller may look at, continue or terminate the upload.
///
/// # Errors
/// [`Deny::SignIn`] for nobody signed in; [`Deny::Hidden`] for somebody else's.
pub fn use_upload(caller: &Caller, upload: &Upload) -> Result<(), Deny> {
    match caller.account() {
        None => Err(Deny::SignIn),
        Some(account) if account.id == upload.owner => Ok(()),
        Some(_) => Err(Deny::Hidden),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use catalog::{Account, Channel};
    use event_schemas::{AccountId, ChannelId, Timestamp, VideoId};

    use super::*;

    fn account() -> Account {
        let id = AccountId::generate();
        Account {
            id,
            login: "ada".to_owned(),
            password_hash: String::new(),
            is_admin: false,
            channel: Channel { id: ChannelId::generate(), owner: id, handle: "ada".to_owned(), name: "Ada".to_owned() },
            created_at: Timestamp::default(),
        }
    }

    fn video(owner: &Account, visibility: Visibility, upload: UploadState, playback: PlaybackState) -> Video {
        Video {
            id: VideoId::generate(),
            version: 1,
            owner: owner.id,
            channel: owner.channel.clone(),
            title: String::new(),
            description: String::new(),
            tags: Vec::new(),
            visibility,
            upload,
            playback,
            failure: None,
            progress: 0,
            duration: None,
            source: None,
            poster: None,
            created_at: Timestamp::default(),
            published_at: None,
        }
    }

    /// Every combination of states, against the table at the top of this module.
    #[test]
    fn the_table_holds_for_every_state() {
        let (owner, stranger) = (account(), account());
        let signed_in = |account: &Account| Caller::Account(Arc::new(account.clone()));
        for visibility in Visibility::ALL {
            for upload in UploadState::ALL {
                for playback in PlaybackState::ALL {
                    let video = video(&owner, *visibility, *upload, *playback);
                    let published = *upload == UploadState::Complete
                        && matches!(playback, PlaybackState::Playable | PlaybackState::Ready);
                    let shared = published && *visibility != Visibility::Private;
                    let context = format!("{visibility} {upload} {playback}");

                    assert_eq!(is_listed(&video), published && *visibility == Visibility::Public, "{context}");
                    assert_eq!(is_open_media(&video), shared, "{context}");
                    assert_eq!(see(&signed_in(&owner), &video), Ok(()), "{context}");
                    assert_eq!(manage(&signed_in(&owner), &video), Ok(()), "{context}");
                    for other in [Caller::Anonymous, signed_in(&stranger)] {
                        let seen = if shared { Ok(()) } else { Err(Deny::Hidden) };
                        assert_eq!(see(&other, &video), seen, "{context}");
                        let refusal = match (&other, shared) {
                            (_, false) => Deny::Hidden,
                            (Caller::Anonymous, true) => Deny::SignIn,
                            (_, true) => Deny::Forbidden,
                        };
                        assert_eq!(manage(&other, &video), Err(refusal), "{context}");
                    }
                }
            }
        }
    }
}
