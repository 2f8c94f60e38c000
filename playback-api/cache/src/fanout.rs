//! Fan-out within one process: a broadcast channel for each name that somebody listens to.

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
pub(crate) const BACKLOG: usize = 64;

type Channels = Arc<Mutex<HashMap<String, broadcast::Sender<Bytes>>>>;

/// The channels that have listeners.
#[derive(Debug, Default)]
pub(crate) struct Fanout(Channels);

impl Fanout {
    pub(crate) fn publish(&self, channel: &str, message: Bytes) {
        if let Some(sender) = self.0.lock().get(channel) {
            // Without a receiver the message is for nobody.
            let _ = sender.send(message);
        }
    }

    pub(crate) fn subscribe(&self, channel: &str) -> Subscription {
        let mut channels = self.0.lock();
        let sender = channels.entry(channel.to_owned()).or_insert_with(|| broadcast::channel(BACKLOG).0);
        Subscription {
            messages: Some(BroadcastStream::new(sender.subscribe())),
            channel: channel.to_owned(),
            channels: Arc::clone(&self.0),
        }
    }

    pub(crate) fn channels(&self) -> usize {
        self.0.lock().len()
    }
}

impl Drop for Fanout {
    fn drop(&mut self) {
        // Subscriptions share the map: without its senders they end.
        self.0.lock().clear();
    }
}

/// One listener's messages. Dropping the last listener of a channel drops the channel.
pub(crate) struct Subscription {
    messages: Option<BroadcastStream<Bytes>>,
    channel: String,
    channels: Channels,
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
        let mut channels = self.channels.lock();
        drop(self.messages.take());
        if channels.get(&self.channel).is_some_and(|sender| sender.receiver_count() == 0) {
            channels.remove(&self.channel);
        }
    }
}
