//! One collection of the server as an index.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use event_schemas::{Partition, Timestamp, VideoId};
use parking_lot::Mutex;
use qdrant_client::qdrant::{
    CollectionInfo, Condition, CountPoints, CreateFieldIndexCollection, GetPoints, PointStruct, PointsUpdateOperation,
    QueryBatchPoints, QueryPoints, RetrievedPoint, ScoredPoint, UpdateBatchPoints, UpdateMode, UpsertPoints,
    WithPayloadSelector,
    points_update_operation::{Operation, PointStructList},
};
use search_index::{
    Applied, Change, DenseSpace, DenseVector, Hit, MAX_DEPTH, MAX_LIMIT, Position, Precedence, SearchError, SearchPage,
    SearchQuery, Window, latest,
    text::{self, Sample},
    tie_order,
};
use tonic::Code;
use uuid::Uuid;

use crate::{
    encode::{self, Dimensions, Spelled},
    error::{code, from_server},
    requests::{self, Payload, integer_of, point_id, text_of},
    server::Server,
    shape, spelling,
};

/// Points in one request.
const CHUNK: usize = 256;
/// Words remembered as being there; beyond, all are forgotten.
const MOST_WORDS: usize = 500_000;
/// Tries to write a position that others write at the same time.
const TRIES: usize = 16;

/// A collection with what is known of it. Its name is never used for another one again.
pub(crate) struct Collection {
    server: Arc<Server>,
    name: String,
    spaces: Vec<DenseSpace>,
    /// Ids of words that are in the collection; they are never taken out.
    words: Mutex<HashSet<Uuid>>,
}

