-- Which server carries out the maintenance duties. One row; `term` rises with every change of holder and fences
-- what an earlier holder still writes.

CREATE TABLE leader_lease (
    singleton  boolean     PRIMARY KEY DEFAULT true,
    holder     text,
    term       bigint      NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL DEFAULT '-infinity',

    CONSTRAINT one_row CHECK (singleton)
);

INSERT INTO leader_lease DEFAULT VALUES;
