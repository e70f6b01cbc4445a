-- Finds steps that wait for nothing but to be skipped. Not CONCURRENTLY, which would wait for the servers that wait
-- for this migration. No row is in it yet, so writers of `tasks` wait only while its live rows are read once.

CREATE INDEX tasks_to_skip ON tasks (updated_at) WHERE status = 'waiting' AND marks & 32 = 32;
