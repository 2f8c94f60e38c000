//! One index in one directory: its commits, its searches, its vectors.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use event_schemas::{Partition, VideoId};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tantivy::{
    DocAddress, DocSet, Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, SegmentReader, TERMINATED,
    TantivyDocument, Term,
    collector::{
        Count, TopDocs,
        sort_key::{SortBySimilarityScore, SortByStaticFastValue},
    },
    columnar::Column,
    query::{Query, TermQuery},
    schema::IndexRecordOption,
};
use uuid::Uuid;

use super::{
    query::{similar_query, text_query},
    schema::{Fields, HIGH, ORDER, PUBLISHED, VECTORS, VERSION, facts, register, schema},
    vectors::{self, Tables},
};
use crate::{
    Applied, Change, DenseSpace, Hit, MAX_DEPTH, MAX_LIMIT, Position, Precedence, SearchError, SearchPage, SearchQuery,
    Window,
    document::latest,
    fusion::{DENSE_DEPTH, fuse},
    text::Sample,
};

/// Memory for documents that are not committed yet.
const WRITER_BYTES: usize = 32 << 20;

/// What each commit says besides its documents.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Payload {
    positions: BTreeMap<Partition, Position>,
    spaces: Vec<DenseSpace>,
}

/// An index.
pub(super) struct Generation {
    path: PathBuf,
    index: Index,
    reader: IndexReader,
    fields: Fields,
    spaces: Vec<DenseSpace>,
    tables: RwLock<Tables>,
    /// Absent after an error: the next batch makes a new one, which forgets what was uncommitted.
    writer: Mutex<Option<IndexWriter>>,
}

/// A found video with what orders it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Found {
    score: f32,
    tie: (i64, u64),
    video: VideoId,
}

impl Generation {
    /// A new, empty index in a new directory, durable when this returns.
    pub(super) fn create(
        path: &Path,
        spaces: Vec<DenseSpace>,
        positions: BTreeMap<Partition, Position>,
    ) -> Result<Self, SearchError> {
        fs::create_dir(path)?;
        let (schema, fields) = schema();
        let index = Index::create_in_dir(path, schema)?;
        let generation = Self::with(path, index, fields, spaces)?;
        if let Some(writer) = &mut *generation.writer.lock() {
            generation.commit_payload(writer, positions)?;
        }
        Ok(generation)
    }

    /// The index that is in `path`.
    pub(super) fn open(path: &Path) -> Result<Self, SearchError> {
        let (schema, fields) = schema();
        let index = Index::open_in_dir(path)?;
        if index.schema() != schema {
            return Err(SearchError::Damaged("its fields are not those of its format".into()));
        }
        let spaces = payload(&index)?.spaces;
        let generation = Self::with(path, index, fields, spaces)?;
        generation.load_vectors()?;
        Ok(generation)
    }