impl Collection {
    /// The collection that `info` describes. Payload indexes that it lacks are made, as after a
    /// crash in the middle of its making.
    pub(crate) async fn known(server: Arc<Server>, name: String, info: &CollectionInfo) -> Result<Self, SearchError> {
        let (spaces, lacking) = shape::read(info);
        let collection = Self { server, name, spaces, words: Mutex::default() };
        for (field, kind) in lacking {
            let request = CreateFieldIndexCollection {
                collection_name: collection.name.clone(),
                wait: Some(true),
                field_name: field.to_owned(),
                field_type: Some(kind as i32),
                ordering: Some(requests::in_order()),
                ..CreateFieldIndexCollection::default()
            };
            let client = &collection.server.client;
            collection.server.call("making a payload index", client.create_field_index(request)).await?;
        }
        Ok(collection)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn spaces(&self) -> &[DenseSpace] {
        &self.spaces
    }

    fn holds(&self, vector: &DenseVector) -> bool {
        self.spaces.contains(vector.space())
    }

    pub(crate) async fn apply(
        &self,
        changes: Vec<Change>,
        position: Option<(Partition, Position)>,
    ) -> Result<Applied, SearchError> {
        let started = Instant::now();
        let (newest, mut stale) = latest(changes, |change| Precedence::of(change, |vector| self.holds(vector)));
        let ids: Vec<Uuid> = newest.iter().map(|(_, change)| change.video_id().as_uuid()).collect();
        let there = self.precedences(&ids).await?;
        let mut taken: BTreeMap<Precedence, Vec<Change>> = BTreeMap::new();
        let mut changed = 0;
        for (precedence, change) in newest {
            if there.get(&change.video_id()).is_some_and(|there| *there >= precedence) {
                stale += 1;
            } else {
                changed += 1;
                taken.entry(precedence).or_default().push(change);
            }
        }
        // A word is there before a video is found by it, a position after all that it covers.
        self.add_words(taken.values().flatten()).await?;
        self.write(&taken).await?;
        if let Some((partition, to)) = position {
            self.move_to(partition, to).await?;
        }
        metrics::counter!("millrace_search_changes_total", "outcome" => "changed").increment(changed as u64);
        metrics::counter!("millrace_search_changes_total", "outcome" => "stale").increment(stale as u64);
        metrics::histogram!("millrace_search_apply_seconds").record(started.elapsed());
        Ok(Applied { changed, stale })
    }

    async fn precedences(&self, ids: &[Uuid]) -> Result<HashMap<VideoId, Precedence>, SearchError> {
        let mut there = HashMap::with_capacity(ids.len());
        for point in self.points(ids, vec!["version", "vectors"].into()).await? {
            let precedence = integer_of(&point.payload, "version").zip(integer_of(&point.payload, "vectors"));
            if let (Some(video), Some((version, vectors))) = (requests::video_of(point.id), precedence) {
                there.insert(video, Precedence { version, vectors });
            }
        }
        Ok(there)
    }

    async fn points(&self, ids: &[Uuid], with: WithPayloadSelector) -> Result<Vec<RetrievedPoint>, SearchError> {
        let mut points = Vec::with_capacity(ids.len());
        for ids in ids.chunks(CHUNK) {
            let request = GetPoints {
                collection_name: self.name.clone(),
                ids: ids.iter().copied().map(point_id).collect(),
                with_payload: Some(with.clone()),
                ..GetPoints::default()
            };
            points.extend(self.server.call("reading points", self.server.client.get_points(request)).await?.result);
        }
        Ok(points)
    }

    async fn add_words(&self, changes: impl Iterator<Item = &Change>) -> Result<(), SearchError> {
        let documents = changes.filter_map(|change| match change {
            Change::Upsert(document) => Some(document),
            Change::Remove { .. } => None,
        });
        let words: BTreeSet<String> = documents.flat_map(encode::words).filter(|w| spelling::can_be_meant(w)).collect();
        let new: Vec<(Uuid, String)> = {
            let known = self.words.lock();
            words.into_iter().map(|word| (shape::word_id(&word), word)).filter(|(id, _)| !known.contains(id)).collect()
        };
        for new in new.chunks(CHUNK) {
            let points = new.iter().map(|(_, word)| requests::word_point(word)).collect();
            self.upsert(points, None, UpdateMode::InsertOnly).await?;
            let mut known = self.words.lock();
            if known.len() > MOST_WORDS {
                known.clear();
            }
            known.extend(new.iter().map(|(id, _)| *id));
        }
        Ok(())
    }

    async fn upsert(
        &self,
        points: Vec<PointStruct>,
        update_filter: Option<qdrant_client::qdrant::Filter>,
        mode: UpdateMode,
    ) -> Result<(), SearchError> {
        let request = UpsertPoints {
            collection_name: self.name.clone(),
            wait: Some(true),
            points,
            ordering: Some(requests::in_order()),
            update_filter,
            update_mode: Some(mode as i32),
            ..UpsertPoints::default()
        };
        self.server.call("writing points", self.server.client.upsert_points(request)).await.map(drop)
    }

    /// Writes changes by precedence, each on the condition that it is the higher one when the
    /// server comes to it: another process may write at the same time.
    async fn write(&self, changes: &BTreeMap<Precedence, Vec<Change>>) -> Result<(), SearchError> {
        let mut operations = Vec::new();
        let mut points = 0;
        for (precedence, changes) in changes {
            for changes in changes.chunks(CHUNK) {
                if points + changes.len() > CHUNK {
                    self.send(std::mem::take(&mut operations)).await?;
                    points = 0;
                }
                points += changes.len();
                let list = PointStructList {
                    points: changes.iter().map(|c| requests::change_point(c, *precedence, &self.spaces)).collect(),
                    update_filter: Some(requests::older_than(*precedence)),
                    ..PointStructList::default()
                };
                operations.push(PointsUpdateOperation { operation: Some(Operation::Upsert(list)) });
            }
        }
        self.send(operations).await
    }

    async fn send(&self, operations: Vec<PointsUpdateOperation>) -> Result<(), SearchError> {
        if operations.is_empty() {
            return Ok(());
        }
        let request = UpdateBatchPoints {
            collection_name: self.name.clone(),
            wait: Some(true),
            operations,
            ordering: Some(requests::in_order()),
            ..UpdateBatchPoints::default()
        };
        self.server.call("writing videos", self.server.client.update_points_batch(request)).await.map(drop)
    }

    pub(crate) async fn position(&self, partition: Partition) -> Result<Option<Position>, SearchError> {
        let points = self.points(&[shape::position_id(partition)], true.into()).await?;
        let Some(point) = points.first() else { return Ok(None) };
        let damaged = || SearchError::Damaged(format!("{}: the position of partition {partition}", self.name));
        requests::position_of(&point.payload).map(Some).ok_or_else(damaged)
    }

    /// Every position that the collection holds of partitions below `partitions`.
    pub(crate) async fn positions(&self) -> Result<Vec<(Partition, Position)>, SearchError> {
        let ids: Vec<Uuid> = (0..MOST_PARTITIONS).map(|n| shape::position_id(Partition(n))).collect();
        let mut positions = Vec::new();
        for point in self.points(&ids, true.into()).await? {
            let partition = text_of(&point.payload, "partition").and_then(|text| text.parse().ok());
            if let (Some(partition), Some(position)) = (partition, requests::position_of(&point.payload)) {
                positions.push((Partition(partition), position));
            }
        }
        Ok(positions)
    }

    /// Moves a position on; never back, whoever writes at the same time.
    pub(crate) async fn move_to(&self, partition: Partition, to: Position) -> Result<(), SearchError> {
        let order = |position: Position| (position.generation, position.next);
        for _ in 0..TRIES {
            let point = vec![requests::position_point(partition, to)];
            match self.position(partition).await? {
                Some(at) if order(at) >= order(to) => return Ok(()),
                Some(at) => self.upsert(point, Some(requests::still_at(at)), UpdateMode::UpdateOnly).await?,
                None => self.upsert(point, None, UpdateMode::InsertOnly).await?,
            }
        }
        Err(SearchError::Unavailable(format!("{}: others keep writing the position of {partition}", self.name)))
    }

    pub(crate) async fn document_count(&self) -> Result<u64, SearchError> {
        let request = CountPoints {
            collection_name: self.name.clone(),
            filter: Some(requests::public()),
            exact: Some(true),
            ..CountPoints::default()
        };
        let response = self.server.call("counting", self.server.client.count(request)).await?;
        Ok(response.result.map_or(0, |result| result.count))
    }

    pub(crate) async fn search(&self, query: &SearchQuery) -> Result<SearchPage, SearchError> {
        let started = Instant::now();
        let window = query.window()?;
        let vector = query.vector.as_ref().filter(|vector| self.holds(vector));
        let words = text::wanted(&query.text);
        if words.is_empty() && vector.is_none() {
            return Ok(SearchPage::default());
        }
        let words = encode::query(&self.spelled(words).await?);
        let filter = requests::filter(&query.filter);
        let request = match vector {
            None => requests::lexical_search(&self.name, &words, filter, MAX_DEPTH),
            Some(vector) => requests::fused_search(&self.name, &words, vector, &filter, query.fusion.weights()),
        };
        let found = self.query(request).await?;
        let total = found.len();
        let hits = self.ordered(found, window).await?;
        metrics::histogram!("millrace_search_query_seconds").record(started.elapsed());
        Ok(query.page(window, hits, total, vector.is_some()))
    }

    async fn query(&self, request: QueryPoints) -> Result<Vec<Hit>, SearchError> {
        let found = self.server.call("searching", self.server.client.query(request)).await?.result;
        self.hits(found)
    }

    fn hits(&self, found: Vec<ScoredPoint>) -> Result<Vec<Hit>, SearchError> {
        let hit = |point: ScoredPoint| requests::video_of(point.id).map(|video| Hit { video, score: point.score });
        let hits: Option<Vec<Hit>> = found.into_iter().map(hit).collect();
        hits.ok_or_else(|| SearchError::Damaged(format!("{}: a point's id is no video's", self.name)))
    }

    /// The words of a search with what they may mean, looked up in one request.
    async fn spelled(&self, words: Vec<text::Wanted>) -> Result<Vec<Spelled>, SearchError> {
        let doubtful: Vec<&text::Wanted> = words.iter().filter(|word| word.typos > 0).collect();
        let mut found = HashMap::new();
        if !doubtful.is_empty() {
            let request = QueryBatchPoints {
                collection_name: self.name.clone(),
                query_points: doubtful.iter().map(|word| requests::spellings(&self.name, &word.word)).collect(),
                ..QueryBatchPoints::default()
            };
            let answer = self.server.call("looking words up", self.server.client.query_batch(request)).await?.result;
            for (wanted, answer) in doubtful.iter().zip(answer) {
                let word = |point: ScoredPoint| text_of(&point.payload, "word").map(str::to_owned);
                found.insert(wanted.word.clone(), answer.result.into_iter().filter_map(word).collect::<Vec<_>>());
            }
        }
        let spelled = words.into_iter().map(|wanted| {
            let near = found.remove(&wanted.word).unwrap_or_default();
            let known = near.contains(&wanted.word);
            let meant = near.into_iter().filter(|word| spelling::is_meant(&wanted, word)).collect();
            Spelled { wanted, known, meant }
        });
        Ok(spelled.collect())
    }

    /// The part of a ranking in `window`, equal scores in the order of the seam. The server knows
    /// no such order, so whatever may come to lie in the window by it is looked at.
    async fn ordered(&self, mut found: Vec<Hit>, window: Window) -> Result<Vec<Hit>, SearchError> {
        for hit in &mut found {
            hit.score = rounded(hit.score);
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.video.cmp(&a.video)));
        let (start, end) = (window.skip.min(found.len()), (window.skip + window.limit).min(found.len()));
        let Some((first, last)) = found.get(start).zip(end.checked_sub(1).and_then(|last| found.get(last))) else {
            return Ok(Vec::new());
        };
        let (highest, lowest) = (first.score, last.score);
        let from = found.partition_point(|hit| hit.score > highest);
        let to = found.partition_point(|hit| hit.score >= lowest);
        let Some(touched) = found.get_mut(from..to) else { return Ok(Vec::new()) };
        let tied = |n: usize| {
            let score = |n: usize| touched.get(n).map(|hit| hit.score);
            score(n) == score(n + 1) || (n > 0 && score(n) == score(n - 1))
        };
        let ids: Vec<Uuid> = (0..touched.len()).filter(|n| tied(*n)).map(|n| touched[n].video.as_uuid()).collect();
        let published = self.published(&ids).await?;
        let tie = |video: VideoId| tie_order(video, published.get(&video).copied());
        touched.sort_by(|a, b| {
            b.score.total_cmp(&a.score).then_with(|| Reverse(tie(a.video)).cmp(&Reverse(tie(b.video))))
        });
        Ok(found.drain(start..end).collect())
    }

