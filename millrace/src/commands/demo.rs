//! `millrace demo`: fills an empty instance with videos and a week of watching, over HTTP, as a
//! creator and an audience would.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use event_schemas::Millis;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::{
    simulate::{self, Plan},
    upload::{self, About, UploadError},
};
use crate::{
    client::{Client, ClientError},
    data_dir::{DataDirError, demo_login_path, keep_secret},
};

/// The demo creator's login.
pub const LOGIN: &str = "demo";
/// How long the videos may take to become ready.
const PATIENCE: Duration = Duration::from_secs(1800);

/// What the demo needs.
#[derive(Debug, Clone)]
pub struct DemoPlan {
    /// A folder of clips with `clips.json`, as `scripts/demo-clips` makes it.
    pub clips: PathBuf,
    /// The server's data directory, where the demo creator's password is kept.
    pub data_dir: PathBuf,
    /// Simulated people.
    pub viewers: u32,
    /// Decides who watches what.
    pub seed: u64,
}

/// A clip of the manifest.
#[derive(Debug, Clone, Deserialize)]
struct Clip {
    file: String,
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    tags: Vec<String>,
}

/// The demo could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No clips.
    #[error(
        "can't read the clips' list `{path}`: make the clips with `scripts/demo-clips`, and name their folder with --clips"
    )]
    Clips {
        /// The list.
        path: String,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The list of clips is not what it should be.
    #[error("`{path}` is not a list of clips")]
    Manifest {
        /// The list.
        path: String,
        /// What happened.
        #[source]
        source: serde_json::Error,
    },
    /// Somebody uses the instance.
    #[error("this instance is not empty: the demo fills only an empty one")]
    NotEmpty,
    /// A clip did not become ready.
    #[error("the clip `{title}` did not become ready: {reason}")]
    NotReady {
        /// The clip's title.
        title: String,
        /// Why.
        reason: String,
    },
    /// The password can't be kept.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// An upload failed.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The server refused.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// How to sign in as the demo creator.
#[derive(Debug, Clone)]
pub struct DemoLogin {
    /// The login.
    pub login: String,
    /// The password.
    pub password: String,
    /// What was done, for people.
    pub summary: String,
}

#[derive(Deserialize)]
struct Token {
    token: String,
    id: String,
}

#[derive(Deserialize)]
struct State {
    title: String,
    playback_state: String,
    failure: Option<String>,
}

fn read_clips(dir: &Path) -> Result<Vec<Clip>, DemoError> {
    let path = dir.join("clips.json");
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(&path).map_err(|source| DemoError::Clips { path: shown.clone(), source })?;
    serde_json::from_str(&text).map_err(|source| DemoError::Manifest { path: shown, source })
}

/// Signs up the demo creator, or finds it again; none if somebody else uses the instance.
async fn creator(client: &Client, data_dir: &Path) -> Result<(String, String, bool), DemoError> {
    let path = demo_login_path(data_dir);
    if let Ok(text) = std::fs::read_to_string(&path)
        && let Some((_, password)) = text.trim().split_once(' ')
    {
        let password = password.to_owned();
        let secret = sign_in(client, &password).await?;
        return Ok((password, secret, true));
    }
    let password: String = access::who::new_secret().chars().filter(char::is_ascii_alphanumeric).take(14).collect();
    // Kept before it is used, so that an account never exists whose password is lost.
    keep_secret(&path, &format!("{LOGIN} {password}\n"))?;
    let form = json!({"login": LOGIN, "password": password, "handle": "demo", "name": "Demo Mill"});
    let response = client.send(client.request(Method::POST, "/api/v1/accounts").json(&form)).await;
    match response {
        Ok(response) => Ok((password, session(&response), false)),
        Err(error) => {
            let _ = std::fs::remove_file(&path);
            match error {
                ClientError::Refused { status, .. } if matches!(status.as_u16(), 403 | 409) => Err(DemoError::NotEmpty),
                error => Err(error.into()),
            }
        }
    }
}

fn session(response: &reqwest::Response) -> String {
    let cookie = response.headers().get(reqwest::header::SET_COOKIE).and_then(|value| value.to_str().ok());
    cookie.and_then(|cookie| cookie.split(';').next()).unwrap_or_default().to_owned()
}

async fn sign_in(client: &Client, password: &str) -> Result<String, DemoError> {
    let form = json!({"login": LOGIN, "password": password});
    let response = client.send(client.request(Method::POST, "/api/v1/session").json(&form)).await?;
    Ok(session(&response))
}

async fn wait_ready(client: &Client, video: &str) -> Result<(), DemoError> {
    let started = tokio::time::Instant::now();
    loop {
        let state: State = client.get(&format!("/api/v1/videos/{video}")).await?;
        match state.playback_state.as_str() {
            "ready" => return Ok(()),
            "failed" => {
                return Err(DemoError::NotReady {
                    title: state.title,
                    reason: state.failure.unwrap_or_else(|| "no reason given".to_owned()),
                });
            }
            _ if started.elapsed() > PATIENCE => {
                return Err(DemoError::NotReady { title: state.title, reason: "it takes too long".to_owned() });
            }
            _ => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

/// Fills the instance.
///
/// # Errors
/// See [`DemoError`].
pub async fn demo(
    client: &Client,
    plan: &DemoPlan,
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<DemoLogin, DemoError> {
    let clips = read_clips(&plan.clips)?;
    let (password, cookie, existed) = creator(client, &plan.data_dir).await?;
    let login = |summary: String| DemoLogin { login: LOGIN.to_owned(), password: password.clone(), summary };
    let with_cookie = |method, path: &str| client.request(method, path).header(reqwest::header::COOKIE, &cookie);
    #[derive(Deserialize)]
    struct Videos {
        items: Vec<serde_json::Value>,
    }
    let have: Videos = client.json(with_cookie(Method::GET, "/api/v1/studio/videos?limit=100")).await?;
    if existed && have.items.len() >= clips.len() {
        return Ok(login(format!("the demo is there already: {} videos", have.items.len())));
    }
    let token: Token =
        client.json(with_cookie(Method::POST, "/api/v1/tokens").json(&json!({"label": "demo content"}))).await?;
    let owner = client.with_token(Some(token.token.clone()));
    let known: Vec<&str> =
        have.items.iter().filter_map(|video| video.get("title").and_then(|title| title.as_str())).collect();

    let mut videos = Vec::new();
    for clip in clips.iter().filter(|clip| !known.contains(&clip.title.as_str())) {
        say(&format!("uploading {}", clip.title));
        let about = About {
            title: Some(clip.title.clone()),
            description: clip.description.clone(),
            tags: clip.tags.clone(),
            visibility: "public".to_owned(),
        };
        videos.push(upload::upload(&owner, &plan.clips.join(&clip.file), &about, true).await?.video_id);
    }
    for video in &videos {
        wait_ready(&owner, video).await?;
    }
    say("a week of viewing");
    let outcome = simulate::simulate(
        client,
        &Plan {
            viewers: plan.viewers,
            sessions_per_viewer: 5.0,
            seed: plan.seed,
            // An hour short of the seven days within which events are taken.
            span: Millis::from_secs(7 * 86_400 - 3600),
            real_time: false,
            at_once: 8,
            videos: Vec::new(),
        },
        &|_| {},
    )
    .await?;
    owner.send(with_cookie(Method::DELETE, &format!("/api/v1/tokens/{}", token.id))).await?;
    Ok(login(format!(
        "{} videos, {} playbacks by {} simulated viewers, {} events",
        videos.len(),
        outcome.sessions,
        plan.viewers,
        outcome.events
    )))
}