    fn with(path: &Path, index: Index, fields: Fields, spaces: Vec<DenseSpace>) -> Result<Self, SearchError> {
        register(&index);
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let writer = Mutex::new(Some(index.writer_with_num_threads(1, WRITER_BYTES)?));
        let tables = RwLock::new(Tables::new(&spaces));
        Ok(Self { path: path.to_owned(), index, reader, fields, spaces, tables, writer })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn spaces(&self) -> &[DenseSpace] {
        &self.spaces
    }

    pub(super) fn positions(&self) -> Result<BTreeMap<Partition, Position>, SearchError> {
        Ok(payload(&self.index)?.positions)
    }

    /// Lets go of the files and deletes them. Searches under way still end.
    pub(super) fn delete(&self) {
        *self.writer.lock() = None;
        if let Err(error) = fs::remove_dir_all(&self.path) {
            // The next opening tries again.
            tracing::warn!(%error, path = %self.path.display(), "an old search index was not deleted");
        }
    }

    /// Reads the vectors anew from what is committed.
    fn load_vectors(&self) -> Result<(), SearchError> {
        let mut tables = Tables::new(&self.spaces);
        if !self.spaces.is_empty() {
            let searcher = self.reader.searcher();
            for segment in searcher.segment_readers() {
                self.load_segment(segment, &mut tables)?;
            }
        }
        *self.tables.write() = tables;
        Ok(())
    }

    fn load_segment(&self, segment: &SegmentReader, tables: &mut Tables) -> Result<(), SearchError> {
        let damaged = || SearchError::Damaged("the vectors of a document".into());
        let ids = Ids::of(segment)?;
        let counts = segment.fast_fields().i64(VECTORS)?;
        let store = segment.get_store_reader(1).map_err(tantivy::TantivyError::from)?;
        for doc in segment.doc_ids_alive() {
            if !counts.first(doc).is_some_and(|count| (1..Precedence::REMOVED).contains(&count)) {
                continue;
            }
            let stored: TantivyDocument = store.get(doc)?;
            let values = self.fields.values_of(&stored).and_then(|bytes| vectors::decode(bytes, &self.spaces));
            let facts = self.fields.facts_of(&stored).ok_or_else(damaged)?;
            let video = ids.video(doc)?;
            for (place, values) in values.ok_or_else(damaged)? {
                tables.insert(place, video, facts, &values);
            }
        }
        Ok(())
    }

    pub(super) fn apply(
        &self,
        changes: Vec<Change>,
        position: Option<(Partition, Position)>,
    ) -> Result<Applied, SearchError> {
        let mut slot = self.writer.lock();
        let writer = match &mut *slot {
            Some(writer) => writer,
            empty => {
                let writer = self.index.writer_with_num_threads(1, WRITER_BYTES)?;
                // The batch that failed may have been committed: look at what is there.
                self.reader.reload()?;
                self.load_vectors()?;
                empty.insert(writer)
            }
        };
        let applied = self.commit(writer, changes, position);
        if applied.is_err() {
            *slot = None;
        }
        applied
    }

    fn commit(
        &self,
        writer: &mut IndexWriter,
        changes: Vec<Change>,
        position: Option<(Partition, Position)>,
    ) -> Result<Applied, SearchError> {
        let started = Instant::now();
        let held = |change: &Change| Precedence::of(change, |vector| self.spaces.contains(vector.space()));
        let (newest, mut stale) = latest(changes, held);
        let searcher = self.reader.searcher();
        let mut taken = Vec::with_capacity(newest.len());
        for (precedence, change) in newest {
            let term = self.fields.id_term(change.video_id());
            if self.precedence_of(&searcher, &term)?.is_some_and(|there| there >= precedence) {
                stale += 1;
                continue;
            }
            writer.delete_term(term);
            writer.add_document(self.fields.document(&change, precedence, &self.spaces))?;
            taken.push(change);
        }
        let mut positions = self.positions()?;
        let moved = position.is_some_and(|(partition, to)| {
            let ahead = positions.get(&partition).is_none_or(|at| (at.generation, at.next) < (to.generation, to.next));
            if ahead {
                positions.insert(partition, to);
            }
            ahead
        });
        if !taken.is_empty() || moved {
            self.commit_payload(writer, positions)?;
            self.follow(&taken);
        }
        let changed = taken.len();
        metrics::counter!("millrace_search_changes_total", "outcome" => "changed").increment(changed as u64);
        metrics::counter!("millrace_search_changes_total", "outcome" => "stale").increment(stale as u64);
        metrics::histogram!("millrace_search_apply_seconds").record(started.elapsed());
        Ok(Applied { changed, stale })
    }

    fn commit_payload(
        &self,
        writer: &mut IndexWriter,
        positions: BTreeMap<Partition, Position>,
    ) -> Result<(), SearchError> {
        let payload = Payload { positions, spaces: self.spaces.clone() };
        let payload = serde_json::to_string(&payload).map_err(|error| SearchError::Damaged(error.to_string()))?;
        let mut commit = writer.prepare_commit()?;
        commit.set_payload(&payload);
        commit.commit()?;
        self.reader.reload()?;
        Ok(())
    }

    /// Brings the vectors in memory to what was just committed.
    fn follow(&self, changes: &[Change]) {
        if self.spaces.is_empty() {
            return;
        }
        let mut tables = self.tables.write();
        for change in changes {
            tables.remove(change.video_id());
            let Change::Upsert(document) = change else { continue };
            for vector in &document.vectors {
                if let Some(place) = self.place_of(vector.space()) {
                    tables.insert(place, document.video_id, facts(document), vector.values());
                }
            }
        }
    }

    fn place_of(&self, space: &DenseSpace) -> Option<usize> {
        self.spaces.iter().position(|held| held == space)
    }

    /// The precedence of the one document that `term` finds.
    fn precedence_of(&self, searcher: &Searcher, term: &Term) -> Result<Option<Precedence>, SearchError> {
        let Some(at) = self.address_of(searcher, term)? else { return Ok(None) };
        let fast = searcher.segment_reader(at.segment_ord).fast_fields();
        let version = fast.i64(VERSION)?.first(at.doc_id);
        let vectors = fast.i64(VECTORS)?.first(at.doc_id);
        Ok(version.zip(vectors).map(|(version, vectors)| Precedence { version, vectors }))
    }

    fn address_of(&self, searcher: &Searcher, term: &Term) -> Result<Option<DocAddress>, SearchError> {
        for (segment_ord, segment) in searcher.segment_readers().iter().enumerate() {
            let postings = segment.inverted_index(term.field())?.read_postings(term, IndexRecordOption::Basic);
            let Some(mut postings) = postings? else { continue };
            let mut doc = postings.doc();
            while doc != TERMINATED {
                if segment.alive_bitset().is_none_or(|alive| alive.is_alive(doc)) {
                    let segment_ord = u32::try_from(segment_ord).unwrap_or(u32::MAX);
                    return Ok(Some(DocAddress::new(segment_ord, doc)));
                }
                doc = postings.advance();
            }
        }
        Ok(None)
    }

    pub(super) fn search(&self, query: &SearchQuery) -> Result<SearchPage, SearchError> {
        let started = Instant::now();
        let window = query.window()?;
        let words = text_query(&self.fields, &query.text, &query.filter);
        let meaning = query.vector.as_ref().and_then(|vector| Some((self.place_of(vector.space())?, vector.values())));
        let searcher = self.reader.searcher();
        let page = match (words, meaning) {
            (None, None) => SearchPage::default(),
            (Some(words), None) => {
                let (found, total) = self.top(&searcher, &*words, window)?;
                query.page(window, hits(&found), total, false)
            }
            (words, Some((place, values))) => {
                let all = Window { skip: 0, limit: MAX_DEPTH };
                let (lexical, lexical_total) =
                    words.map_or_else(|| Ok((Vec::new(), 0)), |words| self.top(&searcher, &*words, all))?;
                let near = self.tables.read().nearest(place, values, &query.filter, DENSE_DEPTH);
                let dense: Vec<Found> =
                    near.iter().map(|near| Found { score: near.cosine, tie: near.tie, video: near.video }).collect();
                let fused = fused(&lexical, &dense, query.fusion.weights());
                let total = fused.len().max(lexical_total);
                let slice: Vec<Found> = fused.into_iter().skip(window.skip).take(window.limit).collect();
                query.page(window, hits(&slice), total, true)
            }
        };
        metrics::histogram!("millrace_search_query_seconds").record(started.elapsed());
        Ok(page)
    }

    pub(super) fn similar(&self, video: VideoId, limit: usize) -> Result<Vec<Hit>, SearchError> {
        let searcher = self.reader.searcher();
        let term = self.fields.id_term(video);
        let Some(at) = self.address_of(&searcher, &term)? else { return Ok(Vec::new()) };
        let stored: TantivyDocument = searcher.doc(at)?;
        self.alike(&searcher, &self.fields.sample_of(&stored), Some(term), limit)
    }

    pub(super) fn similar_to_text(&self, text: &str, limit: usize) -> Result<Vec<Hit>, SearchError> {
        let sample = Sample { description: text.to_owned(), ..Sample::default() };
        self.alike(&self.reader.searcher(), &sample, None, limit)
    }

    fn alike(
        &self,
        searcher: &Searcher,
        sample: &Sample,
        except: Option<Term>,
        limit: usize,
    ) -> Result<Vec<Hit>, SearchError> {
        let Some(query) = similar_query(&self.fields, searcher, sample, except)? else { return Ok(Vec::new()) };
        let window = Window { skip: 0, limit: limit.clamp(1, MAX_LIMIT) };
        Ok(hits(&self.top(searcher, &*query, window)?.0))
    }

    pub(super) fn document_count(&self) -> Result<u64, SearchError> {
        let live = TermQuery::new(Term::from_field_bool(self.fields.live, true), IndexRecordOption::Basic);
        Ok(self.reader.searcher().search(&live, &Count)? as u64)
    }

    /// The part of the ranking in `window` and the number of all hits.
    fn top(&self, searcher: &Searcher, query: &dyn Query, window: Window) -> Result<(Vec<Found>, usize), SearchError> {
        let order = (
            SortBySimilarityScore,
            SortByStaticFastValue::<i64>::for_field(PUBLISHED),
            SortByStaticFastValue::<u64>::for_field(ORDER),
        );
        let top = TopDocs::with_limit(window.limit).and_offset(window.skip).order_by(order);
        let (top, total) = searcher.search(query, &(top, Count))?;
        let ids = searcher.segment_readers().iter().map(Ids::of).collect::<Result<Vec<_>, _>>()?;
        let mut found = Vec::with_capacity(top.len());
        for ((score, published, order), at) in top {
            let video = ids[at.segment_ord as usize].video(at.doc_id)?;
            found.push(Found { score, tie: (published.unwrap_or(0), order.unwrap_or(0)), video });
        }
        Ok((found, total))
    }
}

/// The videos' ids in a segment.
struct Ids {
    high: Column<u64>,
    low: Column<u64>,
}

impl Ids {
    fn of(segment: &SegmentReader) -> Result<Self, SearchError> {
        let fast = segment.fast_fields();
        Ok(Self { high: fast.u64(HIGH)?, low: fast.u64(ORDER)? })
    }

