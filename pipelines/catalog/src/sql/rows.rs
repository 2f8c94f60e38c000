//! Rows to values and back. A value that can't be read is [`CatalogError::Corrupt`], naming its column.

use std::str::FromStr;

use event_schemas::{
    Millis, Timestamp,
    records::{PlaybackState, UploadState, Visibility},
};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, any::AnyRow};

use crate::{
    Account, CatalogError, Channel, Chunk, Credential, CredentialKind, Job, JobKind, JobState, MediaFile, Result,
    TrackKind, Upload, Video,
};

/// A cursor after every row of a list that comes newest first: ids are hexadecimal digits and dashes.
pub(super) const FIRST_PAGE: (i64, &str) = (i64::MAX, "~");

/// Typed access to the columns of a row.
pub(super) trait Columns {
    fn text(&self, column: &str) -> Result<String>;
    fn maybe_text(&self, column: &str) -> Result<Option<String>>;
    fn int(&self, column: &str) -> Result<i64>;
    fn maybe_int(&self, column: &str) -> Result<Option<i64>>;
    fn maybe_float(&self, column: &str) -> Result<Option<f64>>;

    /// A number that is never negative and fits `T`.
    fn number<T: TryFrom<i64>>(&self, column: &str) -> Result<T> {
        let value = self.int(column)?;
        T::try_from(value).map_err(|_| corrupt(column, &value.to_string()))
    }

    fn maybe_number<T: TryFrom<i64>>(&self, column: &str) -> Result<Option<T>> {
        self.maybe_int(column)?
            .map(|value| T::try_from(value).map_err(|_| corrupt(column, &value.to_string())))
            .transpose()
    }

    fn flag(&self, column: &str) -> Result<bool> {
        Ok(self.int(column)? != 0)
    }

    fn time(&self, column: &str) -> Result<Timestamp> {
        self.int(column).map(Timestamp::from_micros)
    }

    fn maybe_time(&self, column: &str) -> Result<Option<Timestamp>> {
        Ok(self.maybe_int(column)?.map(Timestamp::from_micros))
    }

    /// An id, or any other value that parses itself.
    fn parsed<T: FromStr>(&self, column: &str) -> Result<T> {
        let text = self.text(column)?;
        text.parse().map_err(|_| corrupt(column, &text))
    }

    /// One of a set of words.
    fn word<T>(&self, column: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        let text = self.text(column)?;
        parse(&text).ok_or_else(|| corrupt(column, &text))
    }
}

impl Columns for AnyRow {
    fn text(&self, column: &str) -> Result<String> {
        Ok(self.try_get(column)?)
    }

    fn maybe_text(&self, column: &str) -> Result<Option<String>> {
        Ok(self.try_get(column)?)
    }

    fn int(&self, column: &str) -> Result<i64> {
        Ok(self.try_get(column)?)
    }

    fn maybe_int(&self, column: &str) -> Result<Option<i64>> {
        Ok(self.try_get(column)?)
    }

    fn maybe_float(&self, column: &str) -> Result<Option<f64>> {
        Ok(self.try_get(column)?)
    }
}

fn corrupt(column: &str, value: &str) -> CatalogError {
    let shown: String = value.chars().take(64).collect();
    CatalogError::Corrupt(format!("`{shown}` in column {column}"))
}

/// A size or count for the database, which knows signed numbers only.
pub(super) fn signed(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| CatalogError::WrongState("a number is too large to be stored"))
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| CatalogError::Corrupt(error.to_string()))
}

fn from_json<T: DeserializeOwned>(column: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|_| corrupt(column, text))
}

pub(super) fn count(row: &AnyRow) -> Result<u64> {
    row.number("n")
}

pub(super) fn channel(row: &AnyRow) -> Result<Channel> {
    Ok(Channel {
        id: row.parsed("channel_id")?,
        owner: row.parsed("channel_owner_id")?,
        handle: row.text("channel_handle")?,
        name: row.text("channel_name")?,
    })
}