    async fn published(&self, ids: &[Uuid]) -> Result<HashMap<VideoId, Timestamp>, SearchError> {
        let mut published = HashMap::with_capacity(ids.len());
        for point in self.points(ids, vec!["published_at"].into()).await? {
            let at = integer_of(&point.payload, "published_at").map(Timestamp::from_millis);
            published.extend(requests::video_of(point.id).zip(at));
        }
        Ok(published)
    }

    pub(crate) async fn similar(&self, video: VideoId, limit: usize) -> Result<Vec<Hit>, SearchError> {
        let with = vec!["visibility", "title", "description", "tags"].into();
        let points = self.points(&[video.as_uuid()], with).await?;
        let Some(payload) = points.first().map(|point| &point.payload) else { return Ok(Vec::new()) };
        if text_of(payload, "visibility") != Some(shape::PUBLIC) {
            return Ok(Vec::new());
        }
        self.like(&sample(payload), Some(video), limit).await
    }

    pub(crate) async fn similar_to_text(&self, text: &str, limit: usize) -> Result<Vec<Hit>, SearchError> {
        let sample = Sample { description: text.to_owned(), ..Sample::default() };
        self.like(&sample, None, limit).await
    }

    async fn like(&self, sample: &Sample, except: Option<VideoId>, limit: usize) -> Result<Vec<Hit>, SearchError> {
        let stems: Dimensions = encode::like(sample);
        if stems.is_empty() {
            return Ok(Vec::new());
        }
        let mut filter = requests::public();
        filter.must_not.extend(except.map(|video| Condition::has_id([point_id(video.as_uuid())])));
        let limit = limit.clamp(1, MAX_LIMIT);
        let found = self.query(requests::lexical_search(&self.name, &stems, filter, limit)).await?;
        self.ordered(found, Window { skip: 0, limit }).await
    }

