//! HTTP as a browser or a program speaks it, and replies that know what they answer.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{
    Method, RequestBuilder,
    header::{CONTENT_TYPE, COOKIE, HeaderMap},
};
use serde_json::Value;

/// In whose name requests are made.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Nobody's.
    None,
    /// An API token's owner.
    Bearer(String),
    /// A browser's, with these cookies.
    Cookies(String),
}

/// Where an instance is reached: a server, or an edge before one or several.
pub trait Site {
    /// `http://HOST:PORT`.
    fn address(&self) -> &str;
}

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Api {
    /// The server's address.
    pub base: String,
    /// In whose name.
    pub credentials: Credentials,
    http: reqwest::Client,
}

impl Api {
    /// A client with connections of its own.
    pub fn new(base: &str, credentials: Credentials) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .user_agent("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
            .build()
            .expect("an HTTP client");
        Self { base: base.to_owned(), credentials, http }
    }

    /// The same person on new connections.
    pub fn reconnected(&self) -> Self {
        Self::new(&self.base, self.credentials.clone())
    }

    /// A request to a path of the server, or to a whole address of it.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let request = self.http.request(method, url);
        match &self.credentials {
            Credentials::None => request,
            Credentials::Bearer(token) => request.bearer_auth(token),
            Credentials::Cookies(cookies) => request.header(COOKIE, cookies),
        }
    }

    /// Sends a request; a broken connection is an error.
    pub async fn try_send(&self, request: RequestBuilder) -> Result<Reply, reqwest::Error> {
        let request = request.build()?;
        let what = format!("{} {}", request.method(), request.url());
        let response = self.http.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Reply { what, status, headers, body: response.bytes().await? })
    }

    /// Sends a request that must be answered.
    pub async fn send(&self, request: RequestBuilder) -> Reply {
        self.try_send(request).await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path)).await
    }

    /// `POST` of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// `PATCH` of JSON.
    pub async fn patch(&self, path: &str, body: &Value) -> Reply {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Reply {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// A video as this person sees it.
    pub async fn video(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/videos/{id}")).await.expect(200).json()
    }

    /// The ids of a list of videos, such as a search's.
    pub async fn ids(&self, path: &str) -> Vec<String> {
        let list = self.get(path).await.expect(200).json();
        let items = list["items"].as_array().unwrap_or_else(|| panic!("{path} is no list: {list}"));
        items.iter().map(|item| item["id"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// What it answers.
    pub what: String,
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{}: {error}: {}", self.what, self.text()))
    }

    /// A header that must be there.
    pub fn header(&self, name: &str) -> &str {
        self.try_header(name).unwrap_or_else(|| panic!("{}: no header `{name}` in {:?}", self.what, self.headers))
    }

    /// A header, if it is there.
    pub fn try_header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// This reply, which must have this status.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.what, self.text());
        self
    }

    /// This reply, which must be a refusal of the form that RFC 9457 describes: this status, the
    /// type `/problems/{slug}`, and `part` in what it says is wrong.
    #[track_caller]
    pub fn expect_problem(self, status: u16, slug: &str, part: &str) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.what, self.text());
        assert_eq!(self.header(CONTENT_TYPE.as_str()), "application/problem+json", "{}", self.what);
        let problem = self.json();
        assert_eq!(problem["type"], format!("/problems/{slug}"), "{}: {problem}", self.what);
        assert_eq!(problem["status"], status, "{}: {problem}", self.what);
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(part), "{}: `{part}` is not in the detail: {problem}", self.what);
        assert!(!detail.is_empty() && problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
        // What is wrong inside is nobody else's business.
        for inside in ["panicked", "src/", "sqlx", "fjall", "SELECT "] {
            assert!(!detail.contains(inside), "{}: {problem}", self.what);
        }
        if matches!(status, 429 | 503) {
            let after = self.header("retry-after");
            assert!(after.parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{}: retry-after {after}", self.what);
        }
        self
    }

    /// A 404 that does not tell whether the thing exists.
    #[track_caller]
    pub fn expect_not_found(self) -> Self {
        self.expect_problem(404, "not-found", "there is no such")
    }

    /// The first `name=value` of the `Set-Cookie` header that sets `name`.
    pub fn cookie(&self, name: &str) -> Option<String> {
        let set = self.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
        set.filter_map(|cookie| cookie.split(';').next())
            .find(|pair| pair.split('=').next() == Some(name))
            .map(str::to_owned)
    }
}
