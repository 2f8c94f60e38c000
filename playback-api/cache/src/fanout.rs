//! Fan-out within one process: a broadcast channel for each name that somebody listens to.
//! Every back end hands what it hears to one of these.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// How many messages a listener may lag behind before it loses the oldest.
pub const BACKLOG: usize = 64;

struct Shared {
    channels: Mutex<HashMap<String, broadcast::Sender<Bytes>>>,
    deserted: Box<dyn Fn(&str) + Send + Sync>,
}

/// The channels that have listeners. Dropping it ends every [`Subscription`].
pub struct Fanout(Arc<Shared>);

impl Default for Fanout {
    fn default() -> Self {
        Self::new(|_| ())
    }
}

impl Fanout {
    /// No channels; `deserted` is told of each channel whose last listener has gone, while the
    /// channels are locked: it must not block nor call back.
    #[must_use]
    pub fn new(deserted: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { channels: Mutex::default(), deserted: Box::new(deserted) }))
    }

    /// Hands `message` to the present listeners of `channel`.
    pub fn publish(&self, channel: &str, message: Bytes) {
        if let Some(sender) = self.0.channels.lock().get(channel) {
            // Without a receiver the message is for nobody.
            let _ = sender.send(message);
        }
    }

    /// Hands `message` to every listener of every channel.
    pub fn publish_everywhere(&self, message: &Bytes) {
        for sender in self.0.channels.lock().values() {
            let _ = sender.send(message.clone());
        }
    }

    /// What is published on `channel` from now on.
    #[must_use]
    pub fn subscribe(&self, channel: &str) -> Subscription {
        let mut channels = self.0.channels.lock();
        let sender = channels.entry(channel.to_owned()).or_insert_with(|| broadcast::channel(BACKLOG).0);
        Subscription {
            messages: Some(BroadcastStream::new(sender.subscribe())),
            channel: channel.to_owned(),
            shared: Arc::clone(&self.0),
        }
    }

    /// Whether anyone listens on `channel`.
    #[must_use]
    pub fn has(&self, channel: &str) -> bool {
        self.0.channels.lock().contains_key(channel)
    }

    /// The channels that someone listens on.
    #[must_use]
    pub fn channels(&self) -> Vec<String> {
        self.0.channels.lock().keys().cloned().collect()
    }
}

impl Drop for Fanout {
    fn drop(&mut self) {
        // Subscriptions share the map: without its senders they end.
        self.0.channels.lock().clear();
    }
}

/// One listener's messages. Dropping the last listener of a channel drops the channel.
pub struct Subscription {
    messages: Option<BroadcastStream<Bytes>>,
    channel: String,
    shared: Arc<Shared>,
}

impl Stream for Subscription {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(messages) = &mut self.messages else { return Poll::Ready(None) };
        loop {
            match messages.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(message))) => return Poll::Ready(Some(message)),
                // Lagged: the oldest are gone, the next one is there at once.
                Poll::Ready(Some(Err(_))) => {}
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut channels = self.shared.channels.lock();
        drop(self.messages.take());
        if channels.get(&self.channel).is_some_and(|sender| sender.receiver_count() == 0) {
            channels.remove(&self.channel);
            (self.shared.deserted)(&self.channel);
        }
    }
}
