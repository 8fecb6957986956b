-- Parts of outputs that are kept apart from them, of several additional stores.

CREATE TABLE blobs (
    id        INTEGER PRIMARY KEY,
    store     TEXT    NOT NULL,                   -- name of the additional store
    blob_uuid TEXT    NOT NULL,
    job_uuid  TEXT    NOT NULL,
    job_index INTEGER NOT NULL,
    document  BLOB    NOT NULL,
    UNIQUE (store, blob_uuid)
) STRICT;
CREATE INDEX blobs_by_job ON blobs (store, job_uuid, job_index);
