//! Signing up and in, API tokens and invitations.

use std::{net::IpAddr, sync::Arc};

use axum::http::StatusCode;
use catalog::{Account, CatalogError, Credential, CredentialKind, NewAccount};
use event_schemas::{Millis, Timestamp};
use serving_store::{Quota, RateDecision};
use uuid::Uuid;

use crate::{
    Access, FieldError, Problem, SignUp, password,
    who::{TOKEN_PREFIX, new_secret, secret_hash},
};

/// How long an invitation can be used.
pub const INVITATION_LIFETIME: Millis = Millis::from_days(14);

/// What signing up takes.
#[derive(Debug, Clone, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignUpForm {
    /// 3 to 64 of the characters a–z, 0–9 and `._@+-`.
    pub login: String,
    /// At least 8 characters, at most 256.
    pub password: String,
    /// The channel's address: 3 to 30 of a–z, 0–9 and `-`.
    pub handle: String,
    /// The channel's name: 1 to 80 characters.
    pub name: String,
    /// An invitation's code, where one is needed.
    pub invitation: Option<String>,
}

/// The fields of a sign-up form that are not right.
#[must_use]
pub fn check_form(form: &SignUpForm) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut wrong = |field: &str, message: &str| {
        errors.push(FieldError { field: field.to_owned(), message: message.to_owned() });
    };
    let allowed = |text: &str, extra: &str| {
        text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || extra.contains(c))
    };
    if !(3..=64).contains(&form.login.len()) || !allowed(&form.login.to_ascii_lowercase(), "._@+-") {
        wrong("login", "3 to 64 of the characters a-z, 0-9 and . _ @ + -");
    }
    if form.password.chars().count() < 8 {
        wrong("password", "at least 8 characters");
    }
    if form.password.len() > 256 {
        wrong("password", "at most 256 bytes");
    }
    if !(3..=30).contains(&form.handle.len()) || !allowed(&form.handle, "-") || form.handle.starts_with('-') {
        wrong("handle", "3 to 30 of the characters a-z, 0-9 and -, not starting with -");
    }
    if form.name.trim().is_empty() || form.name.chars().count() > 80 || form.name.chars().any(char::is_control) {
        wrong("name", "1 to 80 characters");
    }
    errors
}

impl Access {
    async fn limit(&self, bucket: String, burst: u32, per: Millis, what: &str) -> Result<(), Problem> {
        match self.store.take(&bucket, Quota { burst, per }).await {
            Ok(RateDecision::Allowed) => Ok(()),
            Ok(RateDecision::Denied { retry_after }) => {
                Err(Problem::too_many("too-many-attempts", format!("too many {what}; wait and try again"), retry_after))
            }
            Err(error) => Err(Problem::from_seam(&error)),
        }
    }

