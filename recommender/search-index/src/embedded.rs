//! The index on one machine's disk, kept by tantivy.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use async_trait::async_trait;
use event_schemas::{Partition, VideoId};
use parking_lot::Mutex;
use tantivy::{
    DocAddress, DocSet, Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, TERMINATED, TantivyDocument, Term,
    collector::{
        Count, TopDocs,
        sort_key::{SortBySimilarityScore, SortByStaticFastValue},
    },
    query::{Query, TermQuery},
    schema::{IndexRecordOption, Value},
};

use crate::{
    Applied, Change, Cursor, Hit, MAX_DEPTH, MAX_LIMIT, MAX_QUERY_CHARS, Position, SearchError, SearchIndex,
    SearchPage, SearchQuery,
    query::{Sample, similar_query, text_query},
    schema::{FORMAT, Fields, ORDER, PUBLISHED, VERSION, register, schema},
};

/// Memory for documents that are not committed yet.
const WRITER_BYTES: usize = 32 << 20;

/// What was found at opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The index of an earlier run, with its positions.
    Existing,
    /// An empty index without positions: the caller fills it from the start of the log.
    Fresh {
        /// Why what was there could not be used; none if nothing was there.
        instead_of: Option<String>,
    },
}

/// A [`SearchIndex`] in one directory, used by one process.
pub struct EmbeddedIndex {
    inner: Arc<Inner>,
}

struct Inner {
    index: Index,
    reader: IndexReader,
    fields: Fields,
    /// Absent after an error: the next batch makes a new one, which forgets what was uncommitted.
    writer: Mutex<Option<IndexWriter>>,
}

impl EmbeddedIndex {
    /// Opens the index in `directory`, or makes it. An index of another format, or one that is
    /// damaged, is replaced by an empty one: the log has what it held.
    ///
    /// # Errors
    /// A failing disk; another process uses the index.
    pub async fn open(directory: impl Into<PathBuf>) -> Result<(Self, Opened), SearchError> {
        let directory = directory.into();
        let (inner, opened) = blocking(move || open(&directory)).await?;
        if let Opened::Fresh { instead_of: Some(reason) } = &opened {
            tracing::warn!(reason, "the search index is built anew");
        }
        Ok((Self { inner: Arc::new(inner) }, opened))
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, SearchError> + Send + 'static,
    ) -> Result<T, SearchError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || work(&inner)).await
    }
}

impl std::fmt::Debug for EmbeddedIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedIndex").finish_non_exhaustive()
    }
}

/// Runs `work` where it may block. It goes on if the future is dropped.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SearchError> + Send + 'static,
) -> Result<T, SearchError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| SearchError::Unavailable(error.to_string()))?
}

fn open(directory: &Path) -> Result<(Inner, Opened), SearchError> {
    let current = directory.join(format!("v{FORMAT}"));
    fs::create_dir_all(directory)?;
    let mut instead_of = None;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path != current {
            instead_of = Some(format!("{} is of another format", path.display()));
            if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
        }
    }
    if current.join("meta.json").exists() {
        match open_existing(&current) {
            Ok(inner) => return Ok((inner, Opened::Existing)),
            Err(SearchError::Damaged(reason)) => instead_of = Some(reason),
            Err(error) => return Err(error),
        }
    }
    if current.exists() {
        fs::remove_dir_all(&current)?;
    }
    fs::create_dir(&current)?;
    let (schema, fields) = schema();
    let inner = Inner::new(Index::create_in_dir(&current, schema)?, fields)?;
    Ok((inner, Opened::Fresh { instead_of }))
}

fn open_existing(directory: &Path) -> Result<Inner, SearchError> {
    let (schema, fields) = schema();
    let index = Index::open_in_dir(directory)?;
    if index.schema() != schema {
        return Err(SearchError::Damaged("its fields are not those of its format".into()));
    }
    positions(&index)?;
    Inner::new(index, fields)
}

