//! Signing up and in with what is wrong, too often, or from another site's page.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, Creator, Reply, Server, people};

async fn sign_in(api: &Api, login: &str, password: &str) -> Reply {
    api.post("/api/v1/session", &json!({"login": login, "password": password})).await
}

#[tokio::test]
async fn forms_that_are_wrong_are_refused_by_field() {
    let server = Server::start(&["accounts.sign_ups_an_hour=1000"]).await;
    let stranger = server.stranger();
    let ada = Creator::sign_up(&server, "ada").await;
    assert_eq!(ada.me["is_admin"], true, "the first account is the administrator's");

    for (field, value) in [
        ("login", "a"),
        ("login", "white space"),
        ("login", &"a".repeat(65)),
        ("password", "7 chars"),
        ("password", &"p".repeat(257)),
        ("handle", "No"),
        ("handle", "-dash"),
        ("name", " "),
        ("name", &"n".repeat(81)),
    ] {
        let mut form = people::form("bob");
        form[field] = value.into();
        let problem = stranger.post("/api/v1/accounts", &form).await.expect_problem(422, "invalid", field).json();
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    for field in ["login", "handle"] {
        let mut form = people::form("bob");
        form[field] = "ada".into();
        let problem = stranger.post("/api/v1/accounts", &form).await.expect_problem(409, "taken", "taken").json();
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    for form in [json!({}), json!({"login": "bob"}), json!([]), json!({"login": "bob", "rights": "all"})] {
        let reply = stranger.post("/api/v1/accounts", &form).await;
        assert!(matches!(reply.status, 400 | 422), "{form}: {}", reply.text());
        assert_eq!(reply.header("content-type"), "application/problem+json");
    }
    // Nothing half-made: the login is free.
    let bob = Creator::sign_up(&server, "bob").await;
    assert_eq!(bob.me["is_admin"], false);

    // Tokens that are none.
    let bearer = |token: &str| stranger.request(Method::GET, "/api/v1/session").header("authorization", token);
    for token in ["Bearer mlr_forged", "Bearer ", "Basic YWRhOmFkYQ==", "mlr_forged"] {
        let reply = stranger.send(bearer(token)).await.expect_problem(401, "sign-in-required", "");
        assert_eq!(reply.header("www-authenticate"), "Bearer", "{token}");
    }
    ada.browser.post("/api/v1/tokens", &json!({"label": ""})).await.expect_problem(422, "invalid", "label");
    // A revoked token and an ended session open nothing.
    let made = ada.browser.post("/api/v1/tokens", &json!({"label": "lost"})).await.expect(201).json();
    ada.browser.delete(&format!("/api/v1/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
    let revoked = format!("Bearer {}", made["token"].as_str().unwrap());
    stranger.send(bearer(&revoked)).await.expect_problem(401, "sign-in-required", "revoked");
    // One account can't revoke another's.
    let bobs =
        bob.browser.get("/api/v1/tokens").await.expect(200).json()["items"][0]["id"].as_str().unwrap().to_owned();
    ada.browser.delete(&format!("/api/v1/tokens/{bobs}")).await.expect_not_found();
    bob.api.get("/api/v1/session").await.expect(200);
    bob.browser.delete("/api/v1/session").await.expect(204);
    bob.browser.get("/api/v1/session").await.expect_problem(401, "sign-in-required", "");

    // The operator's routes are the operator's.
    for other in [&stranger, &bob.api] {
        let status = if std::ptr::eq(other, &stranger) { 401 } else { 403 };
        let reply = other.send(other.request(Method::POST, "/api/v1/operator/lake/flush")).await;
        reply.expect_problem(status, if status == 401 { "sign-in-required" } else { "forbidden" }, "");
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_too_many_are_slowed_down() {
    let server = Server::start(&["accounts.sign_in_attempts=4"]).await;
    let stranger = server.stranger();
    Creator::sign_up(&server, "ada").await;
    Creator::sign_up(&server, "bob").await;
    sign_in(&stranger, "ada", &people::password("ada")).await.expect(200);
    // An unknown login is not told from a wrong password.
    let wrong = sign_in(&stranger, "ada", "not this").await.expect_problem(401, "wrong-credentials", "no account has");
    let unknown =
        sign_in(&stranger, "nobody", "not this").await.expect_problem(401, "wrong-credentials", "no account has");
    assert_eq!(wrong.json(), unknown.json());

    let mut refused = None;
    for _ in 0..6 {
        let reply = sign_in(&stranger, "ada", "not this").await;
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
        reply.expect_problem(401, "wrong-credentials", "");
    }
    let refused = refused.expect("too many attempts are refused");
    assert!(refused.cookie("millrace_session").is_none());
    let refused = refused.expect_problem(429, "too-many-attempts", "wait");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() <= 15 * 60);
    // The right password must wait too, or guessing would go on; others are not concerned.
    sign_in(&stranger, "ada", &people::password("ada")).await.expect_problem(429, "too-many-attempts", "");
    sign_in(&stranger, "ADA", &people::password("ada")).await.expect_problem(429, "too-many-attempts", "");
    sign_in(&stranger, "bob", &people::password("bob")).await.expect(200);
}

#[tokio::test]
async fn sign_up_is_as_open_as_it_is_configured() {
    let mut server = Server::start(&["accounts.sign_up=invitation"]).await;
    let stranger = server.stranger();
    // The first account of an empty instance needs none.
    let ada = Creator::sign_up(&server, "ada").await;
    let form = |login: &str, invitation: Value| {
        let mut form = people::form(login);
        form["invitation"] = invitation;
        form
    };
    let sign_up = async |login, invitation| stranger.post("/api/v1/accounts", &form(login, invitation)).await;
    sign_up("bob", Value::Null).await.expect_problem(403, "sign-up-closed", "needs an invitation");
    sign_up("bob", json!("guessed")).await.expect_problem(403, "sign-up-closed", "unknown, used or expired");
    let nobodys = stranger.request(Method::POST, "/api/v1/invitations");
    stranger.send(nobodys).await.expect_problem(401, "sign-in-required", "");
    let code = ada.browser.post("/api/v1/invitations", &json!({})).await.expect(201).json()["code"].clone();
    // A refused form does not use the invitation up.
    sign_up("a", code.clone()).await.expect_problem(422, "invalid", "login");
    sign_up("ada", code.clone()).await.expect_problem(409, "taken", "taken");
    sign_up("bob", code.clone()).await.expect(201);
    sign_up("eve", code).await.expect_problem(403, "sign-up-closed", "unknown, used or expired");

    server.kill();
    server.restart_with(&["accounts.sign_up=closed"]).await;
    let instance = stranger.get("/api/v1/instance").await.expect(200).json();
    assert_eq!(instance["sign_up"], "closed", "{instance}");
    let code = ada.browser.post("/api/v1/invitations", &json!({})).await.expect(201).json()["code"].clone();
    sign_up("eve", code).await.expect_problem(403, "sign-up-closed", "takes no new accounts");
    sign_in(&stranger, "eve", &people::password("eve")).await.expect_problem(401, "wrong-credentials", "");
}

#[tokio::test]
async fn pages_of_other_sites_act_in_nobodys_name() {
    let server = Server::start(&[]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let from = |method: Method, path: &str, header: &'static str, value: &str| {
        ada.browser.request(method, path).header(header, value)
    };
    let host = server.url.strip_prefix("http://").unwrap();
    for (header, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", &format!("http://{host}.evil.example")),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let refused = async |request| {
            ada.browser.send(request).await.expect_problem(403, "forbidden", "another site");
        };
        refused(from(Method::POST, "/api/v1/tokens", header, value).json(&json!({"label": "stolen"}))).await;
        refused(from(Method::POST, "/api/v1/invitations", header, value)).await;
        refused(from(Method::DELETE, "/api/v1/session", header, value)).await;
        let upload = from(Method::POST, "/uploads", header, value).header("tus-resumable", "1.0.0");
        refused(upload.header("upload-length", 10)).await;
        // Nor is a visitor signed in to somebody else's account.
        let stranger = server.stranger();
        let form = json!({"login": "ada", "password": people::password("ada")});
        let sign_in = stranger.request(Method::POST, "/api/v1/session").header(header, value).json(&form);
        let reply = stranger.send(sign_in).await.expect_problem(403, "forbidden", "another site");
        assert!(reply.cookie("millrace_session").is_none());
    }
    ada.has_nothing().await;
    let tokens = ada.browser.get("/api/v1/tokens").await.expect(200).json();
    assert_eq!(tokens["items"].as_array().unwrap().len(), 1, "{tokens}");

    // Reading, one's own pages and programs with a token of their own go through.
    ada.browser.send(from(Method::GET, "/api/v1/session", "origin", "http://evil.example")).await.expect(200);
    let own = from(Method::POST, "/api/v1/invitations", "origin", &server.url);
    ada.browser.send(own.header("sec-fetch-site", "same-origin")).await.expect(201);
    ada.browser.send(from(Method::POST, "/api/v1/invitations", "origin", &server.url)).await.expect(201);
    let program = ada.api.request(Method::POST, "/api/v1/invitations").header("origin", "http://tool.example");
    ada.api.send(program).await.expect(201);
}
