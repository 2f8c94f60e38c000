//! tus 1.0 by hand, so that a test can do what a well-behaved client would not.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::StreamExt as _;
use reqwest::{Body, Method, RequestBuilder, header::CONTENT_TYPE};

use super::api::{Api, Reply};

/// The content type of a PATCH.
pub const OFFSET_BODY: &str = "application/offset+octet-stream";

/// `Upload-Metadata` of these values.
pub fn metadata(about: &[(&str, &str)]) -> String {
    about.iter().map(|(key, value)| format!("{key} {}", STANDARD.encode(value))).collect::<Vec<_>>().join(",")
}

/// A request that creates an upload of this length.
pub fn creation(api: &Api, length: &str, about: &[(&str, &str)]) -> RequestBuilder {
    api.request(Method::POST, "/uploads")
        .header("tus-resumable", "1.0.0")
        .header("upload-length", length)
        .header("upload-metadata", metadata(about))
}

/// An upload that was begun.
#[derive(Debug, Clone)]
pub struct Upload {
    /// In whose name.
    pub api: Api,
    /// Its address.
    pub path: String,
    /// Its id.
    pub id: String,
    /// The video it becomes.
    pub video_id: String,
}

impl Upload {
    /// Begins an upload.
    pub async fn create(api: &Api, length: u64, about: &[(&str, &str)]) -> Self {
        Self::created(api, &api.send(creation(api, &length.to_string(), about)).await.expect(201))
    }

    /// The upload that this reply says was begun.
    pub fn created(api: &Api, created: &Reply) -> Self {
        assert_eq!(created.header("tus-resumable"), "1.0.0");
        let path = created.header("location").to_owned();
        let id = path.strip_prefix("/uploads/").unwrap_or_else(|| panic!("location {path}")).to_owned();
        Self { api: api.clone(), path, id, video_id: created.header("millrace-video-id").to_owned() }
    }

    /// The same upload from new connections.
    pub fn reconnected(&self) -> Self {
        Self { api: self.api.reconnected(), ..self.clone() }
    }

    /// A request to the upload's address.
    pub fn request(&self, method: Method) -> RequestBuilder {
        self.api.request(method, &self.path).header("tus-resumable", "1.0.0")
    }

    /// A PATCH at this offset.
    pub fn patching(&self, offset: u64, body: impl Into<Body>) -> RequestBuilder {
        self.request(Method::PATCH).header("upload-offset", offset).header(CONTENT_TYPE, OFFSET_BODY).body(body)
    }

    /// Sends bytes.
    pub async fn patch(&self, offset: u64, bytes: Bytes) -> Reply {
        self.api.send(self.patching(offset, bytes)).await
    }

    /// Asks how far the upload has come.
    pub async fn head(&self) -> Reply {
        self.api.send(self.request(Method::HEAD)).await
    }

    /// The durable bytes.
    pub async fn offset(&self) -> u64 {
        offset(&self.head().await.expect(200))
    }

    /// Sends `sent` of the bytes announced and then breaks the connection.
    pub async fn patch_cut(&self, at: u64, sent: Bytes, announced: u64) {
        let cut = futures::stream::iter(
            pieces(sent, 16 << 10)
                .into_iter()
                .map(Ok)
                .chain([Err(std::io::Error::other("the test breaks the connection here"))]),
        );
        let request = self.patching(at, Body::wrap_stream(cut)).header("content-length", announced);
        assert!(self.api.try_send(request).await.is_err(), "a broken connection is not answered");
    }

    /// Sends some bytes and then holds the connection open, until the returned handle is dropped
    /// or the server ends it.
    pub fn patch_held(
        &self,
        at: u64,
        sent: Bytes,
        announced: u64,
    ) -> tokio::task::JoinHandle<Result<Reply, reqwest::Error>> {
        let held = futures::stream::iter([Ok::<_, std::io::Error>(sent)]).chain(futures::stream::pending());
        let request = self.patching(at, Body::wrap_stream(held)).header("content-length", announced);
        let api = self.api.clone();
        tokio::spawn(async move { api.try_send(request).await })
    }
}

/// `Upload-Offset` of a reply.
pub fn offset(reply: &Reply) -> u64 {
    reply.header("upload-offset").parse().unwrap_or_else(|_| panic!("{}: {:?}", reply.what, reply.headers))
}

/// The bytes in pieces of at most `size`.
pub fn pieces(mut bytes: Bytes, size: usize) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        pieces.push(bytes.split_to(size.min(bytes.len())));
    }
    pieces
}