    fn video(&self, doc: u32) -> Result<VideoId, SearchError> {
        let id = self.high.first(doc).zip(self.low.first(doc));
        let (high, low) = id.ok_or_else(|| SearchError::Damaged("a document has no id".into()))?;
        Ok(VideoId::from_uuid(Uuid::from_u64_pair(high, low)))
    }
}

fn hits(found: &[Found]) -> Vec<Hit> {
    found.iter().map(|found| Hit { video: found.video, score: found.score }).collect()
}

/// One ranking from two.
fn fused(lexical: &[Found], dense: &[Found], weights: [f32; 2]) -> Vec<Found> {
    let ids = |list: &[Found]| list.iter().map(|found| found.video).collect::<Vec<_>>();
    let scores = fuse([&ids(lexical), &ids(dense)], weights);
    let mut seen = HashSet::new();
    let mut all: Vec<Found> = lexical
        .iter()
        .chain(dense)
        .filter(|found| seen.insert(found.video))
        .map(|found| Found { score: scores.get(&found.video).copied().unwrap_or(0.0), ..*found })
        .collect();
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then(Reverse(a.tie).cmp(&Reverse(b.tie))));
    all
}

fn payload(index: &Index) -> Result<Payload, SearchError> {
    let text = index.load_metas()?.payload.unwrap_or_default();
    serde_json::from_str(&text).map_err(|error| SearchError::Damaged(format!("its positions: {error}")))
}
