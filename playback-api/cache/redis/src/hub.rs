//! Listening: one connection of this process hears all channels that anyone in it listens to and
//! hands each message to all of them.
//!
//! A channel is subscribed when the first listener comes and given up when the last one goes.
//! When the connection breaks all channels are subscribed again on the next one, and every
//! listener gets an empty message, since it may have missed some.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use redis::{
    Client, Msg, RedisError,
    aio::{PubSub, PubSubSink},
};
use serving_store::{
    ServingError,
    fanout::{Fanout, Subscription},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{OpenError, Place},
    keys::Keys,
    link::{CONNECT, waits},
};

/// How often the server must show that it is there.
const PING: Duration = Duration::from_secs(5);

/// How many requests are taken together.
const BATCH: usize = 512;

/// Who waits for a channel.
type Waiting = Vec<oneshot::Sender<Result<(), String>>>;

enum Request {
    Join(String, oneshot::Sender<Result<(), String>>),
    /// The last listener went.
    Leave(String),
}

pub(crate) struct Hub {
    fanout: Arc<Fanout>,
    requests: mpsc::UnboundedSender<Request>,
    call_timeout: Duration,
}

impl Hub {
    /// Connects, and goes on connecting whenever the connection breaks, until `cancel`.
    pub(crate) async fn open(
        client: Client,
        place: Place,
        keys: Keys,
        call_timeout: Duration,
        cancel: CancellationToken,
    ) -> Result<Self, OpenError> {
        let (requests, inbox) = mpsc::unbounded_channel();
        let leaves = requests.clone();
        let fanout = Arc::new(Fanout::new(move |channel| {
            // Nobody receives: the store is closed.
            let _ = leaves.send(Request::Leave(channel.to_owned()));
        }));
        let mut ear = Ear { client, place, keys, fanout: Arc::clone(&fanout), inbox, call_timeout };
        let first = ear.connect().await?;
        tokio::spawn(async move { cancel.run_until_cancelled(ear.listen(first)).await });
        Ok(Self { fanout, requests, call_timeout })
    }

    pub(crate) async fn subscribe(&self, channel: &str) -> Result<Subscription, ServingError> {
        let unavailable = |why: &str| ServingError::Unavailable(why.to_owned());
        // First here, so that nothing is missed between the server's word and ours.
        let subscription = self.fanout.subscribe(channel);
        let (done, joined) = oneshot::channel();
        self.requests.send(Request::Join(channel.to_owned(), done)).map_err(|_| unavailable("the store is closed"))?;
        match timeout(self.call_timeout, joined).await {
            Ok(Ok(Ok(()))) => Ok(subscription),
            Ok(Ok(Err(why))) => Err(unavailable(&why)),
            Ok(Err(_)) => Err(unavailable("the connection broke")),
            Err(_) => Err(unavailable(&format!("it did not subscribe within {:?}", self.call_timeout))),
        }
    }
}

/// The task behind a [`Hub`].
struct Ear {
    client: Client,
    place: Place,
    keys: Keys,
    fanout: Arc<Fanout>,
    inbox: mpsc::UnboundedReceiver<Request>,
    call_timeout: Duration,
}

impl Ear {
    async fn connect(&self) -> Result<PubSub, OpenError> {
        let probe = self.keys.channel("probe");
        let connecting = async {
            let mut connection = self.client.get_async_pubsub().await?;
            // Shows at once if the user may not listen.
            connection.subscribe(&probe).await?;
            connection.unsubscribe(&probe).await?;
            Ok(connection)
        };
        match timeout(CONNECT, connecting).await {
            Ok(connected) => connected.map_err(|error| self.place.explain(error)),
            Err(_) => Err(OpenError::Silent { server: self.place.server.clone(), millis: CONNECT.as_millis() }),
        }
    }

    /// Serves one connection after the other, for ever.
    async fn listen(&mut self, mut connection: PubSub) {
        let mut again = false;
        loop {
            let mut why = self.serve(connection, again).await;
            again = true;
            let mut waits = waits();
            connection = loop {
                tracing::debug!(%why, "not listening to Redis; connecting again");
                self.refuse_for(waits.next().unwrap_or(CONNECT), &why).await;
                match self.connect().await {
                    Ok(next) => break next,
                    Err(error) => why = error.to_string(),
                }
            };
        }
    }

