-- What a queue takes in and gives out. Each heartbeat brings the totals of its worker; the leader adds up what they grew by.

-- Both in the order of `queues`; empty until the first heartbeat that brings them.
ALTER TABLE workers
    ADD COLUMN ended             bigint[]           NOT NULL DEFAULT '{}',
    ADD COLUMN busy_seconds      double precision[] NOT NULL DEFAULT '{}',
    ADD COLUMN ended_seen        bigint[]           NOT NULL DEFAULT '{}',
    ADD COLUMN busy_seconds_seen double precision[] NOT NULL DEFAULT '{}';

COMMENT ON COLUMN workers.ended IS 'Runs that ended since the worker started, for each of its queues';
COMMENT ON COLUMN workers.busy_seconds IS 'How long those runs took together';
COMMENT ON COLUMN workers.ended_seen IS 'What of `ended` is in queue_samples';
COMMENT ON COLUMN workers.busy_seconds_seen IS 'What of `busy_seconds` is in queue_samples';

-- The leader's measurements of the last minutes.
CREATE TABLE queue_samples (
    queue          text             NOT NULL,
    at             timestamptz      NOT NULL,
    backlog        bigint           NOT NULL,
    running        bigint           NOT NULL,
    running_before bigint           NOT NULL,
    slots          bigint           NOT NULL,
    ended          bigint           NOT NULL,
    busy_seconds   double precision NOT NULL,

    PRIMARY KEY (queue, at)
);

COMMENT ON COLUMN queue_samples.running_before IS 'Tasks of queues that the workers of this one serve before it, and that those workers run';
COMMENT ON COLUMN queue_samples.slots IS 'Tasks that the live workers of the queue run at once';
COMMENT ON COLUMN queue_samples.ended IS 'Runs that ended, of all workers ever; only differences tell something';
COMMENT ON COLUMN queue_samples.busy_seconds IS 'How long those runs took together';