/// The positions in the last commit.
fn positions(index: &Index) -> Result<BTreeMap<Partition, Position>, SearchError> {
    match index.load_metas()?.payload {
        None => Ok(BTreeMap::new()),
        Some(payload) => {
            serde_json::from_str(&payload).map_err(|error| SearchError::Damaged(format!("its positions: {error}")))
        }
    }
}

impl Inner {
    fn new(index: Index, fields: Fields) -> Result<Self, SearchError> {
        register(&index);
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let writer = index.writer_with_num_threads(1, WRITER_BYTES)?;
        Ok(Self { index, reader, fields, writer: Mutex::new(Some(writer)) })
    }

    fn apply(&self, changes: Vec<Change>, position: Option<(Partition, Position)>) -> Result<Applied, SearchError> {
        let mut slot = self.writer.lock();
        let writer = match &mut *slot {
            Some(writer) => writer,
            empty => {
                let writer = self.index.writer_with_num_threads(1, WRITER_BYTES)?;
                // The batch that failed may have been committed: look at what is there.
                self.reader.reload()?;
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
        let (newest, mut stale) = newest(changes);
        let searcher = self.reader.searcher();
        let mut changed = 0;
        for change in newest.values() {
            let term = self.fields.id_term(change.video_id());
            if self.version_of(&searcher, &term)?.is_some_and(|there| there >= change.version()) {
                stale += 1;
                continue;
            }
            writer.delete_term(term);
            writer.add_document(self.fields.document(change))?;
            changed += 1;
        }
        let mut positions = positions(&self.index)?;
        let moved = position.is_some_and(|(partition, to)| {
            let ahead = positions.get(&partition).is_none_or(|at| (at.generation, at.next) < (to.generation, to.next));
            if ahead {
                positions.insert(partition, to);
            }
            ahead
        });
        if changed > 0 || moved {
            let payload = serde_json::to_string(&positions).map_err(|error| SearchError::Damaged(error.to_string()))?;
            let mut commit = writer.prepare_commit()?;
            commit.set_payload(&payload);
            commit.commit()?;
            self.reader.reload()?;
        }
        metrics::counter!("millrace_search_changes_total", "outcome" => "changed").increment(changed as u64);
        metrics::counter!("millrace_search_changes_total", "outcome" => "stale").increment(stale as u64);
        metrics::histogram!("millrace_search_apply_seconds").record(started.elapsed());
        Ok(Applied { changed, stale })
    }

    /// The version of the one document that `term` finds.
    fn version_of(&self, searcher: &Searcher, term: &Term) -> Result<Option<i64>, SearchError> {
        let Some(at) = self.address_of(searcher, term)? else { return Ok(None) };
        let versions = searcher.segment_reader(at.segment_ord).fast_fields().i64(VERSION)?;
        Ok(versions.first(at.doc_id))
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

    fn search(&self, query: &SearchQuery) -> Result<SearchPage, SearchError> {
        let started = Instant::now();
        let length = query.text.chars().count();
        if length > MAX_QUERY_CHARS {
            return Err(SearchError::TooLong(length));
        }
        let skip = query.cursor.map_or(Ok(0), |cursor| cursor.skip(query))?;
        let Some(wanted) = text_query(&self.fields, &query.text, query.channel) else {
            return Ok(SearchPage::default());
        };
        let limit = query.limit.clamp(1, MAX_LIMIT).min(MAX_DEPTH - skip);
        let searcher = self.reader.searcher();
        let (hits, total) = self.top(&searcher, &*wanted, skip, limit)?;
        let end = skip + hits.len();
        let next = if end < total && !hits.is_empty() { Cursor::after(query, end) } else { None };
        metrics::histogram!("millrace_search_query_seconds").record(started.elapsed());
        Ok(SearchPage { hits, next, total })
    }

    fn similar(&self, sample: &Sample, except: Option<Term>, limit: usize) -> Result<Vec<Hit>, SearchError> {
        let searcher = self.reader.searcher();
        let Some(query) = similar_query(&self.fields, &searcher, sample, except)? else { return Ok(Vec::new()) };
        Ok(self.top(&searcher, &*query, 0, limit.clamp(1, MAX_LIMIT))?.0)
    }

    /// The text of `video`; none if it can't be found.
    fn sample(&self, video: VideoId) -> Result<Option<Sample>, SearchError> {
        let searcher = self.reader.searcher();
        let Some(at) = self.address_of(&searcher, &self.fields.id_term(video))? else { return Ok(None) };
        let stored: TantivyDocument = searcher.doc(at)?;
        let text = |field| {
            let values: Vec<&str> = stored.get_all(field).filter_map(|value| value.as_str()).collect();
            values.join(" ")
        };
        let fields = &self.fields;
        Ok(Some(Sample { title: text(fields.title), tags: text(fields.tags), description: text(fields.description) }))
    }

    /// Hits `skip..skip + limit` and the number of all. Equal scores: the newest first, then an
    /// order that is arbitrary but always the same.
    fn top(
        &self,
        searcher: &Searcher,
        query: &dyn Query,
        skip: usize,
        limit: usize,
    ) -> Result<(Vec<Hit>, usize), SearchError> {
        let order = (
            SortBySimilarityScore,
            SortByStaticFastValue::<i64>::for_field(PUBLISHED),
            SortByStaticFastValue::<u64>::for_field(ORDER),
        );
        let top = TopDocs::with_limit(limit).and_offset(skip).order_by(order);
        let (top, total) = searcher.search(query, &(top, Count))?;
        let mut hits = Vec::with_capacity(top.len());
        for ((score, _, _), at) in top {
            let stored: TantivyDocument = searcher.doc(at)?;
            let video = stored.get_first(self.fields.id).and_then(|id| id.as_str()?.parse().ok());
            hits.push(Hit { video: video.ok_or_else(|| SearchError::Damaged("a document has no id".into()))?, score });
        }
        Ok((hits, total))
    }
}

/// The newest change of each video, and how many others there were.
fn newest(changes: Vec<Change>) -> (HashMap<VideoId, Change>, usize) {
    let all = changes.len();
    let mut newest = HashMap::with_capacity(all);
    for change in changes {
        match newest.entry(change.video_id()) {
            Entry::Vacant(free) => {
                free.insert(change);
            }
            Entry::Occupied(mut there) if there.get().version() < change.version() => {
                there.insert(change);
            }
            Entry::Occupied(_) => {}
        }
    }
    let others = all - newest.len();
    (newest, others)
}

#[async_trait]
impl SearchIndex for EmbeddedIndex {
    async fn apply(
        &self,
        changes: Vec<Change>,
        position: Option<(Partition, Position)>,
    ) -> Result<Applied, SearchError> {
        self.run(move |inner| inner.apply(changes, position)).await
    }

    async fn position(&self, partition: Partition) -> Result<Option<Position>, SearchError> {
        self.run(move |inner| Ok(positions(&inner.index)?.get(&partition).copied())).await
    }

    async fn search(&self, query: &SearchQuery) -> Result<SearchPage, SearchError> {
        let query = query.clone();
        self.run(move |inner| inner.search(&query)).await
    }

    async fn similar(&self, video: VideoId, limit: usize) -> Result<Vec<Hit>, SearchError> {
        self.run(move |inner| match inner.sample(video)? {
            Some(sample) => inner.similar(&sample, Some(inner.fields.id_term(video)), limit),
            None => Ok(Vec::new()),
        })
        .await
    }

    async fn similar_to_text(&self, text: &str, limit: usize) -> Result<Vec<Hit>, SearchError> {
        let sample = Sample { description: text.to_owned(), ..Sample::default() };
        self.run(move |inner| inner.similar(&sample, None, limit)).await
    }

    async fn document_count(&self) -> Result<u64, SearchError> {
        self.run(|inner| {
            let live = TermQuery::new(Term::from_field_bool(inner.fields.live, true), IndexRecordOption::Basic);
            Ok(inner.reader.searcher().search(&live, &Count)? as u64)
        })
        .await
    }

    async fn check(&self) -> Result<(), SearchError> {
        self.run(|inner| positions(&inner.index).map(drop)).await
    }
}
