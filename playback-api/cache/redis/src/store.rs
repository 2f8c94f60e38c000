//! The serving store on Redis.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use event_schemas::{Millis, OffsetVector};
use futures::{StreamExt, stream::BoxStream};
use redis::{RedisError, Value};
use serving_store::{
    CACHED_VALUE_LIMIT, Cached, LeaseToken, Quota, Ranked, RateDecision, ServingError, ServingStore, Stored, Versioned,
    counted, counted_decision,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    Options,
    address::client,
    error::{OpenError, Place},
    hub::Hub,
    keys::{Keys, REBUILT, SHARDS},
    link::Link,
    offsets,
    scripts::Scripts,
};

/// How many commands go to the server together.
const BATCH: usize = 512;

/// How many members of a ranking go to the server in one command.
const MEMBERS: usize = 2048;

/// How long a ranking may take to be written, in milliseconds.
const STAGED_MILLIS: i64 = 60_000;

/// A rate limit's time is cut to a hundred years, which keeps every number within 53 bits.
const LONGEST: Millis = Millis::from_days(36_500);

/// A serving store that all processes with the same address and prefix share.
pub struct RedisStore {
    link: Link,
    hub: Hub,
    keys: Keys,
    scripts: Scripts,
    buckets: u32,
    place: Place,
    _stop: DropGuard,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore").field("place", &self.place).finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Connects to `url` and looks whether the server will do. From then on it reconnects by
    /// itself; its tasks end when it is dropped.
    ///
    /// # Errors
    /// What is wrong and what to do about it, without the password.
    pub async fn open(url: &str, options: &Options) -> Result<Arc<Self>, OpenError> {
        let (client, database) = client(url, options)?;
        let keys = Keys::new(&options.prefix, database).ok_or_else(|| OpenError::Prefix(options.prefix.clone()))?;
        let server = client.get_connection_info().addr().to_string();
        let place = Place { server, database, prefix: options.prefix.clone() };
        let call_timeout = options.call_timeout.to_duration();
        let cancel = CancellationToken::new();
        let stop = cancel.clone().drop_guard();
        let link = Link::open(client.clone(), place.clone(), call_timeout, cancel.clone()).await?;
        let hub = Hub::open(client, place.clone(), keys.clone(), call_timeout, cancel).await?;
        let (scripts, buckets) = (Scripts::default(), (options.rate_buckets / SHARDS).max(1));
        let store = Self { link, hub, keys, scripts, buckets, place, _stop: stop };
        store.probe().await?;
        Ok(Arc::new(store))
    }

    /// Resolves when there is a connection: at once while all is well, else when it has healed.
    pub async fn connected(&self) {
        self.link.connected().await;
    }

    /// Writes, runs a script and publishes, so that a missing permission shows at the start.
    async fn probe(&self) -> Result<(), OpenError> {
        let (key, holder) = (format!("probe/{}", LeaseToken::generate()), LeaseToken::generate());
        let probing = async {
            self.try_lease(&key, holder, Millis(1000)).await?;
            self.release(&key, holder).await?;
            self.cache_get(&key).await?;
            self.take("probe", Quota { burst: 1, per: Millis(1) }).await?;
            self.publish("probe", Bytes::new()).await
        };
        probing.await.map_err(|error| match error {
            ServingError::Failed { source, .. } => match source.downcast::<RedisError>() {
                Ok(source) => self.place.explain(*source),
                Err(other) => self.silent(&*other),
            },
            other => self.silent(&other),
        })
    }

    fn silent(&self, error: &dyn std::error::Error) -> OpenError {
        let source = RedisError::from(std::io::Error::other(error.to_string()));
        OpenError::Unreachable { server: self.place.server.clone(), source }
    }

    /// Writes a ranking where nobody reads it.
    async fn stage(&self, key: &str, offsets: &str, entries: &[(String, f64)]) -> Result<(), ServingError> {
        let mut head = redis::pipe();
        head.cmd("ZADD").arg(key).arg("-inf").arg(format!("#{offsets}"));
        head.cmd("PEXPIRE").arg(key).arg(STAGED_MILLIS);
        self.link.call("stage a ranking", async |mut link| head.exec_async(&mut link).await).await?;
        for members in entries.chunks(MEMBERS) {
            let mut add = redis::cmd("ZADD");
            add.arg(key);
            for (member, score) in members {
                // Falling scores and rising members are one direction once scores are negated.
                add.arg(0.0 - score).arg(format!("={member}"));
            }
            self.link.call("stage a ranking", async |mut link| add.exec_async(&mut link).await).await?;
        }
        Ok(())
    }

