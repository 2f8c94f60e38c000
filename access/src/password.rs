//! Passwords: argon2id (RFC 9106) with the library's defaults, off the event loop and at most
//! two at a time, so that a flood of sign-ins can't take the machine.

use std::sync::LazyLock;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use crate::Problem;

static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// Verified against when no such account exists, so that the answer takes as long.
static NOBODY: LazyLock<Option<String>> = LazyLock::new(|| hash_now("nobody has this password").ok());

fn hash_now(password: &str) -> Result<String, argon2::password_hash::Error> {
    Ok(Argon2::default().hash_password(password.as_bytes())?.to_string())
}

async fn off_loop<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let _permit = AT_ONCE.acquire().await.map_err(|error| Problem::internal(&error))?;
    tokio::task::spawn_blocking(work).await.map_err(|error| Problem::internal(&error))
}

/// The PHC string to store for a password.
///
/// # Errors
/// The system has no randomness to give.
pub async fn hash(password: String) -> Result<String, Problem> {
    off_loop(move || hash_now(&password)).await?.map_err(|error| Problem::internal(&error))
}

/// Whether the password is the one that `stored` was made from. Takes as long when there is no
/// stored hash.
///
/// # Errors
/// The stored hash can't be read.
pub async fn verify(password: String, stored: Option<String>) -> Result<bool, Problem> {
    off_loop(move || {
        let known = stored.is_some();
        let Some(stored) = stored.or_else(|| NOBODY.clone()) else { return Ok(false) };
        let parsed = PasswordHash::new(&stored)?;
        Ok(Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok() && known)
    })
    .await?
    .map_err(|error: argon2::password_hash::phc::Error| Problem::internal(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_a_known_account_verifies() {
        let stored = hash("correct horse".to_owned()).await.unwrap();
        assert!(stored.starts_with("$argon2id$"), "{stored}");
        assert!(verify("correct horse".to_owned(), Some(stored.clone())).await.unwrap());
        assert!(!verify("wrong horse".to_owned(), Some(stored)).await.unwrap());
        assert!(!verify("nobody has this password".to_owned(), None).await.unwrap());
    }
}
