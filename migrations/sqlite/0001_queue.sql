-- Jobs, flows and the lease of the acting runner.
-- Times are milliseconds since 1970 in UTC. Documents are BSON. States are the names in the documents of jobflow-remote.
-- Every field is kept in one place: a field that has a column is in no document.

PRAGMA application_id = 0x4A465259; -- 'JFRY': this file is JobFerry's.

CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters (name, next) VALUES ('job', 1);

CREATE TABLE flows (
    id         INTEGER PRIMARY KEY,
    uuid       TEXT    NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    lock_id    TEXT,
    lock_time  INTEGER,
    created_on INTEGER NOT NULL,
    updated_on INTEGER NOT NULL,
    jobstore   TEXT,
    metadata   BLOB    NOT NULL
) STRICT;
CREATE INDEX flows_by_state    ON flows (state, updated_on);
CREATE INDEX flows_by_creation ON flows (created_on);
CREATE INDEX flows_by_name     ON flows (name);
CREATE INDEX flows_locked      ON flows (id) WHERE lock_id IS NOT NULL;

-- What changes in a job's life. The large and constant part is in job_documents, so that a move does not rewrite it.
CREATE TABLE jobs (
    number           INTEGER PRIMARY KEY,         -- of the short id, which is prefix || number
    prefix           TEXT    NOT NULL,
    uuid             TEXT    NOT NULL,
    idx              INTEGER NOT NULL,
    flow             INTEGER NOT NULL REFERENCES flows (id),
    leaf             INTEGER NOT NULL,            -- 1: largest index of its uuid and nobody's parent within the flow
    name             TEXT    NOT NULL,
    worker           TEXT    NOT NULL,
    priority         INTEGER NOT NULL,
    on_missing       TEXT    NOT NULL,            -- the job's on_missing_references
    created_on       INTEGER NOT NULL,
    updated_on       INTEGER NOT NULL,
    state            TEXT    NOT NULL,
    previous_state   TEXT,
    attempt          INTEGER NOT NULL DEFAULT 0,
    retries_used     INTEGER NOT NULL DEFAULT 0,
    moves            INTEGER NOT NULL DEFAULT 0,  -- how many history entries there ever were
    lock_id          TEXT,
    lock_time        INTEGER,
    step_attempts    INTEGER NOT NULL DEFAULT 0,
    retry_time_limit INTEGER,
    process_id       TEXT,
    queue_state      TEXT,
    prerun_cleanup   INTEGER NOT NULL DEFAULT 0,
    run_dir          TEXT,
    start_time       INTEGER,
    end_time         INTEGER,
    remote_error     TEXT,
    queue_out        TEXT,
    queue_err        TEXT,
    error            TEXT,
    outcome          BLOB,
    stored_data      BLOB,
    UNIQUE (uuid, idx)
) STRICT;
CREATE INDEX jobs_to_do       ON jobs (state, worker, priority DESC, created_on);
CREATE INDEX jobs_by_state    ON jobs (state, updated_on);
CREATE INDEX jobs_by_creation ON jobs (created_on);
CREATE INDEX jobs_by_name     ON jobs (name);
CREATE INDEX jobs_by_flow     ON jobs (flow, number, uuid, idx, prefix);
CREATE INDEX jobs_by_leaf     ON jobs (flow, leaf, state);
CREATE INDEX jobs_by_process  ON jobs (process_id) WHERE process_id IS NOT NULL;
CREATE INDEX jobs_locked      ON jobs (number) WHERE lock_id IS NOT NULL;

-- What never changes. The large column is the last, so that a listing does not read it.
CREATE TABLE job_documents (
    job         INTEGER PRIMARY KEY REFERENCES jobs (number),
    exec_config BLOB,                             -- {value: …}
    resources   BLOB,
    summary     BLOB NOT NULL,                    -- name, hosts, metadata, config.on_missing_references of the Job
    document    BLOB NOT NULL                     -- the serialized jobflow Job
) STRICT;

CREATE TABLE job_parents (
    child    INTEGER NOT NULL REFERENCES jobs (number),
    position INTEGER NOT NULL,
    parent   TEXT    NOT NULL,                    -- uuid
    PRIMARY KEY (child, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_parents_by_parent ON job_parents (parent);

-- The flows around a job, nested ones too.
CREATE TABLE job_hosts (
    host TEXT    NOT NULL,                        -- uuid of a flow
    job  INTEGER NOT NULL REFERENCES jobs (number),
    PRIMARY KEY (host, job)
) STRICT, WITHOUT ROWID;

-- Metadata for filters: one row for each value, nested keys joined by dots, one row for each element of a list.
CREATE TABLE job_metadata (
    key   TEXT    NOT NULL,
    value TEXT    NOT NULL,
    job   INTEGER NOT NULL REFERENCES jobs (number),
    PRIMARY KEY (key, value, job)
) STRICT, WITHOUT ROWID;

CREATE TABLE flow_metadata (
    key   TEXT    NOT NULL,
    value TEXT    NOT NULL,
    flow  INTEGER NOT NULL REFERENCES flows (id),
    PRIMARY KEY (key, value, flow)
) STRICT, WITHOUT ROWID;

CREATE TABLE history (
    job        INTEGER NOT NULL REFERENCES jobs (number),
    position   INTEGER NOT NULL,                  -- from 1, without gaps until the oldest are dropped
    at         INTEGER NOT NULL,
    from_state TEXT    NOT NULL,
    to_state   TEXT    NOT NULL,
    attempt    INTEGER NOT NULL,
    reason     TEXT,
    moved_by   TEXT    NOT NULL,
    PRIMARY KEY (job, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE lease (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    owner      TEXT    NOT NULL,
    host       TEXT    NOT NULL,
    pid        INTEGER NOT NULL,
    user       TEXT    NOT NULL,
    project    TEXT    NOT NULL,
    daemon_dir TEXT    NOT NULL,
    version    TEXT    NOT NULL,
    started    INTEGER NOT NULL,
    renewed    INTEGER NOT NULL,
    expires    INTEGER NOT NULL
) STRICT;
