//! The project's views, each a `.sql` file in `lakehouse/views/sql/`.

/// A view over the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewDef {
    /// Its name.
    pub name: &'static str,
    /// What a row of it is.
    pub meaning: &'static str,
    /// Its definition.
    pub sql: &'static str,
}

macro_rules! view {
    ($name:literal, $meaning:literal) => {
        ViewDef { name: $name, meaning: $meaning, sql: include_str!(concat!("../../views/sql/", $name, ".sql")) }
    };
}

/// Every view, each after those it uses.
pub const VIEWS: &[ViewDef] = &[
    view!("session_progress", "every event with its session's watch time so far"),
    view!("starts", "one start: a session's first frame shown"),
    view!("engaged_views", "one engaged view: a session watched past 10 s by intent"),
    view!("view_qualifications", "one session that watched enough to be a view, counted or not"),
    view!("views", "one counted view"),
    view!("video_stats_hour", "what was counted of a video in an hour"),
    view!("video_stats", "what was counted of a video in all"),
    view!("retention", "one of the 100 points of a video's retention curve"),
    view!("co_watch", "a video and one watched by the same viewers"),
];