    /// Creates an account and its channel. The first account of an instance is an administrator
    /// and needs no invitation.
    ///
    /// # Errors
    /// 422 with the fields that are not right, 403 where sign-up is closed or the invitation is
    /// not valid, 409 for a login or handle that is taken, 429 for too many from one address.
    pub async fn sign_up(&self, form: SignUpForm, from: Option<IpAddr>) -> Result<Account, Problem> {
        let errors = check_form(&form);
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }
        let first = self.catalog.count_accounts().await? == 0;
        let closed =
            |detail: &str| Problem::new(StatusCode::FORBIDDEN, "sign-up-closed", "Sign-up is not open", detail);
        let invitation = match (self.options.sign_up, first) {
            (SignUp::Open, _) | (_, true) => None,
            (SignUp::Closed, false) => return Err(closed("this instance takes no new accounts")),
            (SignUp::Invitation, false) => match &form.invitation {
                Some(code) => Some(secret_hash(code.trim())),
                None => return Err(closed("this instance needs an invitation: ask somebody who has an account")),
            },
        };
        if let Some(from) = from {
            let per = Millis::from_secs(3600);
            self.limit(format!("sign-up/{from}"), self.options.sign_ups_an_hour, per, "new accounts").await?;
        }
        let password_hash = password::hash(form.password).await?;
        self.catalog
            .create_account(NewAccount {
                login: form.login,
                password_hash,
                is_admin: first,
                must_be_first: first,
                handle: form.handle,
                name: form.name.trim().to_owned(),
                invitation,
                now: self.clock.now(),
            })
            .await
            .map_err(|error| match error {
                // Somebody else was first meanwhile: by the rules for everybody else, try again.
                CatalogError::WrongState(_) => closed("somebody else has just set this instance up; try again"),
                CatalogError::NotFound(_) => closed("this invitation is unknown, used or expired"),
                CatalogError::Conflict(field) => {
                    let mut problem = Problem::from(error);
                    problem.errors =
                        vec![FieldError { field: field.to_owned(), message: "is taken; choose another".to_owned() }];
                    problem
                }
                other => other.into(),
            })
    }

    /// The account of this login and password.
    ///
    /// # Errors
    /// 401 if they do not belong together (the same for an unknown login), 429 for too many
    /// attempts with one login or from one address.
    pub async fn sign_in(&self, login: &str, password: String, from: Option<IpAddr>) -> Result<Account, Problem> {
        let per = Millis::from_secs(15 * 60);
        let attempts = self.options.sign_in_attempts;
        // The login's hash, so that whatever is typed makes a well-formed bucket.
        let login_key = secret_hash(&login.to_ascii_lowercase());
        // Few tries for one login from one address, so that a stranger elsewhere can't lock its
        // owner out; more for one login from everywhere, against guessing from many addresses.
        let from_where = from.map_or_else(String::new, |from| from.to_string());
        self.limit(format!("sign-in/login/{login_key}/{from_where}"), attempts, per, "sign-in attempts").await?;
        self.limit(format!("sign-in/address/{from_where}"), attempts * 5, per, "sign-in attempts").await?;
        self.limit(format!("sign-in/login/{login_key}"), attempts * 20, per, "sign-in attempts").await?;
        let account = if login.len() <= 64 { self.catalog.account_by_login(login).await? } else { None };
        let stored = account.as_ref().map(|account| account.password_hash.clone());
        // An over-long password is never right; hashing it would only cost time.
        let verified = password.len() <= 256 && password::verify(password, stored).await?;
        account.filter(|_| verified).ok_or_else(|| {
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "wrong-credentials",
                "Wrong login or password",
                "no account has this login and this password",
            )
        })
    }

    async fn new_credential(
        &self,
        account: &Account,
        kind: CredentialKind,
        label: String,
        expires_at: Option<Timestamp>,
    ) -> Result<(Credential, String), Problem> {
        let secret = match kind {
            CredentialKind::Session => new_secret(),
            CredentialKind::ApiToken => format!("{TOKEN_PREFIX}{}", new_secret()),
        };
        let credential = Credential {
            id: Uuid::now_v7(),
            secret_hash: secret_hash(&secret),
            account: account.id,
            kind,
            label,
            created_at: self.clock.now(),
            expires_at,
        };
        self.catalog.create_credential(credential.clone()).await?;
        Ok((credential, secret))
    }

    /// Starts a session; returns the secret for its cookie.
    ///
    /// # Errors
    /// The catalog failed.
    pub async fn start_session(&self, account: &Account) -> Result<String, Problem> {
        let expires_at = self.clock.now() + self.options.session_lifetime;
        let (_, secret) =
            self.new_credential(account, CredentialKind::Session, String::new(), Some(expires_at)).await?;
        Ok(secret)
    }

    /// Makes an API token; its secret is never shown again.
    ///
    /// # Errors
    /// 422 for a label that is empty or too long.
    pub async fn create_token(&self, account: &Account, label: &str) -> Result<(Credential, String), Problem> {
        let label = label.trim();
        if label.is_empty() || label.chars().count() > 80 {
            return Err(Problem::invalid_field("label", "1 to 80 characters"));
        }
        self.new_credential(account, CredentialKind::ApiToken, label.to_owned(), None).await
    }

    /// Makes an invitation; returns its code and its end.
    ///
    /// # Errors
    /// The catalog failed.
    pub async fn invite(&self, by: &Account) -> Result<(String, Timestamp), Problem> {
        let code = new_secret();
        let expires_at = self.clock.now() + INVITATION_LIFETIME;
        self.catalog.create_invitation(&secret_hash(&code), by.id, expires_at).await?;
        Ok((code, expires_at))
    }

    /// Ends the session with this secret, if there is one.
    ///
    /// # Errors
    /// The catalog failed.
    pub async fn end_session(self: &Arc<Self>, secret: &str) -> Result<(), Problem> {
        let now = self.clock.now();
        if let Some(credential) = self.catalog.credential(&secret_hash(secret), now).await? {
            self.catalog.delete_credential(credential.account, credential.id).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_told_every_field_that_is_wrong() {
        let form = SignUpForm {
            login: "A b".to_owned(),
            password: "short".to_owned(),
            handle: "-no".to_owned(),
            name: "  ".to_owned(),
            invitation: None,
        };
        let fields: Vec<_> = check_form(&form).into_iter().map(|error| error.field).collect();
        assert_eq!(fields, ["login", "password", "handle", "name"]);
        let form = SignUpForm {
            login: "Ada@example.org".to_owned(),
            password: "long enough".to_owned(),
            handle: "ada".to_owned(),
            name: "Ada".to_owned(),
            invitation: None,
        };
        assert_eq!(check_form(&form), []);
    }
}
