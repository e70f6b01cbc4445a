-- The declared queues, and whether an operator paused them.

CREATE TABLE queues (
    name      text        PRIMARY KEY,
    paused_at timestamptz,

    CONSTRAINT name_is_valid CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,63}$')
);

INSERT INTO queues (name) VALUES ('high_priority'), ('default'), ('low_priority');
