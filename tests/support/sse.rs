//! Server-sent events as a browser's `EventSource` reads them.

use std::time::Duration;

use futures::{StreamExt as _, stream::BoxStream};
use reqwest::Method;
use serde_json::Value;

use super::api::Api;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its data, parsed.
    pub data: Value,
}

/// An open event stream, with everything it has told.
pub struct Events {
    /// What was told so far.
    pub told: Vec<Event>,
    stream: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

impl Events {
    /// Opens a video's event stream.
    pub async fn open(api: &Api, video: &str) -> Self {
        let request = api.request(Method::GET, &format!("/api/v1/videos/{video}/events"));
        let response = request.header("accept", "text/event-stream").send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { told: Vec::new(), stream: response.bytes_stream().boxed(), text: String::new() }
    }

    /// Reads until an event is told for which `wanted` holds; looks at those already told too.
    pub async fn until(&mut self, what: &str, patience: Duration, wanted: impl Fn(&Event) -> bool) -> Event {
        let reading = async {
            let mut seen = 0;
            loop {
                while seen < self.told.len() {
                    seen += 1;
                    if wanted(&self.told[seen - 1]) {
                        return Some(self.told[seen - 1].clone());
                    }
                }
                self.text.push_str(std::str::from_utf8(&self.stream.next().await?.ok()?).expect("UTF-8"));
                self.take_whole();
            }
        };
        match tokio::time::timeout(patience, reading).await {
            Ok(Some(event)) => event,
            Ok(None) => panic!("the event stream ended before {what}; told: {:?}", self.told),
            Err(_) => panic!("waited {patience:?} in vain for {what} on the event stream; told: {:?}", self.told),
        }
    }

    /// Reads until the server ends the stream.
    pub async fn until_end(&mut self, patience: Duration) {
        let reading = async { while let Some(Ok(_)) = self.stream.next().await {} };
        tokio::time::timeout(patience, reading).await.expect("the server ends the event stream");
    }

    fn take_whole(&mut self) {
        while let Some(end) = self.text.find("\n\n") {
            let block: String = self.text.drain(..end + 2).collect();
            let field = |name: &str| {
                let prefix = format!("{name}:");
                block.lines().find_map(|line| Some(line.strip_prefix(&prefix)?.trim().to_owned()))
            };
            // A block without a name is a comment that keeps the connection alive.
            if let Some(name) = field("event") {
                let data = serde_json::from_str(&field("data").unwrap_or_default()).expect("JSON");
                self.told.push(Event { name, data });
            }
        }
    }
}
