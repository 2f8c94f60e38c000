//! What every handler needs to know who is asking.

use std::sync::Arc;

use catalog::Catalog;
use event_schemas::{Clock, Millis};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serving_store::ServingStore;
use url::Url;

use crate::Signer;

/// Who may sign up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SignUp {
    /// Anybody.
    Open,
    /// Whoever has an invitation from an account.
    Invitation,
    /// Nobody, save the very first account of an empty instance.
    Closed,
}

/// Settings of access.
#[derive(Debug, Clone)]
pub struct AccessOptions {
    /// Who may sign up.
    pub sign_up: SignUp,
    /// The address people use, if it is not the one listened on. With `https`, cookies are sent
    /// over TLS only.
    pub public_url: Option<Url>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a session lasts.
    pub session_lifetime: Millis,
    /// How long a playback grant lasts.
    pub grant_lifetime: Millis,
    /// How long a private video's media address works.
    pub path_token_lifetime: Millis,
    /// Sign-in attempts for one login or from one address in a quarter of an hour.
    pub sign_in_attempts: u32,
    /// Accounts created from one address in an hour.
    pub sign_ups_an_hour: u32,
}

impl Default for AccessOptions {
    fn default() -> Self {
        Self {
            sign_up: SignUp::Open,
            public_url: None,
            trusted_proxies: Vec::new(),
            session_lifetime: Millis::from_days(30),
            grant_lifetime: Millis::from_secs(24 * 3600),
            path_token_lifetime: Millis::from_secs(6 * 3600),
            sign_in_attempts: 10,
            sign_ups_an_hour: 20,
        }
    }
}

/// Shared by the handlers of every HTTP role.
pub struct Access {
    /// Accounts and credentials.
    pub catalog: Arc<dyn Catalog>,
    /// Rate limits.
    pub store: Arc<dyn ServingStore>,
    /// Signed claims.
    pub signer: Signer,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Settings.
    pub options: AccessOptions,
}

impl Access {
    /// True if cookies may be sent over TLS only.
    #[must_use]
    pub fn secure_cookies(&self) -> bool {
        self.options.public_url.as_ref().is_some_and(|url| url.scheme() == "https")
    }
}
