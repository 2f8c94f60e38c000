//! Accounts, channels, invitations, credentials.

use super::*;

/// Reading back, by id and by login without regard to ASCII case.
pub async fn an_account_is_found_by_its_login_in_any_case(backend: &dyn Backend) {
    let catalog = backend.open().await;
    assert_eq!(catalog.count_accounts().await.unwrap(), 0);
    let alice = catalog.create_account(NewAccount { is_admin: true, ..new_account("Alice") }).await.unwrap();
    let bob = creator(&*catalog, "bob").await;
    let catalog = backend.reopen(catalog).await;
    assert_eq!(catalog.account(alice.id).await.unwrap(), Some(alice.clone()));
    assert_eq!(catalog.account_by_login("aLICE").await.unwrap(), Some(alice.clone()));
    assert_eq!(catalog.account_by_login("bob").await.unwrap(), Some(bob.clone()));
    assert_eq!(catalog.account_by_login("bo_").await.unwrap(), None);
    assert_eq!(catalog.channel(alice.channel.id).await.unwrap(), Some(alice.channel.clone()));
    assert_eq!(catalog.count_accounts().await.unwrap(), 2);
    assert!(alice.is_admin && !bob.is_admin && alice.login == "Alice" && alice.channel.owner == alice.id);
}

/// Conflicts name what is taken and leave nothing behind.
pub async fn a_taken_login_or_handle_changes_nothing(backend: &dyn Backend) {
    let catalog = backend.open().await;
    creator(&*catalog, "alice").await;
    let error = catalog.create_account(NewAccount { handle: "free".into(), ..new_account("ALICE") }).await.unwrap_err();
    assert!(matches!(error, CatalogError::Conflict("login")), "{error:?}");
    let error =
        catalog.create_account(NewAccount { handle: "alice".into(), ..new_account("carol") }).await.unwrap_err();
    assert!(matches!(error, CatalogError::Conflict("handle")), "{error:?}");
    assert_eq!(catalog.count_accounts().await.unwrap(), 1);
    assert_eq!(catalog.account_by_login("carol").await.unwrap(), None);
    catalog.create_account(NewAccount { handle: "free".into(), ..new_account("carol") }).await.unwrap();
}

/// An invitation makes one account, in the same transaction.
pub async fn an_invitation_is_used_once(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let host = creator(&*catalog, "host").await;
    for code in ["one", "two"] {
        catalog.create_invitation(code, host.id, at(1000)).await.unwrap();
    }
    let invited = |name: &str, code: &str, now| NewAccount {
        invitation: Some(code.to_owned()),
        now: at(now),
        ..new_account(name)
    };
    let taken = catalog.create_account(invited("host", "one", 5)).await.unwrap_err();
    assert!(matches!(taken, CatalogError::Conflict("login")), "{taken:?}");
    catalog.create_account(invited("a", "one", 5)).await.unwrap();
    for (name, code, now) in [("b", "one", 5), ("b", "two", 1000), ("b", "three", 5), ("host", "three", 5)] {
        let error = catalog.create_account(invited(name, code, now)).await.unwrap_err();
        assert!(matches!(error, CatalogError::NotFound("invitation")), "{name} {code}: {error:?}");
    }
    assert_eq!(catalog.count_accounts().await.unwrap(), 2);
    assert_eq!(catalog.delete_expired_credentials(at(999), 10).await.unwrap(), 0);
    assert_eq!(catalog.delete_expired_credentials(at(1000), 10).await.unwrap(), 1);
}

/// Credentials are found until they expire or are deleted.
pub async fn credentials_end(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let alice = creator(&*catalog, "alice").await;
    let bob = creator(&*catalog, "bob").await;
    let credential = |hash: &str, kind, created, expires_at: Option<Timestamp>| Credential {
        id: uuid::Uuid::new_v4(),
        secret_hash: hash.to_owned(),
        account: alice.id,
        kind,
        label: format!("my {hash}"),
        created_at: at(created),
        expires_at,
    };
    let session = credential("s", CredentialKind::Session, 0, Some(at(100)));
    let old = credential("t1", CredentialKind::ApiToken, 1, None);
    let new = credential("t2", CredentialKind::ApiToken, 2, Some(at(200)));
    for each in [&session, &old, &new] {
        catalog.create_credential(each.clone()).await.unwrap();
    }
    let error = catalog.create_credential(credential("s", CredentialKind::Session, 3, None)).await.unwrap_err();
    assert!(matches!(error, CatalogError::Conflict(_)), "{error:?}");
    let stranger =
        Credential { account: event_schemas::AccountId::generate(), ..credential("x", session.kind, 0, None) };
    let error = catalog.create_credential(stranger).await.unwrap_err();
    assert!(matches!(error, CatalogError::NotFound(_)), "{error:?}");

    let catalog = backend.reopen(catalog).await;
    assert_eq!(catalog.credential("s", at(99)).await.unwrap(), Some(session.clone()));
    assert_eq!(catalog.credential("s", at(100)).await.unwrap(), None);
    assert_eq!(catalog.credential("t1", at(1_000_000)).await.unwrap(), Some(old.clone()));
    assert_eq!(catalog.api_tokens(alice.id).await.unwrap(), [new.clone(), old.clone()]);
    assert!(!catalog.delete_credential(bob.id, old.id).await.unwrap());
    assert!(catalog.delete_credential(alice.id, old.id).await.unwrap());
    assert!(!catalog.delete_credential(alice.id, old.id).await.unwrap());
    assert_eq!(catalog.delete_expired_credentials(at(200), 1).await.unwrap(), 1);
    assert_eq!(catalog.delete_expired_credentials(at(200), 1).await.unwrap(), 1);
    assert_eq!(catalog.delete_expired_credentials(at(200), 1).await.unwrap(), 0);
    assert_eq!(catalog.api_tokens(alice.id).await.unwrap(), []);
}

/// Whoever must be the first is so alone, also across two connections to the store.
pub async fn one_of_many_is_the_first(backend: &dyn Backend) {
    let catalogs = [backend.open().await, backend.open().await];
    let results = together(8, |number| {
        let catalog = Arc::clone(&catalogs[number % 2]);
        let new = NewAccount { must_be_first: true, is_admin: true, ..new_account(&format!("first-{number}")) };
        async move { catalog.create_account(new).await }
    })
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(error, CatalogError::WrongState(_)), "{error:?}");
    }
    assert_eq!(catalogs[0].count_accounts().await.unwrap(), 1);
}

/// Pages neither skip nor repeat, also among tokens of the same microsecond.
pub async fn tokens_page_exactly(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let alice = creator(&*catalog, "alice").await;
    let mut made = Vec::new();
    for number in 0..7 {
        let token = Credential {
            id: uuid::Uuid::new_v4(),
            secret_hash: format!("hash {number}"),
            account: alice.id,
            kind: CredentialKind::ApiToken,
            label: String::new(),
            created_at: at(number / 3),
            expires_at: None,
        };
        catalog.create_credential(token.clone()).await.unwrap();
        made.push(token);
    }
    made.sort_by_key(|token| std::cmp::Reverse((token.created_at, token.id)));
    for limit in [1, 2, 7] {
        let mut all: Vec<Credential> = Vec::new();
        loop {
            let after = all.last().map(|last| CredentialCursor { created_at: last.created_at, id: last.id });
            let page = catalog.api_tokens_page(alice.id, after, limit).await.unwrap();
            assert!(page.len() <= limit as usize);
            if page.is_empty() {
                break;
            }
            all.extend(page);
        }
        assert_eq!(all, made);
    }
    assert_eq!(catalog.api_tokens(alice.id).await.unwrap(), made);
}
