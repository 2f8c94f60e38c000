//! From a request to the account behind it: a session cookie, or an API token in
//! `Authorization: Bearer`.

use std::sync::Arc;

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};
use axum_extra::extract::CookieJar;
use catalog::{Account, CredentialKind};
use sha2::{Digest, Sha256};

use crate::{Access, Problem};

/// The session cookie's name.
pub const SESSION_COOKIE: &str = "millrace_session";

/// Every API token starts with this, so that leaked ones can be searched for.
pub const TOKEN_PREFIX: &str = "mlr_";

/// Who is asking.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Nobody signed in.
    Anonymous,
    /// This account.
    Account(Arc<Account>),
}

impl Caller {
    /// The account, if there is one.
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        match self {
            Self::Anonymous => None,
            Self::Account(account) => Some(account),
        }
    }

    /// The account.
    ///
    /// # Errors
    /// 401 if nobody is signed in.
    pub fn required(&self) -> Result<&Account, Problem> {
        self.account().ok_or_else(Problem::unauthorized)
    }
}

/// The form in which a secret is stored: SHA-256 as hexadecimal. The secrets are random and long,
/// so a fast hash is enough.
#[must_use]
pub fn secret_hash(secret: &str) -> String {
    Sha256::digest(secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A new random secret of 256 bits as text.
#[must_use]
pub fn new_secret() -> String {
    use base64::Engine as _;
    let bytes: [u8; 32] = rand::random();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn bearer(headers: &HeaderMap) -> Option<Result<&str, Problem>> {
    let value = headers.get(header::AUTHORIZATION)?;
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    Some(token.ok_or_else(|| {
        let mut problem = Problem::unauthorized();
        problem.detail = "the `Authorization` header is not of the form `Bearer <token>`".to_owned();
        problem
    }))
}

async fn resolve(access: &Access, secret: &str, kind: CredentialKind) -> Result<Option<Arc<Account>>, Problem> {
    let Some(credential) = access.catalog.credential(&secret_hash(secret), access.clock.now()).await? else {
        return Ok(None);
    };
    if credential.kind != kind {
        return Ok(None);
    }
    Ok(access.catalog.account(credential.account).await?.map(Arc::new))
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Arc<Access>: FromRef<S>,
{
    type Rejection = Problem;

    /// # Errors
    /// 401 for a token that is not valid: a program must not go on as if it were anonymous. A
    /// stale cookie is taken as nobody.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let access = Arc::<Access>::from_ref(state);
        if let Some(token) = bearer(&parts.headers) {
            return match resolve(&access, token?, CredentialKind::ApiToken).await? {
                Some(account) => Ok(Self::Account(account)),
                None => {
                    let mut problem = Problem::unauthorized();
                    problem.detail = "the API token is unknown, revoked or expired".to_owned();
                    Err(problem)
                }
            };
        }
        let jar = CookieJar::from_headers(&parts.headers);
        let Some(cookie) = jar.get(SESSION_COOKIE) else { return Ok(Self::Anonymous) };
        Ok(resolve(&access, cookie.value(), CredentialKind::Session).await?.map_or(Self::Anonymous, Self::Account))
    }
}