    /// Answers those who come while there is no connection.
    async fn refuse_for(&mut self, span: Duration, why: &str) {
        let rest = sleep(span);
        tokio::pin!(rest);
        loop {
            tokio::select! {
                () = &mut rest => return,
                Some(request) = self.inbox.recv() => if let Request::Join(_, done) = request {
                    let _ = done.send(Err(why.to_owned()));
                },
            }
        }
    }

    /// Hands messages on until the connection breaks; answers why it did.
    async fn serve(&mut self, connection: PubSub, again: bool) -> String {
        let (mut sink, mut messages) = connection.split();
        let there = self.fanout.channels();
        let mut subscribed: HashSet<String> = there.iter().cloned().collect();
        for channels in there.chunks(BATCH) {
            let names: Vec<String> = channels.iter().map(|channel| self.keys.channel(channel)).collect();
            match timeout(self.call_timeout, sink.subscribe(&names)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return "no answer to SUBSCRIBE".to_owned(),
            }
        }
        if again {
            self.fanout.publish_everywhere(&Bytes::new());
        }
        // The one request to the server that is under way, and whom to tell of its end.
        let mut asked: Option<BoxFuture<'static, Result<Waiting, String>>> = None;
        let mut requests = Vec::with_capacity(BATCH);
        let mut pings = interval(PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => self.hand_on(&message),
                    None => return "the server closed the connection".to_owned(),
                },
                done = async { Some(asked.as_mut()?.await) }, if asked.is_some() => {
                    asked = None;
                    match done {
                        Some(Ok(waiting)) => tell(waiting),
                        Some(Err(why)) => return why,
                        None => {}
                    }
                }
                _ = self.inbox.recv_many(&mut requests, BATCH), if asked.is_none() => {
                    let changes = self.changes(&mut requests, &mut subscribed);
                    asked = Some(ask(sink.clone(), changes, self.call_timeout));
                }
                _ = pings.tick(), if asked.is_none() => {
                    let sink = sink.clone();
                    asked = Some(ping(sink, self.call_timeout));
                }
            }
        }
    }

    fn hand_on(&self, message: &Msg) {
        if let Some(channel) = self.keys.channel_of(message.get_channel_name()) {
            self.fanout.publish(channel, Bytes::copy_from_slice(message.get_payload_bytes()));
        }
    }

    /// What must be asked of the server so that it sends what `requests` want.
    fn changes(&self, requests: &mut Vec<Request>, subscribed: &mut HashSet<String>) -> Changes {
        let mut wanted: HashMap<String, Waiting> = HashMap::new();
        let mut left = HashSet::new();
        for request in requests.drain(..) {
            match request {
                Request::Join(channel, done) => wanted.entry(channel).or_default().push(done),
                Request::Leave(channel) => drop(left.insert(channel)),
            }
        }
        let mut changes = Changes { leave: Vec::new(), join: Vec::new(), waiting: Vec::new() };
        for channel in left {
            // Somebody may have come since; then it stays as it is.
            if !wanted.contains_key(&channel) && !self.fanout.has(&channel) && subscribed.remove(&channel) {
                changes.leave.push(self.keys.channel(&channel));
            }
        }
        for (channel, waiting) in wanted {
            changes.waiting.extend(waiting);
            if !subscribed.contains(&channel) {
                changes.join.push(self.keys.channel(&channel));
                subscribed.insert(channel);
            }
        }
        changes
    }
}

struct Changes {
    leave: Vec<String>,
    join: Vec<String>,
    waiting: Waiting,
}

fn tell(waiting: Waiting) {
    for done in waiting {
        // Who does not wait any more has dropped its subscription, which says so by itself.
        let _ = done.send(Ok(()));
    }
}

fn ask(mut sink: PubSubSink, changes: Changes, limit: Duration) -> BoxFuture<'static, Result<Waiting, String>> {
    let asking = async move {
        if !changes.leave.is_empty() {
            sink.unsubscribe(&changes.leave).await?;
        }
        if !changes.join.is_empty() {
            sink.subscribe(&changes.join).await?;
        }
        Ok::<_, RedisError>(changes.waiting)
    };
    bounded(asking, limit).boxed()
}

fn ping(mut sink: PubSubSink, limit: Duration) -> BoxFuture<'static, Result<Waiting, String>> {
    bounded(async move { sink.ping::<redis::Value>().await.map(|_| Waiting::new()) }, limit).boxed()
}

async fn bounded<T>(asking: impl Future<Output = Result<T, RedisError>>, limit: Duration) -> Result<T, String> {
    match timeout(limit, asking).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {limit:?}")),
    }
}
