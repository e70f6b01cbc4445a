-- Idempotency keys: a key belongs to its task name, and to one task for as long as it holds.

CREATE TABLE task_keys (
    task_name       text        NOT NULL,
    idempotency_key text        NOT NULL,
    task_id         uuid        NOT NULL,
    -- SHA-256 of the canonical request: the same key with another request is refused
    fingerprint     bytea       NOT NULL,
    expires_at      timestamptz NOT NULL,

    PRIMARY KEY (task_name, idempotency_key),
    CONSTRAINT fingerprint_is_a_sha256 CHECK (octet_length(fingerprint) = 32)
);

CREATE INDEX task_keys_by_expiry ON task_keys (expires_at);
