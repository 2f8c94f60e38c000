//! The suites on the server in memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{
    agrees_with_the_embedded_index, conforms, conforms_for_those_who_repeat, fake::Fake, writers_at_the_same_time,
};

fn names(fake: &Fake) -> impl Fn() -> String {
    let (fake, number) = (fake.clone(), AtomicUsize::new(0));
    move || fake.url(&format!("index-{}", number.fetch_add(1, Ordering::Relaxed)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms() {
    conforms(names(&Fake::start().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms_for_those_who_repeat() {
    conforms_for_those_who_repeat(names(&Fake::start().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_agrees_with_the_embedded_index() {
    agrees_with_the_embedded_index(Fake::start().await.url("agreement")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_do_not_overwrite_each_other() {
    writers_at_the_same_time(Fake::start().await.url("contested")).await;
}