    /// Forgets all keys that begin with `beginning`.
    async fn forget(&self, beginning: &str) -> Result<u64, ServingError> {
        let (mut cursor, mut forgotten) = (0_u64, 0);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{beginning}*")).arg("COUNT").arg(BATCH);
            let (next, found): (u64, Vec<Vec<u8>>) =
                self.link.call("list keys", async |mut link| scan.query_async(&mut link).await).await?;
            // The prefix has no character of a pattern; a second look costs nothing.
            let ours: Vec<_> = found.into_iter().filter(|key| key.starts_with(beginning.as_bytes())).collect();
            if !ours.is_empty() {
                let mut unlink = redis::cmd("UNLINK");
                unlink.arg(&ours);
                let gone: u64 =
                    self.link.call("forget keys", async |mut link| unlink.query_async(&mut link).await).await?;
                forgotten += gone;
            }
            if next == 0 {
                return Ok(forgotten);
            }
            cursor = next;
        }
    }
}

/// An error at `key` that says that something else is kept there.
fn at(key: &str, error: ServingError) -> ServingError {
    match &error {
        ServingError::Failed { source, .. } if source.to_string().contains("WRONGTYPE") => {
            ServingError::Foreign { key: key.to_owned(), found: "another type of value".to_owned() }
        }
        _ => error,
    }
}

fn foreign(key: &str, found: &str) -> ServingError {
    ServingError::Foreign { key: key.to_owned(), found: found.to_owned() }
}

fn stored(replaced: bool) -> Stored {
    counted(if replaced { Stored::Replaced } else { Stored::Stale })
}

fn versioned(key: &str, found: (Option<Vec<u8>>, Option<String>)) -> Result<Option<Versioned>, ServingError> {
    match found {
        (None, None) => Ok(None),
        (Some(value), Some(text)) => match offsets::from_text(&text) {
            Some(offsets) => Ok(Some(Versioned { value: value.into(), offsets })),
            None => Err(foreign(key, "offsets that can't be read")),
        },
        _ => Err(foreign(key, "half a value")),
    }
}

#[async_trait]
impl ServingStore for RedisStore {
    async fn put(&self, key: &str, value: Bytes, offsets: OffsetVector) -> Result<Stored, ServingError> {
        let key = self.keys.value(key);
        let mut call = self.scripts.put.key(&key);
        call.arg(offsets::to_text(&offsets)).arg(value.as_ref());
        let done = self.link.call("write a value", async |mut link| call.invoke_async(&mut link).await).await;
        done.map(stored).map_err(|error| at(&key, error))
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, ServingError> {
        let mut values = Vec::with_capacity(keys.len());
        for keys in keys.chunks(BATCH) {
            let keys: Vec<String> = keys.iter().map(|key| self.keys.value(key)).collect();
            let mut all = redis::pipe();
            for key in &keys {
                all.cmd("HMGET").arg(key).arg("v").arg("o");
            }
            let found: Vec<(Option<Vec<u8>>, Option<String>)> = self
                .link
                .call("read values", async |mut link| all.query_async(&mut link).await)
                .await
                .map_err(|error| at(&keys.join(", "), error))?;
            for (key, found) in keys.iter().zip(found) {
                values.push(versioned(key, found)?);
            }
        }
        Ok(values)
    }

    async fn delete(&self, key: &str) -> Result<(), ServingError> {
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(self.keys.value(key));
        self.link.call("forget a value", async |mut link| unlink.exec_async(&mut link).await).await
    }

    async fn rank_replace(
        &self,
        ranking: &str,
        entries: Vec<(String, f64)>,
        offsets: OffsetVector,
    ) -> Result<Stored, ServingError> {
        if let Some((member, _)) = entries.iter().find(|(_, score)| score.is_nan()) {
            return Err(ServingError::NotANumber { ranking: ranking.to_owned(), member: member.clone() });
        }
        let scores: HashMap<String, f64> = entries.into_iter().collect();
        let entries: Vec<(String, f64)> = scores.into_iter().collect();
        let (key, staged, offsets) =
            (self.keys.ranking(ranking), self.keys.staged(ranking), offsets::to_text(&offsets));
        self.stage(&staged, &offsets, &entries).await?;
        let mut call = self.scripts.replace.key(&key);
        call.key(&staged).arg(&offsets).arg(entries.len() + 1);
        let done: i64 = self
            .link
            .call("replace a ranking", async |mut link| call.invoke_async(&mut link).await)
            .await
            .map_err(|error| at(&key, error))?;
        match done {
            -1 => Err(ServingError::Unavailable("it dropped a ranking that was being written".to_owned())),
            done => Ok(stored(done == 1)),
        }
    }

    async fn rank_top(&self, ranking: &str, skip: usize, limit: usize) -> Result<Vec<Ranked>, ServingError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let key = self.keys.ranking(ranking);
        // The offsets come first.
        let first = i64::try_from(skip).unwrap_or(i64::MAX).saturating_add(1);
        let last = first.saturating_add(i64::try_from(limit - 1).unwrap_or(i64::MAX));
        let mut range = redis::cmd("ZRANGE");
        range.arg(&key).arg(first).arg(last).arg("WITHSCORES");
        let found: Vec<(String, f64)> = self
            .link
            .call("read a ranking", async |mut link| range.query_async(&mut link).await)
            .await
            .map_err(|error| at(&key, error))?;
        let member = |member: String| member.strip_prefix('=').map(str::to_owned);
        found
            .into_iter()
            .map(|(text, score)| match member(text) {
                Some(member) => Ok(Ranked { member, score: 0.0 - score }),
                None => Err(foreign(&key, "a member that nobody ranked")),
            })
            .collect()
    }