    /// Whether the collection is still there and has no error to tell.
    pub(crate) async fn check(&self) -> Result<(), SearchError> {
        let client = &self.server.client;
        let shown = &self.server.address.shown;
        let info = match self.server.raw("its state", client.collection_info(&self.name)).await? {
            Ok(response) => response.result.unwrap_or_default(),
            Err(error) if code(&error) == Some(Code::NotFound) => {
                return Err(SearchError::Damaged(format!("Qdrant at {shown} lacks the collection {}", self.name)));
            }
            Err(error) => return Err(from_server(shown, "its state", error)),
        };
        match info.optimizer_status {
            Some(status) if !status.ok => {
                let (name, error) = (&self.name, status.error);
                Err(SearchError::Unavailable(format!("Qdrant at {shown} can't keep {name} in order: {error}")))
            }
            _ => Ok(()),
        }
    }
}

/// Partitions of the topic whose positions a rebuild looks for.
const MOST_PARTITIONS: u32 = 1_024;

fn sample(payload: &Payload) -> Sample {
    let text = |key| text_of(payload, key).unwrap_or_default().to_owned();
    Sample { title: text("title"), tags: requests::texts_of(payload, "tags"), description: text("description") }
}

/// Without the last few bits, in which the same score may differ by the order in which the server
/// summed it up.
fn rounded(score: f32) -> f32 {
    f32::from_bits(score.to_bits().saturating_add(1 << 4) & !((1 << 5) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_differ_by_rounding_are_equal() {
        let (a, b) = (0.1_f32 + 0.2 + 0.3, 0.3_f32 + 0.2 + 0.1);
        assert_eq!(rounded(a), rounded(b));
        assert_ne!(rounded(1.0 / 60.0), rounded(1.0 / 61.0));
        assert!((rounded(0.016_393_44) - 0.016_393_44).abs() < 1e-7);
        assert_eq!(rounded(0.0), 0.0);
    }
}