pub(super) fn account(row: &AnyRow) -> Result<Account> {
    Ok(Account {
        id: row.parsed("id")?,
        login: row.text("login")?,
        password_hash: row.text("password_hash")?,
        is_admin: row.flag("is_admin")?,
        channel: channel(row)?,
        created_at: row.time("created_at_us")?,
    })
}

pub(super) const fn credential_kind(kind: CredentialKind) -> &'static str {
    match kind {
        CredentialKind::Session => "session",
        CredentialKind::ApiToken => "api_token",
    }
}

pub(super) fn credential(row: &AnyRow) -> Result<Credential> {
    Ok(Credential {
        id: row.parsed("id")?,
        secret_hash: row.text("secret_hash")?,
        account: row.parsed("account_id")?,
        kind: row.word("kind", |text| match text {
            "session" => Some(CredentialKind::Session),
            "api_token" => Some(CredentialKind::ApiToken),
            _ => None,
        })?,
        label: row.text("label")?,
        created_at: row.time("created_at_us")?,
        expires_at: row.maybe_time("expires_at_us")?,
    })
}

pub(super) fn upload(row: &AnyRow) -> Result<Upload> {
    Ok(Upload {
        id: row.parsed("id")?,
        video_id: row.parsed("video_id")?,
        owner: row.parsed("owner_id")?,
        length: row.maybe_number("length")?,
        offset: row.number("received")?,
        state: row.word("state", UploadState::parse)?,
        metadata: row.text("metadata")?,
        file_name: row.text("file_name")?,
        created_at: row.time("created_at_us")?,
        expires_at: row.time("expires_at_us")?,
    })
}

pub(super) fn chunk(row: &AnyRow) -> Result<Chunk> {
    Ok(Chunk { start: row.number("start_byte")?, length: row.number("length")?, key: row.text("object_key")? })
}

pub(super) fn video(row: &AnyRow) -> Result<Video> {
    let tags = row.text("tags")?;
    let source = row.maybe_text("source")?;
    Ok(Video {
        id: row.parsed("id")?,
        version: row.int("version")?,
        owner: row.parsed("owner_id")?,
        channel: channel(row)?,
        title: row.text("title")?,
        description: row.text("description")?,
        tags: from_json("tags", &tags)?,
        visibility: row.word("visibility", Visibility::parse)?,
        upload: row.word("upload", UploadState::parse)?,
        playback: row.word("playback", PlaybackState::parse)?,
        failure: row.maybe_text("failure")?,
        progress: row.number("progress")?,
        duration: row.maybe_int("duration_ms")?.map(Millis),
        source: source.map(|text| from_json("source", &text)).transpose()?,
        poster: row.maybe_text("poster_name")?,
        created_at: row.time("created_at_us")?,
        published_at: row.maybe_time("published_at_us")?,
    })
}

pub(super) const fn track_kind(kind: TrackKind) -> &'static str {
    match kind {
        TrackKind::Video => "video",
        TrackKind::Audio => "audio",
    }
}

pub(super) fn track_kind_of(text: &str) -> Option<TrackKind> {
    match text {
        "video" => Some(TrackKind::Video),
        "audio" => Some(TrackKind::Audio),
        _ => None,
    }
}

pub(super) fn media_file(row: &AnyRow) -> Result<MediaFile> {
    Ok(MediaFile { name: row.text("file_name")?, bytes: row.number("bytes")? })
}

pub(super) const fn job_kind(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Transcode => "transcode",
    }
}

pub(super) fn job(row: &AnyRow) -> Result<Job> {
    Ok(Job {
        id: row.parsed("id")?,
        kind: row.word("kind", |text| (text == job_kind(JobKind::Transcode)).then_some(JobKind::Transcode))?,
        video_id: row.parsed("video_id")?,
        state: row.word("state", |text| match text {
            "queued" => Some(JobState::Queued),
            "leased" => Some(JobState::Leased),
            "done" => Some(JobState::Done),
            "failed" => Some(JobState::Failed),
            "cancelled" => Some(JobState::Cancelled),
            _ => None,
        })?,
        epoch: row.number("epoch")?,
        attempt: row.number("attempt")?,
        owner: row.maybe_text("owner")?,
        leased_until: row.maybe_time("leased_until_us")?,
    })
}
