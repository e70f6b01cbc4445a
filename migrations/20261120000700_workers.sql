-- The fleet. An id is never used twice; a row stays while a running task names it.

CREATE TYPE worker_status AS ENUM ('alive', 'draining', 'dead');

CREATE TABLE workers (
    id             text          PRIMARY KEY,
    hostname       text          NOT NULL,
    pid            integer       NOT NULL,
    version        text          NOT NULL,
    queues         text[]        NOT NULL,
    task_names     text[]        NOT NULL,
    pool_size      integer       NOT NULL,
    active         integer       NOT NULL DEFAULT 0,
    status         worker_status NOT NULL DEFAULT 'alive',
    started_at     timestamptz   NOT NULL DEFAULT now(),
    last_heartbeat timestamptz   NOT NULL DEFAULT now()
);
