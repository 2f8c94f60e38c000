//! `millrace upload FILE`: a resumable upload with a progress bar, by tus 1.0.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::{Method, StatusCode, header::CONTENT_TYPE};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::client::{Client, ClientError};

/// The bytes of one request. A cut connection costs at most what the server had not stored yet.
const REQUEST: usize = 16 << 20;
/// Tries in a row without a new byte before giving up.
const TRIES: u32 = 8;

/// What an upload says of its video.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The title; the file's name if absent.
    pub title: Option<String>,
    /// The description.
    pub description: String,
    /// The tags.
    pub tags: Vec<String>,
    /// public, unlisted or private.
    pub visibility: String,
}

/// An upload failed.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The file can't be read.
    #[error("can't read `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The server refused or can't be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server's answer lacks what the protocol asks for.
    #[error("the server's answer has no valid `{0}` header: is this a Millrace server?")]
    Protocol(&'static str),
}

/// What an upload became.
#[derive(Debug, Clone)]
pub struct Uploaded {
    /// The video.
    pub video_id: String,
}

fn metadata(path: &Path, about: &About) -> String {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut pairs = vec![("filename", name), ("visibility", about.visibility.clone())];
    if let Some(title) = &about.title {
        pairs.push(("title", title.clone()));
    }
    pairs.push(("description", about.description.clone()));
    pairs.push(("tags", about.tags.join(",")));
    pairs
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key} {}", STANDARD.encode(value)))
        .collect::<Vec<_>>()
        .join(",")
}

fn header<'a>(response: &'a reqwest::Response, name: &'static str) -> Result<&'a str, UploadError> {
    response.headers().get(name).and_then(|value| value.to_str().ok()).ok_or(UploadError::Protocol(name))
}

fn offset(response: &reqwest::Response) -> Result<u64, UploadError> {
    header(response, "upload-offset")?.parse().map_err(|_| UploadError::Protocol("upload-offset"))
}

/// Uploads a file and resolves when every byte is durable.
///
/// # Errors
/// See [`UploadError`]. Connections that break are resumed; only several failures in a row
/// without a new byte give up.
pub async fn upload(client: &Client, path: &Path, about: &About, quiet: bool) -> Result<Uploaded, UploadError> {
    let file_error = |source| UploadError::File { path: path.to_owned(), source };
    let mut file = tokio::fs::File::open(path).await.map_err(file_error)?;
    let length = file.metadata().await.map_err(file_error)?.len();
    let created = client
        .send(
            client
                .request(Method::POST, "/uploads")
                .header("tus-resumable", "1.0.0")
                .header("upload-length", length)
                .header("upload-metadata", metadata(path, about)),
        )
        .await?;
    let location = header(&created, "location")?.to_owned();
    let video_id = header(&created, "millrace-video-id")?.to_owned();

    let target = if quiet || !std::io::stderr().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }

    let mut at = 0;
    let mut failures = 0;
    while at < length {
        file.seek(std::io::SeekFrom::Start(at)).await.map_err(file_error)?;
        let wanted = usize::try_from(length - at).unwrap_or(REQUEST).min(REQUEST);
        let mut piece = vec![0; wanted];
        file.read_exact(&mut piece).await.map_err(file_error)?;
        let patch = client
            .request(Method::PATCH, &location)
            .header("tus-resumable", "1.0.0")
            .header("upload-offset", at)
            .header(CONTENT_TYPE, "application/offset+octet-stream")
            .body(Bytes::from(piece));
        let before = at;
        match client.send(patch).await {
            Ok(response) => at = offset(&response)?,
            Err(error) if is_resumable(&error) && failures < TRIES => {
                tokio::time::sleep(Duration::from_millis(250 << failures.min(5))).await;
                let head = client.request(Method::HEAD, &location).header("tus-resumable", "1.0.0");
                match client.send(head).await {
                    Ok(response) => at = offset(&response)?,
                    Err(error) if error.is_passing() => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
        failures = if at > before { 0 } else { failures + 1 };
        bar.set_position(at);
    }
    bar.finish();
    Ok(Uploaded { video_id })
}

fn is_resumable(error: &ClientError) -> bool {
    let moved = matches!(error, ClientError::Refused { status, .. } if *status == StatusCode::CONFLICT);
    moved || error.is_passing()
}
