//! A creator: an account with a channel, a signed-in browser and an API token.

use serde_json::{Value, json};

use super::{
    api::{Api, Credentials, Site},
    clips::Clip,
    tus::{self, Upload},
    wait::{LONG, wait_until},
};

/// An account, as a program with its API token.
#[derive(Debug, Clone)]
pub struct Creator {
    /// Requests with the API token.
    pub api: Api,
    /// Requests with the browser's session cookie.
    pub browser: Api,
    /// The login; the password is [`password`] of it.
    pub login: String,
    /// `Me` of the contract.
    pub me: Value,
}

/// The password of the account with this login.
pub fn password(login: &str) -> String {
    format!("{login} likes long passwords")
}

/// The form that signs `login` up.
pub fn form(login: &str) -> Value {
    json!({"login": login, "password": password(login), "handle": login, "name": format!("{login}'s channel")})
}

impl Creator {
    /// Signs up and makes an API token.
    pub async fn sign_up(site: &impl Site, login: &str) -> Self {
        let stranger = Api::new(site.address(), Credentials::None);
        let signed_up = stranger.post("/api/v1/accounts", &form(login)).await.expect(201);
        let cookie = signed_up.cookie("millrace_session").expect("a session cookie");
        let browser = Api::new(site.address(), Credentials::Cookies(cookie));
        let made = browser.post("/api/v1/tokens", &json!({"label": "tests"})).await.expect(201).json();
        let token = made["token"].as_str().expect("a token").to_owned();
        assert!(token.starts_with("mlr_"), "{token}");
        let api = Api::new(site.address(), Credentials::Bearer(token));
        Self { api, browser, login: login.to_owned(), me: signed_up.json() }
    }

    /// Uploads a clip at one go and returns its video's id.
    pub async fn upload(&self, clip: &Clip, about: &[(&str, &str)]) -> String {
        let upload = Upload::create(&self.api, clip.bytes.len() as u64, about).await;
        upload.patch(0, clip.bytes.clone()).await.expect(204);
        upload.video_id
    }

    /// Uploads a public clip and waits until it is ready.
    pub async fn publish(&self, clip: &Clip, title: &str) -> String {
        let video = self.upload(clip, &[("title", title), ("visibility", "public")]).await;
        self.ready(&video).await;
        video
    }

    /// Waits until a video of this creator is ready.
    pub async fn ready(&self, video: &str) -> Value {
        self.settled(video, "ready").await
    }

    /// Waits until a video of this creator has failed.
    pub async fn failed(&self, video: &str) -> Value {
        self.settled(video, "failed").await
    }

    async fn settled(&self, video: &str, wanted: &str) -> Value {
        let seen = wait_until(format!("video {video} is {wanted}"), LONG, async || {
            let video = self.api.video(video).await;
            if matches!(video["playback_state"].as_str(), Some("ready" | "failed")) {
                return Ok(video);
            }
            Err(format!("{} at {} %", video["playback_state"], video["progress_percent"]))
        });
        let video = seen.await;
        assert_eq!(video["playback_state"], wanted, "{video}");
        video
    }

    /// The ids of all this creator's videos, in any state.
    pub async fn own_videos(&self) -> Vec<String> {
        self.api.ids("/api/v1/studio/videos?limit=100").await
    }

    /// The ids of this creator's unfinished uploads.
    pub async fn unfinished(&self) -> Vec<String> {
        self.api.ids("/api/v1/uploads").await
    }

    /// Asserts that nothing was begun: no upload and no video of this creator exists.
    pub async fn has_nothing(&self) {
        assert_eq!(self.unfinished().await, [""; 0]);
        assert_eq!(self.own_videos().await, [""; 0]);
    }

    /// A request that creates an upload, for tests that expect a refusal.
    pub fn creation(&self, length: &str, about: &[(&str, &str)]) -> reqwest::RequestBuilder {
        tus::creation(&self.api, length, about)
    }
}
