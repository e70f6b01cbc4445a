-- What recovery has to know of workers that died: when, and whether a task that had lost workers before was among their runs.

ALTER TABLE workers
    ADD COLUMN died_at     timestamptz,
    ADD COLUMN ran_suspect boolean NOT NULL DEFAULT false;
