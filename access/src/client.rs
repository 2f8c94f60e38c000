//! The address a request comes from: the peer's, unless the peer is a configured proxy.

use std::net::IpAddr;

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, request::Parts},
};
use ipnet::IpNet;
use std::{convert::Infallible, net::SocketAddr};

/// The peer's address as the listener saw it; absent in tests without a socket.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())))
    }
}

/// The client's address: the last entry of `X-Forwarded-For` that no trusted proxy added, if
/// the peer is a trusted proxy; else the peer itself.
#[must_use]
pub fn address(peer: Peer, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = peer.0?;
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !is_trusted(&peer) {
        return Some(peer);
    }
    let forwarded: Vec<IpAddr> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|entry| entry.trim().parse().ok())
        .collect();
    Some(forwarded.iter().rev().find(|address| !is_trusted(address)).copied().unwrap_or(peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let peer = |text: &str| Peer(Some(text.parse().unwrap()));
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "6.6.6.6, 203.0.113.9, 10.0.0.2".parse().unwrap());
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let at = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert_eq!(address(peer("198.51.100.1"), &headers, &trusted), at("198.51.100.1"));
        assert_eq!(address(peer("10.0.0.1"), &headers, &trusted), at("203.0.113.9"));
        assert_eq!(address(peer("10.0.0.1"), &HeaderMap::new(), &trusted), at("10.0.0.1"));
        assert_eq!(address(Peer(None), &headers, &trusted), None);
    }
}
