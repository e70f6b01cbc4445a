-- no-transaction
-- Finds steps that wait for nothing but to be skipped.

CREATE INDEX CONCURRENTLY IF NOT EXISTS tasks_to_skip ON tasks (updated_at) WHERE status = 'waiting' AND marks & 32 = 32;
