-- Output documents of executed jobs, and contents of files.

CREATE TABLE outputs (
    id       INTEGER PRIMARY KEY,
    uuid     TEXT    NOT NULL,
    idx      INTEGER NOT NULL,
    document BLOB    NOT NULL,
    UNIQUE (uuid, idx)
) STRICT;

CREATE TABLE files (
    id         INTEGER PRIMARY KEY,
    sha256     TEXT    UNIQUE,                    -- NULL until all chunks are there
    size_bytes INTEGER NOT NULL DEFAULT 0,
    started_on INTEGER NOT NULL
) STRICT;
CREATE INDEX files_unfinished ON files (started_on) WHERE sha256 IS NULL;

CREATE TABLE file_chunks (
    id       INTEGER PRIMARY KEY,
    file     INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    content  BLOB    NOT NULL,
    UNIQUE (file, position)
) STRICT;