    async fn rank_remove(&self, ranking: &str, member: &str) -> Result<(), ServingError> {
        let key = self.keys.ranking(ranking);
        let mut remove = redis::cmd("ZREM");
        remove.arg(&key).arg(format!("={member}"));
        let done = self.link.call("take out of a ranking", async |mut link| remove.exec_async(&mut link).await).await;
        done.map_err(|error| at(&key, error))
    }

    async fn take(&self, bucket: &str, quota: Quota) -> Result<RateDecision, ServingError> {
        let burst = quota.burst.max(1);
        let micros = quota.per.0.clamp(1, LONGEST.0) * 1000;
        let mut call = self.scripts.take.key(self.keys.limits(bucket, quota));
        call.arg(bucket).arg((micros / i64::from(burst)).max(1)).arg(burst).arg(self.buckets);
        let wait: i64 =
            self.link.call("decide a rate limit", async |mut link| call.invoke_async(&mut link).await).await?;
        Ok(counted_decision(match wait {
            0 => RateDecision::Allowed,
            wait => RateDecision::Denied { retry_after: Millis(wait) },
        }))
    }

    async fn publish(&self, channel: &str, message: Bytes) -> Result<(), ServingError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.keys.channel(channel)).arg(message.as_ref());
        self.link.call("publish", async |mut link| publish.exec_async(&mut link).await).await
    }

    async fn subscribe(&self, channel: &str) -> Result<BoxStream<'static, Bytes>, ServingError> {
        Ok(self.hub.subscribe(channel).await?.boxed())
    }

    async fn cache_put(&self, key: &str, value: Bytes, ttl: Millis) -> Result<(), ServingError> {
        if value.len() > CACHED_VALUE_LIMIT || ttl.0 < 1 {
            return Ok(());
        }
        let mut set = redis::cmd("SET");
        set.arg(self.keys.cached(key)).arg(value.as_ref()).arg("PX").arg(ttl.0.min(LONGEST.0));
        self.link.call("keep a cached value", async |mut link| set.exec_async(&mut link).await).await
    }

    async fn cache_get(&self, key: &str) -> Result<Option<Cached>, ServingError> {
        let key = self.keys.cached(key);
        let mut read = redis::pipe();
        read.atomic().cmd("GET").arg(&key).cmd("PTTL").arg(&key);
        let found: (Option<Vec<u8>>, i64) = self
            .link
            .call("read a cached value", async |mut link| read.query_async(&mut link).await)
            .await
            .map_err(|error| at(&key, error))?;
        // Redis rounds down, and what it still has is not over.
        Ok(found.0.map(|value| Cached { value: value.into(), expires_in: Millis(found.1.max(1)) }))
    }

    async fn try_lease(&self, key: &str, holder: LeaseToken, ttl: Millis) -> Result<bool, ServingError> {
        let mut call = self.scripts.lease.key(self.keys.lease(key));
        call.arg(holder.to_string()).arg(ttl.0.clamp(1, LONGEST.0));
        self.link.call("take a lease", async |mut link| call.invoke_async(&mut link).await).await
    }

    async fn release(&self, key: &str, holder: LeaseToken) -> Result<(), ServingError> {
        let mut call = self.scripts.release.key(self.keys.lease(key));
        call.arg(holder.to_string());
        self.link.call("give a lease back", async |mut link| call.invoke_async::<Value>(&mut link).await).await?;
        Ok(())
    }

    async fn clear(&self) -> Result<u64, ServingError> {
        let mut forgotten = 0;
        for kind in REBUILT {
            forgotten += self.forget(&self.keys.kind(kind)).await?;
        }
        Ok(forgotten)
    }

    async fn check(&self) -> Result<(), ServingError> {
        let ping = redis::cmd("PING");
        self.link.call("answer", async |mut link| ping.exec_async(&mut link).await).await
    }
}
