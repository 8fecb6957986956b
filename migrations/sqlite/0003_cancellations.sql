-- Orders to end the process of an attempt whose job moved on or was deleted. Few at any time.

CREATE TABLE cancellations (
    token            TEXT    PRIMARY KEY,         -- of the attempt
    worker           TEXT    NOT NULL,
    process_id       TEXT,                        -- none: perhaps submitted, the id never recorded
    run_dir          TEXT,
    remove_directory INTEGER NOT NULL,            -- 1: it goes once the process is gone
    ordered_on       INTEGER NOT NULL,
    ordered_by       TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
