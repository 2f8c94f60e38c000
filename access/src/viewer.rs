//! Who watches: an account, else a signed first-party id, else a hash of address and agent that
//! changes daily. The address itself goes no further than this module.

use axum::http::{HeaderMap, header};
use event_schemas::{Timestamp, ViewerId};

use crate::{
    Access, Caller,
    client::{self, Peer},
};

/// The cookie with the signed first-party id.
pub const VIEWER_COOKIE: &str = "millrace_viewer";

/// The device behind a `User-Agent`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// desktop, mobile, bot or unknown.
    pub device: Option<String>,
    /// Operating system.
    pub os: Option<String>,
    /// Browser.
    pub browser: Option<String>,
}

/// What a `User-Agent` header says, by the woothee data set.
#[must_use]
pub fn device(headers: &HeaderMap) -> Device {
    let Some(agent) = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()) else {
        return Device::default();
    };
    let Some(parsed) = woothee::parser::Parser::new().parse(agent) else { return Device::default() };
    let known = |text: &str| (text != "UNKNOWN" && !text.is_empty()).then(|| text.to_owned());
    let device = match parsed.category {
        "pc" => "desktop",
        "smartphone" | "mobilephone" => "mobile",
        "crawler" => "bot",
        "appliance" => "tv",
        _ => "unknown",
    };
    Device { device: Some(device.to_owned()), os: known(parsed.os), browser: known(parsed.name) }
}

/// The viewer of a request.
#[must_use]
pub fn viewer(access: &Access, caller: &Caller, peer: Peer, headers: &HeaderMap, now: Timestamp) -> ViewerId {
    if let Some(account) = caller.account() {
        return access.signer.derive_viewer(&[b"account", account.id.as_uuid().as_bytes()]);
    }
    let cookie = axum_extra::extract::CookieJar::from_headers(headers)
        .get(VIEWER_COOKIE)
        .and_then(|cookie| access.signer.verify_viewer(cookie.value()).ok());
    if let Some(viewer) = cookie {
        return viewer;
    }
    let address = client::address(peer, headers, &access.options.trusted_proxies)
        .map_or_else(String::new, |address| address.to_string());
    let agent = headers.get(header::USER_AGENT).map_or(&b""[..], |value| value.as_bytes());
    let day = now.as_millis().div_euclid(86_400_000);
    access.signer.derive_viewer(&[b"address", address.as_bytes(), agent, &day.to_le_bytes()])
}
