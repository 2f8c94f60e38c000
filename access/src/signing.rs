//! Signed, expiring claims: playback grants, media path tokens and first-party viewer ids.
//!
//! All are JSON Web Tokens (RFC 7519) signed with HMAC-SHA256 under one secret of the instance;
//! the audience keeps one kind from passing for another. Expiry is judged by the program's clock.

use std::sync::Arc;

use event_schemas::{Clock, Millis, SessionId, Timestamp, VideoId, ViewerId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not signed by this instance, or not of this kind.
    #[error("the token is not genuine")]
    Forged,
    /// Genuine, but past its time.
    #[error("the token has expired")]
    Expired,
}

/// Permission to have playback counted: this session, of this video, by this viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The session it was made for.
    pub session: SessionId,
    /// The video.
    pub video: VideoId,
    /// The viewer as known when it was made.
    pub viewer: ViewerId,
    /// The video's length; decides what a view of it is.
    pub duration: Millis,
}

/// Permission to fetch a private video's media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathToken {
    /// The video.
    pub video: VideoId,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct ViewerClaim {
    viewer: ViewerId,
}

#[derive(Serialize, Deserialize)]
struct Claims<T> {
    aud: String,
    /// Seconds since the epoch.
    exp: i64,
    #[serde(flatten)]
    body: T,
}

/// Makes and checks signed tokens.
pub struct Signer {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    clock: Arc<dyn Clock>,
    secret: [u8; 32],
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

const GRANT: &str = "grant";
const PATH: &str = "path";
const VIEWER: &str = "viewer";

impl Signer {
    /// A signer under this secret of 256 bits; every process of an instance shares it.
    #[must_use]
    pub fn new(secret: [u8; 32], clock: Arc<dyn Clock>) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Self {
            encoding: EncodingKey::from_secret(&secret),
            decoding: DecodingKey::from_secret(&secret),
            validation,
            clock,
            secret,
        }
    }

    fn sign<T: Serialize>(&self, aud: &str, body: T, expires_at: Timestamp) -> String {
        let claims = Claims { aud: aud.to_owned(), exp: expires_at.as_millis() / 1000, body };
        // Encoding plain claims under a fixed key has no way to fail; an empty token verifies as
        // forged, so even then nothing is granted.
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).unwrap_or_default()
    }

    fn verify<T: DeserializeOwned>(&self, aud: &str, token: &str) -> Result<T, TokenError> {
        let claims = jsonwebtoken::decode::<Claims<T>>(token, &self.decoding, &self.validation)
            .map_err(|_| TokenError::Forged)?
            .claims;
        if claims.aud != aud {
            return Err(TokenError::Forged);
        }
        if claims.exp <= self.clock.now().as_millis() / 1000 {
            return Err(TokenError::Expired);
        }
        Ok(claims.body)
    }

    /// A grant as text.
    #[must_use]
    pub fn sign_grant(&self, grant: Grant, expires_at: Timestamp) -> String {
        self.sign(GRANT, grant, expires_at)
    }

    /// Reads a grant.
    ///
    /// # Errors
    /// Forged or expired.
    pub fn verify_grant(&self, token: &str) -> Result<Grant, TokenError> {
        self.verify(GRANT, token)
    }

    /// A media path token as text.
    #[must_use]
    pub fn sign_path(&self, token: PathToken, expires_at: Timestamp) -> String {
        self.sign(PATH, token, expires_at)
    }

    /// Reads a media path token.
    ///
    /// # Errors
    /// Forged or expired.
    pub fn verify_path(&self, token: &str) -> Result<PathToken, TokenError> {
        self.verify(PATH, token)
    }

    /// The value of a viewer cookie.
    #[must_use]
    pub fn sign_viewer(&self, viewer: ViewerId, expires_at: Timestamp) -> String {
        self.sign(VIEWER, ViewerClaim { viewer }, expires_at)
    }

    /// Reads a viewer cookie.
    ///
    /// # Errors
    /// Forged or expired.
    pub fn verify_viewer(&self, token: &str) -> Result<ViewerId, TokenError> {
        self.verify::<ViewerClaim>(VIEWER, token).map(|claim| claim.viewer)
    }

    /// A viewer id for these parts that nobody without the secret can work out.
    #[must_use]
    pub fn derive_viewer(&self, parts: &[&[u8]]) -> ViewerId {
        let mut keyed: Vec<&[u8]> = vec![&self.secret];
        keyed.extend_from_slice(parts);
        ViewerId::derive(&keyed)
    }
}

#[cfg(test)]
mod tests {
    use event_schemas::TestClock;

    use super::*;

    #[test]
    fn a_token_is_good_for_its_kind_its_time_and_its_instance() {
        let clock = Arc::new(TestClock::at(Timestamp::from_millis(1_000_000)));
        let signer = Signer::new([1; 32], clock.clone());
        let grant = Grant {
            session: SessionId::generate(),
            video: VideoId::generate(),
            viewer: ViewerId::from_bytes([7; 16]),
            duration: Millis(60_000),
        };
        let token = signer.sign_grant(grant, clock.now() + Millis::from_secs(10));
        assert_eq!(signer.verify_grant(&token), Ok(grant));
        assert_eq!(signer.verify_viewer(&token), Err(TokenError::Forged), "another kind");
        assert_eq!(Signer::new([2; 32], clock.clone()).verify_grant(&token), Err(TokenError::Forged));
        let mut forged = token.clone();
        forged.replace_range(token.len() / 2..=token.len() / 2, "A");
        let middle_differs = forged != token;
        assert!(!middle_differs || signer.verify_grant(&forged) == Err(TokenError::Forged));
        assert_eq!(signer.verify_grant("eyJhbGciOiJub25lIn0.e30."), Err(TokenError::Forged), "no algorithm");
        clock.advance(Millis::from_secs(11));
        assert_eq!(signer.verify_grant(&token), Err(TokenError::Expired));
    }
}
