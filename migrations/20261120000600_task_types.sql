-- What can be submitted: published by workers when they register, read by servers.

CREATE TABLE task_types (
    name              text             PRIMARY KEY,
    description       text             NOT NULL,
    queue             text,
    priority          smallint         NOT NULL,
    max_retries       integer          NOT NULL,
    timeout_seconds   double precision NOT NULL,
    parameters_schema json,
    updated_at        timestamptz      NOT NULL DEFAULT now(),

    CONSTRAINT max_retries_in_range CHECK (max_retries BETWEEN 0 AND 100),
    CONSTRAINT timeout_in_range CHECK (timeout_seconds > 0 AND timeout_seconds <= 604800),
    CONSTRAINT priority_in_range CHECK (priority BETWEEN -100 AND 100)
);
