//! The HTTP client that the commands share: addresses, tokens, and refusals as errors.

use std::path::Path;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};

use crate::data_dir::operator_token_path;

/// A command could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server refused.
    #[error("{title}: {detail} (HTTP {status})")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// What kind of problem.
        title: String,
        /// What is wrong.
        detail: String,
    },
    /// The server can't be reached, or answers in another language.
    #[error("no server answers at {url}: start one with `millrace serve`, or name it with --url")]
    Unreachable {
        /// The address tried.
        url: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// The connection broke.
    #[error("the connection to the server failed")]
    Broken(#[from] reqwest::Error),
    /// No right to do this from here.
    #[error("{0}")]
    NoToken(String),
}

#[derive(Deserialize, Default)]
struct ProblemBody {
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
}

/// A server, and in whose name it is spoken to.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Client {
    /// A client of the server at `base`.
    ///
    /// # Errors
    /// The TLS library can't be set up.
    pub fn new(base: &str, token: Option<String>) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder().user_agent(concat!("millrace/", env!("CARGO_PKG_VERSION"))).build()?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), token })
    }

    /// Whether the server is alive.
    ///
    /// # Errors
    /// It does not answer within three seconds, or not with 200.
    pub async fn health(&self) -> Result<(), ClientError> {
        let url = format!("{}/healthz", self.base);
        let request = self.http.get(&url).timeout(std::time::Duration::from_secs(3));
        let unreachable = |source| ClientError::Unreachable { url: self.base.clone(), source };
        request.send().await.and_then(Response::error_for_status).map_err(unreachable)?;
        Ok(())
    }

    /// A client with the operator's token of this machine's data directory.
    ///
    /// # Errors
    /// The token can't be read: no server has run on this directory, or it is somebody else's.
    pub fn operator(base: &str, data_dir: &Path) -> Result<Self, ClientError> {
        let path = operator_token_path(data_dir);
        let token = std::fs::read_to_string(&path).map_err(|error| {
            ClientError::NoToken(format!(
                "can't read the operator's token at `{}` ({error}): run this on the server's machine, as its user, with its --data-dir",
                path.display()
            ))
        })?;
        Self::new(base, Some(token.trim().to_owned()))
    }

    /// The server's address.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The same server, in another name.
    #[must_use]
    pub fn with_token(&self, token: Option<String>) -> Self {
        Self { token, ..self.clone() }
    }

    /// A request to a path of the server, or to a whole address.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request; refusals are errors.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| {
            if error.is_connect() {
                ClientError::Unreachable { url: self.base.clone(), source: error }
            } else {
                ClientError::Broken(error)
            }
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let problem: ProblemBody = response.json().await.unwrap_or_default();
        let title = if problem.title.is_empty() { "The server refused".to_owned() } else { problem.title };
        Err(ClientError::Refused { status, title, detail: problem.detail })
    }

    /// Sends a request and reads the JSON answer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        Ok(self.send(request).await?.json().await?)
    }

    /// Reads the JSON at a path.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(self.request(Method::GET, path)).await
    }
}

impl ClientError {
    /// True if sending the same again may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Refused { status, .. } => {
                status.is_server_error()
                    || *status == StatusCode::TOO_MANY_REQUESTS
                    || *status == StatusCode::REQUEST_TIMEOUT
            }
            Self::Unreachable { .. } | Self::Broken(_) => true,
            Self::NoToken(_) => false,
        }
    }
}
