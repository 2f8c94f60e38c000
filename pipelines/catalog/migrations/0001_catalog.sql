-- The catalog's tables. One text for SQLite and PostgreSQL: ids are lower-case UUID text made by
-- the program, instants are microseconds since the Unix epoch (`_us`), spans of time milliseconds
-- (`_ms`), truth values 0 and 1, JSON is text. Keyset columns hold ASCII only.

CREATE TABLE accounts (
    id            TEXT   NOT NULL PRIMARY KEY,
    login         TEXT   NOT NULL,
    login_key     TEXT   NOT NULL UNIQUE, -- the login in lower case (ASCII)
    password_hash TEXT   NOT NULL,
    is_admin      BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL
);

CREATE TABLE channels (
    id       TEXT NOT NULL PRIMARY KEY,
    owner_id TEXT NOT NULL UNIQUE REFERENCES accounts (id),
    handle   TEXT NOT NULL UNIQUE,
    name     TEXT NOT NULL
);

CREATE TABLE invitations (
    code_hash     TEXT   NOT NULL PRIMARY KEY,
    created_by    TEXT   NOT NULL REFERENCES accounts (id),
    expires_at_us BIGINT NOT NULL
);
CREATE INDEX invitations_by_expiry ON invitations (expires_at_us);

CREATE TABLE credentials (
    id            TEXT   NOT NULL PRIMARY KEY,
    secret_hash   TEXT   NOT NULL UNIQUE,
    account_id    TEXT   NOT NULL REFERENCES accounts (id),
    kind          TEXT   NOT NULL,
    label         TEXT   NOT NULL,
    created_at_us BIGINT NOT NULL,
    expires_at_us BIGINT
);
CREATE INDEX credentials_of_account ON credentials (account_id, kind, created_at_us, id);
CREATE INDEX credentials_by_expiry ON credentials (expires_at_us) WHERE expires_at_us IS NOT NULL;

CREATE TABLE videos (
    id              TEXT   NOT NULL PRIMARY KEY,
    version         BIGINT NOT NULL,
    owner_id        TEXT   NOT NULL REFERENCES accounts (id),
    channel_id      TEXT   NOT NULL REFERENCES channels (id),
    title           TEXT   NOT NULL,
    description     TEXT   NOT NULL,
    tags            TEXT   NOT NULL, -- JSON array
    visibility      TEXT   NOT NULL,
    upload          TEXT   NOT NULL,
    playback        TEXT   NOT NULL,
    failure         TEXT,
    progress        BIGINT NOT NULL,
    duration_ms     BIGINT,
    source          TEXT,            -- JSON
    poster_name     TEXT,
    poster_bytes    BIGINT,
    created_at_us   BIGINT NOT NULL,
    published_at_us BIGINT,
    deleted_at_us   BIGINT
);
CREATE INDEX videos_listed ON videos (created_at_us, id)
    WHERE deleted_at_us IS NULL AND visibility = 'public' AND upload = 'complete';
CREATE INDEX videos_of_channel ON videos (channel_id, created_at_us, id);
CREATE INDEX videos_of_owner ON videos (owner_id, created_at_us, id);
CREATE INDEX videos_deleted ON videos (deleted_at_us, id) WHERE deleted_at_us IS NOT NULL;

CREATE VIEW video_rows AS
SELECT v.id, v.version, v.owner_id, v.channel_id, c.owner_id AS channel_owner_id, c.handle AS channel_handle,
    c.name AS channel_name, v.title, v.description, v.tags, v.visibility, v.upload, v.playback, v.failure,
    v.progress, v.duration_ms, v.source, v.poster_name, v.created_at_us, v.published_at_us, v.deleted_at_us
FROM videos v
JOIN channels c ON c.id = v.channel_id;

