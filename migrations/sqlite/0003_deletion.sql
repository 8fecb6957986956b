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

-- What points to a job or flow is found when that is deleted.
CREATE INDEX job_hosts_by_job ON job_hosts (job);
CREATE INDEX job_metadata_by_job ON job_metadata (job);
CREATE INDEX flow_metadata_by_flow ON flow_metadata (flow);
