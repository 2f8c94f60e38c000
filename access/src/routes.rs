//! Routes for accounts, sessions, tokens and invitations.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequest, Path, Request, State},
    http::{HeaderMap, StatusCode},
};
use axum_extra::extract::{
    CookieJar,
    cookie::{Cookie, SameSite},
};
use catalog::{Account, Credential};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    Access, Caller, Problem,
    accounts::SignUpForm,
    client::{self, Peer},
    who::SESSION_COOKIE,
};

/// A JSON body, whose faults are told as a [`Problem`].
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => {
                let mut problem = Problem::bad_request(rejection.body_text());
                problem.status = rejection.status().as_u16();
                Err(problem)
            }
        }
    }
}

/// A channel as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChannelView {
    /// Its id.
    pub id: String,
    /// Its address.
    pub handle: String,
    /// Its name.
    pub name: String,
}

impl From<&catalog::Channel> for ChannelView {
    fn from(channel: &catalog::Channel) -> Self {
        Self { id: channel.id.to_string(), handle: channel.handle.clone(), name: channel.name.clone() }
    }
}

/// The signed-in account.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// Its id.
    pub account_id: String,
    /// Its login.
    pub login: String,
    /// May do what operators may.
    pub is_admin: bool,
    /// Its channel.
    pub channel: ChannelView,
}

impl From<&Account> for Me {
    fn from(account: &Account) -> Self {
        Self {
            account_id: account.id.to_string(),
            login: account.login.clone(),
            is_admin: account.is_admin,
            channel: (&account.channel).into(),
        }
    }
}

/// What signing in takes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInForm {
    /// The login.
    pub login: String,
    /// The password.
    pub password: String,
}

fn session_cookie(access: &Access, secret: String) -> Cookie<'static> {
    Cookie::build((SESSION_COOKIE, secret))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(access.secure_cookies())
        .max_age(time::Duration::milliseconds(access.options.session_lifetime.0))
        .build()
}

#[utoipa::path(post, path = "/api/v1/accounts", tag = "accounts", request_body = SignUpForm,
    responses((status = 201, body = Me), (status = 403, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn sign_up(
    State(access): State<Arc<Access>>,
    peer: Peer,
    headers: HeaderMap,
    jar: CookieJar,
    Body(form): Body<SignUpForm>,
) -> Result<(StatusCode, CookieJar, Json<Me>), Problem> {
    let from = client::address(peer, &headers, &access.options.trusted_proxies);
    let account = access.sign_up(form, from).await?;
    let secret = access.start_session(&account).await?;
    Ok((StatusCode::CREATED, jar.add(session_cookie(&access, secret)), Json((&account).into())))
}

#[utoipa::path(post, path = "/api/v1/session", tag = "accounts", request_body = SignInForm,
    responses((status = 200, body = Me), (status = 401, body = Problem), (status = 429, body = Problem)))]
async fn sign_in(
    State(access): State<Arc<Access>>,
    peer: Peer,
    headers: HeaderMap,
    jar: CookieJar,
    Body(form): Body<SignInForm>,
) -> Result<(CookieJar, Json<Me>), Problem> {
    let from = client::address(peer, &headers, &access.options.trusted_proxies);
    let account = access.sign_in(&form.login, form.password, from).await?;
    let secret = access.start_session(&account).await?;
    Ok((jar.add(session_cookie(&access, secret)), Json((&account).into())))
}

#[utoipa::path(get, path = "/api/v1/session", tag = "accounts",
    responses((status = 200, body = Me), (status = 401, body = Problem)))]
async fn who_am_i(caller: Caller) -> Result<Json<Me>, Problem> {
    Ok(Json(caller.required()?.into()))
}

#[utoipa::path(delete, path = "/api/v1/session", tag = "accounts", responses((status = 204)))]
async fn sign_out(State(access): State<Arc<Access>>, jar: CookieJar) -> Result<(StatusCode, CookieJar), Problem> {
    if let Some(cookie) = jar.get(SESSION_COOKIE) {
        access.end_session(cookie.value()).await?;
    }
    Ok((StatusCode::NO_CONTENT, jar.remove(Cookie::build(SESSION_COOKIE).path("/"))))
}

/// An API token without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenView {
    /// Its id.
    pub id: Uuid,
    /// What its owner calls it.
    pub label: String,
    /// When it was made (RFC 3339).
    pub created_at: String,
    /// When it ends; null for never.
    pub expires_at: Option<String>,
    /// The secret; only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl TokenView {
    fn of(credential: &Credential, token: Option<String>) -> Self {
        Self {
            id: credential.id,
            label: credential.label.clone(),
            created_at: credential.created_at.to_rfc3339(),
            expires_at: credential.expires_at.map(event_schemas::Timestamp::to_rfc3339),
            token,
        }
    }
}

/// The API tokens of an account.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenList {
    /// Newest first.
    pub items: Vec<TokenView>,
}

/// What making a token takes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenForm {
    /// What it is for: 1 to 80 characters.
    pub label: String,
}

#[utoipa::path(post, path = "/api/v1/tokens", tag = "accounts", request_body = TokenForm,
    responses((status = 201, body = TokenView), (status = 401, body = Problem), (status = 422, body = Problem)))]
async fn create_token(
    State(access): State<Arc<Access>>,
    caller: Caller,
    Body(form): Body<TokenForm>,
) -> Result<(StatusCode, Json<TokenView>), Problem> {
    let (credential, secret) = access.create_token(caller.required()?, &form.label).await?;
    Ok((StatusCode::CREATED, Json(TokenView::of(&credential, Some(secret)))))
}

#[utoipa::path(get, path = "/api/v1/tokens", tag = "accounts",
    responses((status = 200, body = TokenList), (status = 401, body = Problem)))]
async fn list_tokens(State(access): State<Arc<Access>>, caller: Caller) -> Result<Json<TokenList>, Problem> {
    let tokens = access.catalog.api_tokens(caller.required()?.id).await?;
    Ok(Json(TokenList { items: tokens.iter().map(|token| TokenView::of(token, None)).collect() }))
}

#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "accounts", params(("id" = Uuid, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem)))]
async fn delete_token(
    State(access): State<Arc<Access>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let account = caller.required()?;
    let id = Uuid::try_parse(&id).map_err(|_| Problem::not_found("token"))?;
    if access.catalog.delete_credential(account.id, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("token"))
    }
}

/// An invitation.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvitationView {
    /// What the invited person enters at sign-up.
    pub code: String,
    /// When it ends (RFC 3339).
    pub expires_at: String,
}

#[utoipa::path(post, path = "/api/v1/invitations", tag = "accounts",
    responses((status = 201, body = InvitationView), (status = 401, body = Problem)))]
async fn invite(
    State(access): State<Arc<Access>>,
    caller: Caller,
) -> Result<(StatusCode, Json<InvitationView>), Problem> {
    let (code, expires_at) = access.invite(caller.required()?).await?;
    Ok((StatusCode::CREATED, Json(InvitationView { code, expires_at: expires_at.to_rfc3339() })))
}

/// The routes of this module.
#[must_use]
pub fn router(access: Arc<Access>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(sign_up))
        .routes(routes!(sign_in, who_am_i, sign_out))
        .routes(routes!(create_token, list_tokens))
        .routes(routes!(delete_token))
        .routes(routes!(invite))
        .with_state(access)
}
