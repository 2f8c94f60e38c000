//! Hears, over a connection of its own, that another process has committed outbox rows, and wakes the reader.
//! A hint only: what is not heard is found by the reader's polling.

use std::{convert::Infallible, io::ErrorKind, sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use super::postgres::Server;

/// What `sql/postgres/tell_outbox.sql` names.
const CHANNEL: &str = "millrace_outbox";
/// After so long without a word the connection is tried.
const QUIET: Duration = Duration::from_secs(30);
/// The shortest and the longest pause before connecting again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// The task that listens.
pub(super) struct Listener {
    options: PgConnectOptions,
    prepare: Arc<str>,
    wait: Duration,
    changed: Arc<Notify>,
    cancel: CancellationToken,
}

impl Listener {
    pub fn new(
        server: Server,
        prepare: String,
        wait: Duration,
        changed: Arc<Notify>,
        cancel: &CancellationToken,
    ) -> Self {
        Self { options: server.options().clone(), prepare: prepare.into(), wait, changed, cancel: cancel.clone() }
    }

    /// Listens until cancelled, connecting again for as long as it takes.
    pub async fn run(self) {
        let prepare = Arc::clone(&self.prepare);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.wait)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_connect(move |connection, _| {
                let prepare = Arc::clone(&prepare);
                Box::pin(async move {
                    sqlx::raw_sql(sqlx::AssertSqlSafe(prepare)).execute(connection).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(self.options.clone());
        let cancel = self.cancel.clone();
        let _ = cancel.run_until_cancelled(self.keep_hearing(&pool)).await;
        pool.close().await;
    }

    async fn keep_hearing(&self, pool: &PgPool) {
        let mut pauses = delays();
        let mut is_failing = false;
        loop {
            let heard = self.hear(pool, || {
                if std::mem::take(&mut is_failing) {
                    tracing::info!("the catalog hears of other processes' outbox rows again");
                }
                pauses = delays();
            });
            let Err(error) = heard.await;
            if !std::mem::replace(&mut is_failing, true) {
                tracing::warn!(%error, "the catalog can't listen to PostgreSQL; outbox rows are found by polling");
            }
            tokio::time::sleep(pauses.next().unwrap_or(PAUSES.1)).await;
        }
    }

    /// Listens until the connection is lost for good; `connected` is called once it stands.
    async fn hear(&self, pool: &PgPool, mut connected: impl FnMut()) -> Result<Infallible, sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.ignore_pool_close_event(true);
        listener.listen(CHANNEL).await?;
        connected();
        loop {
            // At first too: what was told before was not heard.
            self.changed.notify_one();
            loop {
                match timeout(QUIET, listener.try_recv()).await {
                    // A notification, or none: then the connection was lost and made again.
                    Ok(heard) => {
                        heard?;
                        break;
                    }
                    Err(_) => {
                        let silent = |_| sqlx::Error::Io(ErrorKind::TimedOut.into());
                        timeout(self.wait, sqlx::query("SELECT 1").execute(&mut listener)).await.map_err(silent)??;
                    }
                }
            }
        }
    }
}

fn delays() -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(PAUSES.0)
        .with_max_delay(PAUSES.1)
        .with_jitter()
        .without_max_times()
        .build()
}
