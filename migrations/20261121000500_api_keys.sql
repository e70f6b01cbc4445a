-- Keys by which programs sign in. A key itself is stored nowhere: it is known by its SHA-256 alone. A revoked one stays,
-- since the history names it.

CREATE TABLE api_keys (
    id           uuid        PRIMARY KEY,
    name         text        NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$'),
    key_sha256   bytea       NOT NULL UNIQUE CHECK (octet_length(key_sha256) = 32),
    role         text        NOT NULL CHECK (role IN ('viewer', 'submitter', 'operator', 'admin')),
    -- the queues that it may see and use; null is all of them
    queues       text[]      CHECK (queues IS NULL OR (cardinality(queues) > 0 AND role <> 'admin')),
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   text        NOT NULL,
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    revoked_by   text,
    CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);

-- A name is one key's at a time, and free again once that is revoked.
CREATE UNIQUE INDEX api_keys_name ON api_keys (name) WHERE revoked_at IS NULL;