CREATE TABLE uploads (
    id            TEXT   NOT NULL PRIMARY KEY,
    video_id      TEXT   NOT NULL UNIQUE REFERENCES videos (id),
    owner_id      TEXT   NOT NULL REFERENCES accounts (id),
    length        BIGINT,           -- bytes; none while deferred
    received      BIGINT NOT NULL,  -- durable bytes, from the start
    state         TEXT   NOT NULL,
    metadata      TEXT   NOT NULL,
    file_name     TEXT   NOT NULL,
    created_at_us BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL   -- of an aborted upload: when it was aborted
);
CREATE INDEX uploads_receiving ON uploads (expires_at_us, id) WHERE state = 'receiving';
CREATE INDEX uploads_of_owner ON uploads (owner_id, created_at_us, id) WHERE state = 'receiving';
CREATE INDEX uploads_aborted ON uploads (expires_at_us, id) WHERE state = 'aborted';

CREATE TABLE chunks (
    upload_id  TEXT   NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    start_byte BIGINT NOT NULL,
    length     BIGINT NOT NULL,
    object_key TEXT   NOT NULL,
    PRIMARY KEY (upload_id, start_byte)
);

CREATE TABLE jobs (
    id              TEXT   NOT NULL PRIMARY KEY,
    kind            TEXT   NOT NULL,
    video_id        TEXT   NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    state           TEXT   NOT NULL,
    epoch           BIGINT NOT NULL,
    attempt         BIGINT NOT NULL,
    owner           TEXT,
    leased_until_us BIGINT,
    not_before_us   BIGINT NOT NULL,
    created_at_us   BIGINT NOT NULL,
    ended_at_us     BIGINT,
    swept           BIGINT NOT NULL, -- 1 once the objects of unfinished attempts are gone
    UNIQUE (video_id, kind)
);
CREATE INDEX jobs_open ON jobs (kind, created_at_us, id) WHERE state IN ('queued', 'leased');
CREATE INDEX jobs_unswept ON jobs (ended_at_us, id) WHERE swept = 0 AND ended_at_us IS NOT NULL;

CREATE TABLE renditions (
    video_id   TEXT   NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    name       TEXT   NOT NULL,
    epoch      BIGINT NOT NULL,
    kind       TEXT   NOT NULL,
    codecs     TEXT   NOT NULL,
    width      BIGINT,
    height     BIGINT,
    frame_rate DOUBLE PRECISION,
    init_name  TEXT   NOT NULL,
    init_bytes BIGINT NOT NULL,
    complete   BIGINT NOT NULL,
    PRIMARY KEY (video_id, name)
);

CREATE TABLE segments (
    video_id    TEXT   NOT NULL,
    rendition   TEXT   NOT NULL,
    number      BIGINT NOT NULL,
    duration_us BIGINT NOT NULL,
    file_name   TEXT   NOT NULL,
    bytes       BIGINT NOT NULL,
    PRIMARY KEY (video_id, rendition, number),
    FOREIGN KEY (video_id, rendition) REFERENCES renditions (video_id, name) ON DELETE CASCADE
);
CREATE INDEX segments_by_file ON segments (video_id, file_name);

-- What may be played: the renditions of a finished job, else those of its present attempt.
CREATE VIEW current_renditions AS
SELECT r.video_id, r.name, r.kind, r.codecs, r.width, r.height, r.frame_rate, r.init_name, r.init_bytes, r.complete
FROM renditions r
JOIN videos v ON v.id = r.video_id
WHERE v.deleted_at_us IS NULL
    AND (r.complete = 1 OR EXISTS (
        SELECT 1 FROM jobs j
        WHERE j.video_id = r.video_id AND j.kind = 'transcode' AND j.epoch = r.epoch
    ));

CREATE TABLE leases (
    name     TEXT   NOT NULL PRIMARY KEY,
    owner    TEXT   NOT NULL, -- empty once given back
    epoch    BIGINT NOT NULL,
    until_us BIGINT NOT NULL
);

-- Named counters. The counter `outbox` numbers the outbox: its row stays locked until the end of
-- the transaction that takes a number, so numbers follow the order of the commits.
CREATE TABLE counters (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('outbox', 0);

CREATE TABLE outbox (
    id         BIGINT NOT NULL PRIMARY KEY,
    topic      TEXT   NOT NULL,
    record_key TEXT   NOT NULL,
    schema_id  BIGINT NOT NULL,
    payload    TEXT   NOT NULL
);
